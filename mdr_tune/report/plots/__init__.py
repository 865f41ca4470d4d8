"""The figures of a report, one in each file.

A figure's function takes the records of a launch and its table, and returns a drawing, or None without data.
"""
