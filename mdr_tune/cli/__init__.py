"""The command line: each command parses its arguments, calls one function and prints the result.

A command's function, `run` or `run_...`, returns the exit code. It raises UserError after a mistake of the user.
"""
