"""Evaluate models of any kind on a data set: `models` finds them, `feeding` says which images each gets."""
