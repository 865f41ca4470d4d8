"""The data sets of the paper in their original layouts: download, unpack, read and check against the known counts."""
