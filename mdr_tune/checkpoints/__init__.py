"""Checkpoints of a trial: write and check them, find the newest whole one, wait for room, choose which to keep."""
