"""The command line: each command parses its arguments, calls one function and prints the result.

The function `run` of a command returns the exit code. It raises UserError after a mistake of the user.
"""
