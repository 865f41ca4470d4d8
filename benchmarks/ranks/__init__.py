"""Parts of `glyph_training.py`.

rank        one rank of a side, a process of its own
sides       the processes of a side, and what they said
"""
