"""The built-in data set `glyphs`: letters that are rendered on this machine, so that a search needs no download."""
