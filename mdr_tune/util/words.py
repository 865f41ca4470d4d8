"""Helpers that make parts of messages: numbers with units, lists of names, and texts that are safe to print."""

import re
from collections.abc import Sequence


def count(number: float, unit: str) -> str:
    """Return `number` with its `unit`, in the singular or the plural: `1 lane`, `2 lanes`, `0.5 GPU`, `3 classes`."""
    return f"{number} {plural(number, unit)}"


def plural(number: float, unit: str) -> str:
    """Return `unit` in the singular or the plural that `number` needs: `lane` for 1, `lanes` for 2 or 0."""
    return unit if 0 < number <= 1 else f"{unit}es" if unit.endswith("s") else f"{unit}s"


def some(names: Sequence[str], most: int, between: str = ", ") -> str:
    """Return at most `most` of the `names` as one text, such as `a, b and 3 more`, with `between` between two names."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return between.join(names[:most]) + more


def first_line(error: BaseException) -> str:
    """Return the first line of the text of `error`. If the text is empty, return the name of the error's class."""
    return next(iter(str(error).splitlines()), type(error).__name__)


def last_line(text: str) -> str:
    """Return the last line of `text` that is not blank; empty if there is none. In a traceback, this is the error."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else ""


def escaped(text: str) -> str:
    """Return `text` in a form that UTF-8 can encode, for printing.

    A file name may have bytes that are not UTF-8. Each such byte becomes an escape such as `\\xe9`.
    """
    return re.sub("[\ud800-\udfff]", lambda found: _escape(ord(found[0])), text)


def not_utf_8(*texts: str) -> str:
    """Return a message about the file names in `texts` that are not UTF-8; empty if all of them are UTF-8."""
    odd = [shown for text in texts if (shown := escaped(text)) != text]
    if len(odd) > 1:
        return f"{odd[0]} and {len(odd) - 1} more are not UTF-8: rename them"
    return f"{odd[0]} is not UTF-8: rename it" if odd else ""


def _escape(surrogate: int) -> str:
    byte = surrogate - 0xDC00  # how Python decodes such a byte of a file name
    return f"\\x{byte:02x}" if 0x80 <= byte <= 0xFF else f"\\u{surrogate:04x}"


def cpus_and_gpus(cpus: int, gpus: float, gpu: str = "GPU") -> str:
    """Return the numbers `cpus` and `gpus` in words: `2 CPUs and 1 GPU`, `1 CPU and 0.5 GPU`, `1 CPU` without a GPU.

    `gpu` is the word for a GPU, such as `A10G GPU`.
    """
    return count(cpus, "CPU") + (f" and {count(gpus, gpu)}" if gpus else "")


def without_password(text: str) -> str:
    """Return `text` with `***` in place of the password of each URI in it. A password may have `@` and `/` in it."""
    return re.sub(r"(://[^:/@\s]*):\S*@", r"\1:***@", text)


def duration(seconds: float) -> str:
    """Return `seconds` in words, with at most two units: `45s`, `1h 30m`, `2d`."""
    left, parts = round(seconds), []
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60), ("s", 1)):
        number, left = divmod(left, size)
        if number:
            parts.append(f"{number}{unit}")
    return " ".join(parts[:2]) or "0s"
