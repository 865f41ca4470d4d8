"""Keep Ray Train from starting a lane's workers anew when the sweep has just ended them."""

import os
from typing import Any

import ray
from ray.exceptions import RayError
from ray.train import UserCallback


class EndWithTheSweep(UserCallback):
    """Ends the process of Ray Train's controller, in which it is called, once workers are lost and the sweep is over.

    Its placement group goes with it, and the `fit()` that waits for it raises. Ray Train has no other way to say that
    a lost worker shall not be replaced this time.

    Args:
        hub: The lanes' hub.
    """

    def __init__(self, hub: Any) -> None:
        self._hub = hub

    def after_exception(self, run_context: Any, worker_exceptions: dict[int, Exception]) -> None:
        """A worker was lost."""
        try:
            is_over = ray.get(self._hub.is_stopping.remote())
        except RayError:  # the hub is gone, and the sweep with it
            is_over = True
        if is_over:
            os._exit(0)
