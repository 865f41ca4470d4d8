"""Turn a list of image files into splits: draw validation and test classes, check them, number the labels."""
