"""The figures of a report, one to a file: each function takes evidence and table, and returns a drawing.

It returns None if its data are missing.
"""
