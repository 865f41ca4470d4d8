"""The callback by which Ray Train's controller tells the hub that workers of a lane are lost."""

import os
from typing import Any

import ray
from ray.exceptions import RayError
from ray.train import UserCallback


class LostWorkers(UserCallback):
    """Tells the actor `hub` that the lane with index `lane` lost workers. The trial then goes on in another lane.

    If the lane has ended or the sweep is over, lost workers must not be replaced. A callback cannot tell this to Ray
    Train. So this callback, which runs in the controller's process, ends that process. Ray then releases the lane's
    placement group, and the `fit()` that waits for the controller raises.
    """

    def __init__(self, hub: Any, lane: int) -> None:
        self._hub, self._lane = hub, lane

    def after_exception(self, run_context: Any, worker_exceptions: dict[int, Exception]) -> None:
        """Tell the hub that workers are lost. End the controller's process if they must not be replaced."""
        try:
            is_over = ray.get(self._hub.lose_workers.remote(self._lane))
        except RayError:  # the hub is gone, and the sweep with it
            is_over = True
        if is_over:
            os._exit(0)
