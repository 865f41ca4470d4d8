"""Evaluate models of any kind on a data set: `models` finds them, `feeding` gives each its images, `measure` embeds."""
