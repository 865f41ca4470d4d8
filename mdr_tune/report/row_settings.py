"""What a row of an ablation is: its method and its setting in words, and which row it may be compared with."""

from collections.abc import Sequence
from typing import Any

from pydantic import TypeAdapter, ValidationError

from mdr_tune.config.base import flatten
from mdr_tune.config.domains import describe_value, tell_apart
from mdr_tune.config.losses import LossConfig
from mdr_tune.report.names import format_parameters, short_names

WITH_MDR = " + MDR"
MODE = "embedding.mode"
UNSAID = ("seed", MODE)
"""Keys that are no setting: the seeds are in the row, and the mode is in the method's name."""
SETTING_DIGITS = 6
"""Significant digits of a setting, which a user wrote, where they tell it apart from the others."""

Key = tuple[tuple[str, str], ...]


def has_mdr(config: dict[str, Any]) -> bool:
    """Say whether a trial's configuration, nested, has MDR."""
    return config.get("mdr") is not None


def embedding_mode(config: dict[str, Any]) -> str:
    """Return `rescale`, `l2` or `none`."""
    return str(config.get("embedding", {}).get("mode", ""))


def method_of(config: dict[str, Any]) -> str:
    """Return the loss, its embedding mode where that is not the loss's usual one, and whether MDR is added.

    `triplet`, `triplet_l2`, `triplet + MDR`: the first three rows of the paper's Table 1.
    """
    loss, mode = config["loss"], embedding_mode(config)
    name = str(loss["name"]) + ("" if mode == _usual_mode(loss) else f"_{mode}")
    return name + (WITH_MDR if has_mdr(config) else "")


def _usual_mode(loss: dict[str, Any]) -> str:
    """Return what `embedding.mode: auto` means for a loss; one that another version recorded may not be known."""
    try:
        directions = TypeAdapter(LossConfig).validate_python(loss).compares_directions
    except ValidationError:
        directions = False
    return "l2" if directions else "rescale"


def key_of(config: dict[str, Any], without: Sequence[str] = ("seed",)) -> Key:
    """Return a configuration as something to compare, less the keys and sections `without`."""
    kept = {
        key: value
        for key, value in flatten(config).items()
        if not any(key == gone or key.startswith(f"{gone}.") for gone in without)
    }
    return tuple(sorted((key, repr(value)) for key, value in kept.items()))


def comparable_key(config: dict[str, Any]) -> Key:
    """Return what a configuration with MDR and its baselines have in common: all but MDR, the mode and the seed."""
    return key_of(config, without=("seed", "mdr", MODE))


def drawn(config: dict[str, Any], parameters: dict[str, Any]) -> dict[str, Any]:
    """Return what was drawn for a row, a whole choice of MDR by the keys in it: those that differ then are varied.

    Args:
        config: Nested.
        parameters: By dotted key, as records have it: of a section that is chosen a label.
    """
    if "mdr" not in parameters:
        return parameters
    section = {f"mdr.{key}": value for key, value in flatten(config.get("mdr") or {}).items()}
    return {key: value for key, value in parameters.items() if key != "mdr"} | section


def varied(parameters: Sequence[dict[str, Any]]) -> list[str]:
    """Return the keys with more than one value over the rows that have them, in their order.

    Args:
        parameters: What was drawn for each row, see `drawn`.
    """
    keys = list(dict.fromkeys(key for row in parameters for key in row))
    return [key for key in keys if len({repr(row[key]) for row in parameters if key in row}) > 1]


def settings_of(configs: Sequence[dict[str, Any]], parameters: Sequence[dict[str, Any]]) -> list[str]:
    """Return for each row what is varied other than the method, in words: `embedding size 64, weight 0.1`.

    Args:
        configs: Of each row, nested.
        parameters: What was drawn for each row, see `drawn`.
    """
    rows = [_without_method(config, row) for config, row in zip(configs, parameters, strict=True)]
    keys = varied(rows)
    names = short_names(keys) | {"loss": ""}
    shown = [{key: row[key] for key in keys if key in row} for row in rows]

    def say(row: dict[str, Any], digits: int) -> str:
        return ", ".join(f"{names[key]} {_said(value, digits)}".strip() for key, value in row.items())

    return tell_apart(shown, say, SETTING_DIGITS)


def tuned_setting(config: dict[str, Any], parameters: dict[str, Any]) -> str:
    """Return all that a search drew for a row, other than the method: `levels 3 over ±2.40, weight 0.13`.

    Args:
        config: Of the row, nested.
        parameters: As its record has them.
    """
    return format_parameters(_without_method(config, parameters))


def _without_method(config: dict[str, Any], parameters: dict[str, Any]) -> dict[str, Any]:
    """Return what was drawn for a row and its method's name does not say."""
    left = {key: _beside_method(key, value, config) for key, value in parameters.items() if key not in UNSAID}
    return {key: value for key, value in left.items() if value is not None}


def _beside_method(key: str, value: Any, config: dict[str, Any]) -> Any:
    """Return what the method's name does not say of a value; None if that is nothing."""
    if key == "loss":
        return str(value).removeprefix(str(config["loss"]["name"])).strip() or None
    return value


def _said(value: Any, digits: int) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return "[" + ", ".join(_said(item, digits) for item in value) + "]"
    return describe_value(value, digits)
