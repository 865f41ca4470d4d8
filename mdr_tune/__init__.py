"""mdr_tune: does Multi-level Distance Regularization help on your data, and is the difference real?"""

__version__ = "0.1.0"
