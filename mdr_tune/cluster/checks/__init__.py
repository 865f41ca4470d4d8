"""What can be wrong in a cluster file: each check yields problems of one kind, and touches no machine or network.

schema        what Ray itself has against the file
commands      the shell commands of the file
access        who could reach the machines, and read their secrets
aws_machines  whether AWS has such machines, and what they can do
installation  what is copied to the machines and installed there, and what of the examples was not set
"""
