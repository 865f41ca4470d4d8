"""The figures of a report, one a file: each takes what was recorded, and gives a drawing, or None without its data."""
