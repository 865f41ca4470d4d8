"""Notes for the user on numbers of a sweep that were likely meant in another unit than that of their key."""

from collections.abc import Iterator
from typing import Any

from mdr_tune.config.space import Tree, apply_settings, parameter_tree
from mdr_tune.config.space_checks import first_settings, tries
from mdr_tune.config.sweep import SweepConfig
from mdr_tune.config.trial import TrialConfig


def unit_notes(sweep: SweepConfig) -> list[str]:
    """Return a note for each number of `sweep`, or end of a searched range, that was likely meant in another unit."""
    notes: dict[str, None] = {}
    replaced = tuple(f"trial.{key}." for key in sweep.space)
    for key, value, unit in sweep.units():
        found = unit.note(value)
        if found and not f"{key}.".startswith(replaced):
            notes[f"{key}: {found}"] = None
    for key, trial in trials_tried(sweep):
        for inner, value, unit in trial.units():
            found = unit.note(value)
            if found and f"{inner}.".startswith(f"{key}."):
                notes[f"space.{inner}: {found}"] = None
    return list(notes)


def trials_tried(sweep: SweepConfig) -> Iterator[tuple[str, TrialConfig]]:
    """Yield (dotted key, trial) for each choice of a searched key of `sweep`, and for both ends of each range.

    The trial is the base trial with that value at the key.
    """
    for key, domain in sweep.space.items():
        tree = parameter_tree({key: domain})
        for parameter_key, values in _tried(tree, first_settings(tree)):
            yield parameter_key, apply_settings(sweep.trial, values)


def _tried(tree: Tree, around: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for parameter in tree:
        others = {key: value for key, value in around.items() if not key.startswith(f"{parameter.key}.")}
        for _, values, children in tries(parameter, ()):
            here = {**others, **values, **first_settings(children)}
            yield parameter.key, here
            yield from _tried(children, here)
