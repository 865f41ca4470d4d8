"""The machines a sweep runs on: what there is, what may still come, and what serves them."""
