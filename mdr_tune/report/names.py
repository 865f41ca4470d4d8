"""Parameters under the short names that people say: `mdr.levels.spread` is `levels spread`."""

from collections.abc import Iterable


def short_names(keys: Iterable[str]) -> dict[str, str]:
    """Return a short name for each dotted key: its last part, with the one before where that alone is ambiguous.

    `size` and the parts of the levels' grid always have the one before; `name` says nothing beside a section's.
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
