"""From a list of image files to splits: classes drawn for validation and test, checked, numbered."""
