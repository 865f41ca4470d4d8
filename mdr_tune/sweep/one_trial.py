"""Propose the single trial of an arm that has no searched parameters."""

from typing import Any

from mdr_tune.config.arms import Arm
from mdr_tune.config.space import resolve


class OneTrial:
    """Search of an `arm` without searched parameters: it proposes the arm's only trial, and has no study."""

    def __init__(self, arm: Arm) -> None:
        self._arm = arm

    def next_name(self) -> str:
        """Return the name of the arm's only trial."""
        return f"{self._arm.name}-001"

    def suggest(self, name: str) -> dict[str, Any]:
        """Return the configuration of the arm's only trial, `name`, and an empty dictionary of drawn parameters."""
        return {"trial": resolve(self._arm.trial, self._arm.space, {}).model_dump(), "parameters": {}}
