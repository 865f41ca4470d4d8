"""Name metrics and parameters for people: `val/recall_at_1` is `validation Recall@1`, `batch.size` is `batch size`."""

from collections.abc import Iterable
from typing import Any

from mdr_tune.config.domains import DIGITS, describe_value
from mdr_tune.records.metrics import metric_label
from mdr_tune.records.objectives import chosen_on


def quality(metric: str) -> str:
    """Return the name of `metric` without its split and `best_`: `recall_at_1` for `curves/best_test_recall_at_1`."""
    name = metric.split("/")[-1].removeprefix("best_")
    return name.removeprefix("test_").removeprefix("train_")


def test_key(metric: str) -> str:
    """Return the name that `metric` has on the test classes: `test/recall_at_1` for `val/recall_at_1`."""
    return "test/" + quality(metric)


def split_of(metric: str) -> str:
    """Return the split whose classes `metric` is computed on: `test`, `validation` or `training`."""
    group, _, name = metric.partition("/")
    if group == "test" or name.removeprefix("best_").startswith("test_"):
        return "test"
    return "validation" if group == "val" else "training"


def full_title(metric: str) -> str:
    """Return the title of `metric`, with its split: `test Recall@1`."""
    return f"{split_of(metric)} {metric_label(metric)}"


def value_titles(metric: str) -> tuple[str, str]:
    """Return the titles of a trial's best value and test value of `metric`: `val Recall@1` and `test Recall@1`.

    With the authors' protocol, which chooses trials on the test classes, the first title is `best test Recall@1`.
    """
    label = metric_label(metric)
    return f"{'val' if chosen_on(metric) == 'validation' else 'best test'} {label}", f"test {label}"


def short_names(keys: Iterable[str]) -> dict[str, str]:
    """Return a short name for each of the dotted `keys`: `margin` for `loss.margin`, or more parts if it is ambiguous.

    `size`, `seed` and the keys in `levels` always keep the part before them: `batch size`. A key that ends in `name` is
    called by its section: `loss` for `loss.name`.
    """
    known = list(dict.fromkeys(keys))
    short = {key: _last(key) for key in known}
    for _ in range(3):
        taken = list(short.values())
        for key, name in short.items():
            if taken.count(name) > 1:
                parts = key.split(".")
                short[key] = " ".join(_said(part) for part in parts[-min(len(name.split()) + 1, len(parts)) :])
    return short


def _last(key: str) -> str:
    parts = key.split(".")
    if len(parts) > 1 and parts[-1] == "name":
        return _said(parts[-2])
    if len(parts) > 1 and (parts[-1] in ("size", "seed") or parts[-2] == "levels"):
        return f"{_said(parts[-2])} {_said(parts[-1])}"
    return _said(parts[-1])


def _said(part: str) -> str:
    return part.replace("_", " ")


def format_parameters(parameters: dict[str, Any], digits: int = DIGITS) -> str:
    """Return sampled `parameters`, by dotted key, in one short line: `levels 3 over ±2.40, weight 0.13, margin 0.2`.

    Here, MDR has 3 levels with a spread of 2.4 and a weight of 0.13. Numbers have `digits` significant digits; the
    spread and the offset of levels have `digits - 1` digits behind the decimal point.
    """
    left = dict(parameters)
    parts: list[str] = []
    if any(key.startswith("mdr.levels.") for key in left):
        count, spread = left.pop("mdr.levels.count", None), left.pop("mdr.levels.spread", None)
        offset = left.pop("mdr.levels.offset", None)
        text = "levels" + (f" {count}" if count is not None else "")
        text += f" over ±{spread:.{digits - 1}f}" if spread is not None else ""
        parts.append(text + (f" about {offset:.{digits - 1}f}" if offset is not None else ""))
    names = [key.split(".")[-1] for key in left]
    for key, value in left.items():
        group, _, short = key.rpartition(".")
        if short == "size" or names.count(short) > 1:
            short = f"{group} {short}".strip()
        parts.append(f"{short} {describe_value(value, digits)}")
    return ", ".join(parts)
