"""Helpers that any part of the program may use: text, files, disks, signals, progress, errors."""
