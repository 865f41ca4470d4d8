"""The embedded data set `glyphs`: letters rendered on this machine, so that a search needs no download."""
