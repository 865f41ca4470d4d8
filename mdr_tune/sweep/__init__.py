"""A sweep: what is planned, the resources it fits on, the search, and the run of all of it on lanes."""
