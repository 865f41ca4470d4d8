"""The embedded data set `glyphs`: letters, rendered here, so that there is something to search on at once."""
