"""Checkpoints of a trial: the file, the newest whole one, room for it, which are kept."""
