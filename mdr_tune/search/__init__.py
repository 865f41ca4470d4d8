"""Decide which trial comes next and which trials go on: samplers, studies, schedulers, stop rules."""
