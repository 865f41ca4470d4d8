"""Parts of `frozen_features.py`.

network     the photos, and the network with its weights
making      features of photos, ours and a bare forward pass's
steps       steps on features that are kept, and those of the same trial end to end
search      a launch whose trials train a head on vectors
tables      what is printed, and the lines for `make bench`
"""
