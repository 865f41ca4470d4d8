"""Turn a list of image files into splits: draw validation and test classes, check the splits, number the labels."""
