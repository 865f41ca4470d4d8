"""A user's own data: a folder of class folders, a table of images or of vectors, or a class in the user's code."""
