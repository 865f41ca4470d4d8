"""Helpers for sentences that people read."""

import re
from collections.abc import Sequence


def count(number: float, unit: str) -> str:
    """Return a number and its unit, in the singular or the plural: `1 lane`, `2 lanes`, `0.5 GPU`, `3 classes`."""
    return f"{number} {plural(number, unit)}"


def plural(number: float, unit: str) -> str:
    """Return a unit in the singular or the plural, as the number asks: `lane`, `lanes`, `classes`."""
    return unit if 0 < number <= 1 else f"{unit}es" if unit.endswith("s") else f"{unit}s"


def some(names: Sequence[str], most: int, between: str = ", ") -> str:
    """Return the first names, at most `most`, and the number of the others: `a, b and 3 more`."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return between.join(names[:most]) + more


def first_line(error: BaseException) -> str:
    """Return the first line of an error's text; the name of its class if the text is empty."""
    return next(iter(str(error).splitlines()), type(error).__name__)


def last_line(text: str) -> str:
    """Return the last line that is not blank. In a traceback, it says what was wrong."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else ""


def escaped(text: str) -> str:
    """Return a text that UTF-8 can encode: bytes of a file name that are not UTF-8 become escapes such as `\\xe9`."""
    return re.sub("[\ud800-\udfff]", lambda found: _escape(ord(found[0])), text)


def not_utf_8(*texts: str) -> str:
    """Return which texts are not UTF-8 and what to do: `r\\xe9.png is not UTF-8: rename it`; empty if all are UTF-8."""
    odd = [shown for text in texts if (shown := escaped(text)) != text]
    if len(odd) > 1:
        return f"{odd[0]} and {len(odd) - 1} more are not UTF-8: rename them"
    return f"{odd[0]} is not UTF-8: rename it" if odd else ""


def _escape(surrogate: int) -> str:
    byte = surrogate - 0xDC00  # how Python decodes such a byte of a file name
    return f"\\x{byte:02x}" if 0x80 <= byte <= 0xFF else f"\\u{surrogate:04x}"


def cpus_and_gpus(cpus: int, gpus: float, gpu: str = "GPU") -> str:
    """Return CPUs and GPUs in words: `1 CPU`, `2 CPUs and 1 GPU`, `1 CPU and 0.5 GPU`; `gpu` may name a kind of GPU."""
    return count(cpus, "CPU") + (f" and {count(gpus, gpu)}" if gpus else "")


def without_password(text: str) -> str:
    """Return a URI, or a text with URIs, with *** in place of each password."""
    return re.sub(r"(://[^:/@\s]+):[^@\s]*@", r"\1:***@", text)


def duration(seconds: float) -> str:
    """Return a duration as people write it, in at most two units: `45s`, `1h 30m`, `2d`."""
    left, parts = round(seconds), []
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60), ("s", 1)):
        number, left = divmod(left, size)
        if number:
            parts.append(f"{number}{unit}")
    return " ".join(parts[:2]) or "0s"
