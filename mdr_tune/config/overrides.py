"""Apply `--set KEY=VALUE` to the content of a sweep file."""

from typing import Any

from mdr_tune.config.hints import flag_as_text
from mdr_tune.config.strict_model import set_dotted
from mdr_tune.config.sweep_file import Source
from mdr_tune.config.yaml_lines import parse_flag
from mdr_tune.util.errors import UserError


def read_override(text: str, example: str = "trial.loss.margin=0.3") -> tuple[str, Any]:
    """Return the key and the value in `text`, the KEY=VALUE of one --set. `example` is shown in the error message.

    Raise UserError if `text` has no key, or if its value begins like a list or mapping and is not valid YAML.
    """
    key, equals, value_text = text.partition("=")
    key = key.strip()
    if not equals or not all(key.split(".")):
        raise UserError(f"--set {text}: expected KEY=VALUE, such as --set {example}")
    try:
        return key, parse_flag(value_text)
    except UserError as error:
        why = f"{value_text!r} is not a YAML value (line {error})"
        raise UserError(f"--set {text}: {why}. If it is text, put it in quotes: {flag_as_text(text, None)}") from None


def override(tree: dict[str, Any], text: str, source: Source) -> list[str]:
    """Apply `text`, the KEY=VALUE of one --set, to `tree`, the content of a sweep file, and record it in `source`.

    A --set of a searched key of the trial removes the key from the search space: the user means to fix the value.
    Return a note for each key that was removed.

    Raises:
        UserError: `text` is not valid, the space is not a mapping, or a key that is set to null is not in the space.
    """
    key, value = read_override(text)
    if key.startswith("space."):  # the keys of the space contain dots themselves
        name, path = key.removeprefix("space."), ("space", key.removeprefix("space."))
        space = {} if tree.get("space") is None else tree["space"]
        if not isinstance(space, dict):
            raise UserError(f"--set {text}: space is no mapping, so that {name} cannot be set in it")
        tree["space"] = space
        if value is None:
            if name not in space:
                raise UserError(f"--set {text}: {name} is not in the space. There: {', '.join(space) or 'nothing'}.")
            _drop_searched(tree, name)
        else:
            space[name] = value
        source.overridden[path] = text
        return []
    set_dotted(tree, key, value)
    place = tuple(key.split("."))
    for replaced in [earlier for earlier in source.overridden if earlier[: len(place)] == place]:
        del source.overridden[replaced]  # what an earlier flag gave below this key is gone
    source.overridden[place] = text
    return _fix_searched(tree, key)


def _fix_searched(tree: dict[str, Any], key: str) -> list[str]:
    """Remove from the space in `tree` the keys that a --set of `key` fixes, and return a note for each of them."""
    if not key.startswith("trial.") or not isinstance(tree.get("space"), dict):
        return []
    name = key.removeprefix("trial.")
    gone = [k for k in tree["space"] if k == name or k.startswith(name + ".") or name.startswith(k + ".")]
    for k in gone:
        _drop_searched(tree, k)
    return [f"{k} is fixed by --set and no longer searched" for k in gone]


def _drop_searched(tree: dict[str, Any], key: str) -> None:
    """Remove `key` from the space in `tree`. Remove it, and the keys below it, from the points in start_from."""
    del tree["space"][key]
    points = tree.get("start_from")
    for point in points if isinstance(points, list) else []:
        for name in list(point) if isinstance(point, dict) else []:
            if name == key or str(name).startswith(f"{key}."):
                del point[name]
