"""Parts of `evaluation.py`.

problems    the embeddings that both sides get
others      the loop over queries, and the bare product
memory      the peak memory of our side, in a process of its own
tables      what is printed
"""
