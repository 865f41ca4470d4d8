"""Augmentations of training images, and the centre crop for evaluations."""
