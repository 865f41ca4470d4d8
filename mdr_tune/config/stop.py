"""What ends a search before its trials are used up."""

import re
from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from mdr_tune.config.base import StrictModel
from mdr_tune.config.units import HOURS, PERCENT

_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def parse_duration(value: Any) -> float:
    """Return the seconds of `90s`, `30m`, `2h`, `1.5d` or `1h30m`.

    Raises:
        ValueError: It is none of these.
    """
    text = str(value).replace(" ", "")
    parts = re.findall(r"(\d+(?:\.\d+)?)([smhd])", text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        raise ValueError(f"expected a time such as 90s, 30m, 2h or 1h30m, got {value!r}")
    seconds = sum(float(number) * _SECONDS[unit] for number, unit in parts)
    if seconds <= 0:
        raise ValueError(f"expected a time above 0, got {value!r}")
    return seconds


def _as_seconds(value: Any) -> Any:
    return value if isinstance(value, float) else parse_duration(value)


class StopConfig(StrictModel):
    """What ends the search early. Time and GPU hours are of the sweep, interruptions not counted, and are shared among
    the arms by their numbers of trials; the others hold for each arm."""

    time: Annotated[float | None, BeforeValidator(lambda value: None if value is None else _as_seconds(value))] = None
    """Wall time, written as 90s, 30m, 2h or 1h30m; kept in seconds. Trials that run then are stopped."""
    gpu_hours: Annotated[float | None, HOURS] = Field(None, gt=0)
    """Hours of training and evaluation times GPUs used. Trials that run then are stopped."""
    target: Annotated[float | None, PERCENT] = Field(None, gt=0, le=100)
    """Once a trial's metric, in percent, is as high as this, no further trial is started."""
    patience: int | None = Field(None, ge=1)
    """Once so many trials in a row ended without a new best, no further trial is started."""
