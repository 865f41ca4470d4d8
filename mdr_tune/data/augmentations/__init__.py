"""Augmentations of training images, drawn for the global batch, and the centre crop for evaluations."""
