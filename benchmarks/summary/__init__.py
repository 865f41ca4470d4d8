"""The one table of `make bench`.

rows        a line of it, and the option and file by which a benchmark hands its lines on
process     a process of a benchmark's own
machine     what they were measured on, and its clock
tables      what is printed, and what is written into docs/benchmarks.md
"""
