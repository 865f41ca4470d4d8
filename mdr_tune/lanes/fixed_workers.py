"""How many workers Ray Train's controller has for a lane, where no autoscaler could add a node for them."""

from typing import Any

from ray.train.v2._internal.execution.scaling_policy import FixedScalingPolicy


class FixedWorkers(FixedScalingPolicy):
    """As many workers as were asked for, without a request for nodes to an autoscaler.

    What Ray Train sends such requests by is a process that the controller waits for before it starts workers. It is
    started with the first request, and the controller's end would cancel that: so all requests are left out here.
    """

    def after_controller_start(self, train_run_context: Any) -> None:
        """Make no client for requests; without one, there is nothing to cancel at the end."""

    def _maybe_send_resource_request(self) -> None:
        """Send none."""
