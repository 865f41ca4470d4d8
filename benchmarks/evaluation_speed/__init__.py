"""Parts of `evaluation.py`.

problems    the embeddings that both sides get
authors     the authors' side, their function on some of the queries
memory      the peak memory of our side, in a process of its own
tables      what is printed
"""
