"""The formats of a report. Numbers become text once, in `texts.py`; only the data files hold unrounded numbers."""
