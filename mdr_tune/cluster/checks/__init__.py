"""Checks of a cluster file. Each check yields problems of one kind, and uses no network.

schema        Ray's own check of the file
commands      split the shell commands in the file, for the other checks
access        check who can reach the machines, and whether secrets are protected
aws_machines  check that AWS offers the machines, and that they fit their purpose
installation  check the files and packages that the machines get, and values that were left as in the examples
"""
