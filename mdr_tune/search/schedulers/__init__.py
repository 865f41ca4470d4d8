"""Schedulers decide which trials are stopped early, paused or replaced by others, on a given number of lanes."""

from mdr_tune.search.schedulers.early_stopping import replay
from mdr_tune.search.schedulers.make import make_scheduler
from mdr_tune.search.schedulers.pbt import OnChange

__all__ = ["OnChange", "make_scheduler", "replay"]
