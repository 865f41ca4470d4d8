"""Name the method and the setting of an ablation's row, and make the keys by which comparable rows are found."""

from collections.abc import Sequence
from typing import Any

from pydantic import TypeAdapter, ValidationError

from mdr_tune.config.domains import describe_value, tell_apart
from mdr_tune.config.losses import LossConfig
from mdr_tune.config.strict_model import flatten
from mdr_tune.report.names import format_parameters, short_names

WITH_MDR = " + MDR"
MODE = "embedding.mode"
UNSAID = ("seed", MODE)
"""Keys that settings do not name. A row has all of its seeds, and the name of its method tells the embedding mode."""
SETTING_DIGITS = 6
"""Number of significant digits in a setting. Settings that would read the same with this number get more digits."""

Key = tuple[tuple[str, str], ...]


def has_mdr(config: dict[str, Any]) -> bool:
    """Return whether the nested trial configuration `config` has MDR."""
    return config.get("mdr") is not None


def embedding_mode(config: dict[str, Any]) -> str:
    """Return the embedding mode of the trial configuration `config`: `rescale`, `l2` or `none`."""
    return str(config.get("embedding", {}).get("mode", ""))


def method_of(config: dict[str, Any]) -> str:
    """Return the name of the method that the configuration `config` trains: `triplet`, `triplet_l2` or `triplet + MDR`.

    The name ends with the embedding mode, such as `l2`, unless the mode is the usual one of the loss.
    """
    loss, mode = config["loss"], embedding_mode(config)
    name = str(loss["name"]) + ("" if mode == _usual_mode(loss) else f"_{mode}")
    return name + (WITH_MDR if has_mdr(config) else "")


def _usual_mode(loss: dict[str, Any]) -> str:
    """Return the mode that `embedding.mode: auto` means for `loss`; `rescale` for a loss that this version lacks."""
    try:
        directions = TypeAdapter(LossConfig).validate_python(loss).compares_directions
    except ValidationError:
        directions = False
    return "l2" if directions else "rescale"


def key_of(config: dict[str, Any], without: Sequence[str] = ("seed",)) -> Key:
    """Return a key that equal configurations share. The sections and keys of `config` in `without` are not compared.

    A value of None counts as a missing key, since the records of older versions lack keys that were added later.
    """
    kept = {
        key: value
        for key, value in flatten(config).items()
        if value is not None and not any(key == gone or key.startswith(f"{gone}.") for gone in without)
    }
    return tuple(sorted((key, repr(value)) for key, value in kept.items()))


def comparable_key(config: dict[str, Any]) -> Key:
    """Return a key of configurations that differ from `config` at most in MDR, embedding mode, seed and fold."""
    return key_of(config, without=("seed", "mdr", MODE, "data.validation.fold"))


def drawn(config: dict[str, Any], parameters: dict[str, Any]) -> dict[str, Any]:
    """Return the `parameters` drawn for a row, by dotted key. A drawn section `mdr` is replaced by its keys.

    If a search chose between whole sections for MDR, `parameters` has only a section's label. The result has the keys
    of this section, such as `mdr.weight`, with their values in `config`, the row's nested configuration.
    """
    if "mdr" not in parameters:
        return parameters
    section = {f"mdr.{key}": value for key, value in flatten(config.get("mdr") or {}).items()}
    return {key: value for key, value in parameters.items() if key != "mdr"} | section


def varied(parameters: Sequence[dict[str, Any]]) -> list[str]:
    """Return the keys that have different values in different rows. `parameters` has the drawn values of each row."""
    keys = list(dict.fromkeys(key for row in parameters for key in row))
    return [key for key in keys if len({repr(row[key]) for row in parameters if key in row}) > 1]


def settings_of(configs: Sequence[dict[str, Any]], parameters: Sequence[dict[str, Any]]) -> list[str]:
    """Return the setting of each row as text: the values that vary besides the method, `margin 0.2, weight 0.1`.

    `configs` has the nested configuration of each row, and `parameters` its drawn values, see `drawn`.
    """
    rows = [_without_method(config, row) for config, row in zip(configs, parameters, strict=True)]
    keys = varied(rows)
    names = short_names(keys) | {"loss": ""}
    shown = [{key: row[key] for key in keys if key in row} for row in rows]

    def say(row: dict[str, Any], digits: int) -> str:
        return ", ".join(f"{names[key]} {_said(value, digits)}".strip() for key, value in row.items())

    return tell_apart(shown, say, SETTING_DIGITS)


def tuned_setting(config: dict[str, Any], parameters: dict[str, Any]) -> str:
    """Return the setting of a search's row as text: the values drawn besides the method, `margin 0.2, weight 0.13`.

    `config` is the nested configuration of the row, and `parameters` its drawn values by dotted key.
    """
    return format_parameters(_without_method(config, parameters))


def _without_method(config: dict[str, Any], parameters: dict[str, Any]) -> dict[str, Any]:
    """Return the drawn `parameters` of a row without seed, embedding mode and the loss's name, which is in `config`."""
    left = {key: _beside_method(key, value, config) for key, value in parameters.items() if key not in UNSAID}
    return {key: value for key, value in left.items() if value is not None}


def _beside_method(key: str, value: Any, config: dict[str, Any]) -> Any:
    """Return the drawn `value` of `key`; if it is the label of a loss, without the loss's name, which is in `config`.

    For a loss, None is returned if nothing remains of the label. The name is left out since the method's name has it.
    """
    if key == "loss":
        return str(value).removeprefix(str(config["loss"]["name"])).strip() or None
    return value


def _said(value: Any, digits: int) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return "[" + ", ".join(_said(item, digits) for item in value) + "]"
    return describe_value(value, digits)
