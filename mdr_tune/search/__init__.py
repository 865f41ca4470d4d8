"""What decides which trial comes next and which goes on: samplers, studies, schedulers, stop rules."""
