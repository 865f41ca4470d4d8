"""The search of an arm in which nothing is searched: its one trial."""

from typing import Any

from mdr_tune.config.arms import Arm
from mdr_tune.config.space import resolve


class OneTrial:
    """Suggest the arm's trial as it is. There is no study and no second trial.

    Args:
        arm: Arm in which nothing is searched.
    """

    def __init__(self, arm: Arm) -> None:
        self._arm = arm

    def next_name(self) -> str:
        """Return the name of the one trial."""
        return f"{self._arm.name}-001"

    def suggest(self, name: str) -> dict[str, Any]:
        """Return the suggestion of the one trial, which has no drawn parameters."""
        return {"trial": resolve(self._arm.trial, self._arm.space, {}).model_dump(), "parameters": {}}
