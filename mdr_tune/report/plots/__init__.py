"""The figures of a report, one in each file.

The function of a figure takes the evidence and the table, and returns a drawing. It returns None if its data are
missing.
"""
