"""The formats of a report. `texts.py` turns numbers into text for all formats. Data files keep unrounded numbers."""
