"""Parts of `regularizer.py`.

textbook    the other side: the formulas as they are written, for autograd
steps       what is timed: one forward and backward of each side
measure     time of both sides in turn, and the most memory that a step takes
tables      what is printed
"""
