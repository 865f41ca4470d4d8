"""Read the pixels of image files, by decoding them or from a cache of decoded images that a node's processes share."""
