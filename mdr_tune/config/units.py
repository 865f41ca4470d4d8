"""Units of the numbers in a sweep file. The annotation of a field declares its unit and the usual range:

    margin: Annotated[float, DEGREES] = 28.6

A number outside of the usual range was likely meant in another unit. It is still read in the declared unit, and
`unit_notes.py` adds a note to the plan of the sweep.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Unit:
    """A unit of numbers, and the other unit in which users often write such numbers by mistake.

    Attributes:
        name: Name of the unit, such as `percent`.
        other: Name of the other unit, such as `a share of 1`; empty if there is none.
        convert: Function that converts a number from the other unit to this one; None if there is no such function.
        low: Smallest usual absolute value. 0 is always usual.
        high: Largest usual absolute value.
    """

    name: str
    other: str = ""
    convert: Callable[[float], float] | None = None
    low: float = 0.0
    high: float = math.inf

    def hint(self, value: float) -> str:
        """Return advice on an unusual `value`, such as `if a share of 1 is meant, write 70`."""
        if self.convert is None:
            return f"is {self.other} meant?" if self.other else f"usual is at most {self.high:g}"
        return f"if {self.other} is meant, write {self.convert(value):.3g}"

    def note(self, value: float) -> str | None:
        """Return a note that `value` was likely meant in another unit; None if it is usual."""
        if value == 0 or self.low <= abs(value) <= self.high:
            return None
        return f"{value:g} is taken as {self.name}; {self.hint(value)}"


PERCENT = Unit("percent", "a share of 1", lambda value: 100 * value, low=1.001)
SHARE = Unit("a share of 1", "percent", lambda value: value / 100, high=1)
DEGREES = Unit("degrees", "an angle in radians", math.degrees, low=math.pi)
COSINE = Unit("a difference of cosines", "an angle in degrees", lambda value: 1 - math.cos(math.radians(value)), high=1)
SCALE = Unit("a factor of cosines", "a temperature, which divides,", lambda value: 1 / value, low=1)
TEMPERATURE = Unit("a temperature, which divides cosines", "a factor", lambda value: 1 / value, high=1)
DEVIATIONS = Unit("standard deviations of the distances", "a distance", high=10)
SECONDS = Unit("seconds", "a time in milliseconds", lambda value: value / 1000, high=6 * 3600)
HOURS = Unit("hours", "a time in seconds", lambda value: value / 3600, high=3000)
EPOCHS = Unit("epochs", "a number of iterations", high=1000)
RATE = Unit("the factor of a step", high=1)
