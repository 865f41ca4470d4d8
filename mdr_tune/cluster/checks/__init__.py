"""What can be wrong in a cluster file: each check yields problems of one kind, and touches no machine or network."""
