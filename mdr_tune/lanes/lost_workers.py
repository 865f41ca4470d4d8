"""What happens in Ray Train's controller when workers of a lane are lost."""

import os
from typing import Any

import ray
from ray.exceptions import RayError
from ray.train import UserCallback


class LostWorkers(UserCallback):
    """Tells the hub, so that the trial goes on elsewhere while the lane waits for a new node.

    Once the lane has ended, or the sweep is over, it ends the process of the controller, in which it is called: its
    placement group goes with it, and the `fit()` that waits for it raises. Ray Train has no other way to say that a
    lost worker shall not be replaced this time.

    Args:
        hub: The lanes' hub.
        lane: The lane's number.
    """

    def __init__(self, hub: Any, lane: int) -> None:
        self._hub, self._lane = hub, lane

    def after_exception(self, run_context: Any, worker_exceptions: dict[int, Exception]) -> None:
        """A worker was lost."""
        try:
            is_over = ray.get(self._hub.lose_workers.remote(self._lane))
        except RayError:  # the hub is gone, and the sweep with it
            is_over = True
        if is_over:
            os._exit(0)
