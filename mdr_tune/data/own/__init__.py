"""A user's own images: a folder of class folders, or a table."""
