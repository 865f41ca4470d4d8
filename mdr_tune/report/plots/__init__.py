"""The figures of a report, one in each file.

The function of a figure takes the records and the table of a launch. It returns a `Drawing`, or None without data.
"""
