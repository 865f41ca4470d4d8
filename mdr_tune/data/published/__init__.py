"""Download, unpack, read and check the data sets of the MDR paper, in their original layouts."""
