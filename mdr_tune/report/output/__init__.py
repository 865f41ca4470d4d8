"""The report in each of its formats: every number is text once, in `texts.py`, and the formats set it."""
