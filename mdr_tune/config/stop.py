"""The conditions that end a search before all of its trials have run."""

import math
import re
from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from mdr_tune.config.strict_model import StrictModel
from mdr_tune.config.units import HOURS, PERCENT

_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def parse_duration(value: Any) -> float:
    """Return a time such as `90s`, `30m`, `2h` or `1h30m` in seconds. Raise ValueError for any other `value`."""
    text = str(value).replace(" ", "")
    parts = re.findall(r"(\d+(?:\.\d+)?)([smhd])", text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        raise ValueError(f"expected a time such as 90s, 30m, 2h or 1h30m, got {value!r}")
    seconds = sum(float(number) * _SECONDS[unit] for number, unit in parts)
    if seconds <= 0:
        raise ValueError(f"expected a time above 0, got {value!r}")
    return seconds


def _as_seconds(value: Any) -> Any:
    """Return a time in seconds. `value` is a text from a user, or the positive float that a stored plan has."""
    return value if isinstance(value, float) and 0 < value < math.inf else parse_duration(value)


class StopConfig(StrictModel):
    """Conditions that end a search early.

    `time` and `gpu_hours` are budgets of the whole sweep; time between its sessions does not count. The arms share the
    budgets in proportion to their numbers of trials. `target` and `patience` apply to each arm by itself.
    """

    time: Annotated[float | None, BeforeValidator(lambda value: None if value is None else _as_seconds(value))] = None
    """Wall time, such as 90s or 1h30m, stored in seconds. At its end, trials that still run are stopped."""
    gpu_hours: Annotated[float | None, HOURS] = Field(None, gt=0)
    """Hours of training and evaluation, times the number of GPUs. At their end, trials that still run are stopped."""
    target: Annotated[float | None, PERCENT] = Field(None, gt=0, le=100)
    """Value of the metric, in percent. When a trial reaches it, no further trial is started. If a configuration has
    several seeds, the mean over its seeds must reach it."""
    patience: int | None = Field(None, ge=1)
    """Number of trials in a row without a new best value. After that many, no further trial is started. The seeds of
    one configuration count as one trial."""
