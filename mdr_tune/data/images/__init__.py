"""Image files as pixels: decoded once into a cache that all processes of a node map, or decoded at each read."""
