"""The data sets of the paper in their original layouts: got, unpacked, read and checked against the known counts."""
