"""The settings of a sweep's trials, for the plan: data, model, loss, batch and length of the training."""

import os
from collections.abc import Iterator
from typing import Any

from mdr_tune.config.chosen_metrics import NO_OTHERS
from mdr_tune.config.losses import Loss
from mdr_tune.config.strict_model import StrictModel
from mdr_tune.config.sweep import SweepConfig
from mdr_tune.config.trial import TrialConfig
from mdr_tune.data.outline import DatasetOutline, SplitOutline
from mdr_tune.util.import_path import is_import_path
from mdr_tune.util.words import count, plural

MAIN_KEYS = {
    "backbone": ["weights"],
    "embedding": ["size", "mode"],
    "mdr": ["weight", "levels", "learn_levels"],
    "memory": ["size", "start_epoch"],
    "batch": ["size", "images_per_class"],
    "optimizer": ["learning_rate"],
}
"""Keys of each section that are shown even if the sweep file does not give them. All keys of a loss are shown."""
LENGTH = ["epochs", "iterations_per_epoch", "batch_norm"]
"""Keys outside of the sections that are always shown, in one row."""
BESIDE_LENGTH = ["precision", "compile", "protocol", "seed"]
"""Further keys outside of the sections. They are shown in the same row if their values are not the defaults."""


def trial_settings(sweep: SweepConfig, outline: DatasetOutline | None) -> Iterator[tuple[str, str]]:
    """Yield (section, text) for each section of `sweep.trial`; the text has the keys that decide what is trained.

    A searched key has the word `searched` in place of its value. `outline` has the sizes of the data set's classes;
    None if they are not known.
    """
    trial = sweep.trial
    yield "data", _settings(sweep, "data", trial.data)
    if outline is not None:
        of_fold = "" if sweep.search.folds is None else " (fold 0; in another fold a class more or less)"
        yield "splits", "; ".join(_splits(trial, outline)) + of_fold
    loss_is_fixed = "loss" not in sweep.space
    sections: dict[str, StrictModel | None] = {
        "augmentation": trial.chosen_augmentation if trial.data.holds_images else None,
        "backbone": trial.backbone,
        "embedding": trial.embedding,
        "loss": trial.loss,
        "miner": (trial.chosen_miner if trial.loss.takes_mined else None) if loss_is_fixed else trial.miner,
        "mdr": trial.mdr,
        "memory": trial.memory,
        "batch": trial.batch,
        "optimizer": trial.optimizer,
        "metrics": trial.metrics if trial.metrics != NO_OTHERS else None,
    }
    for name, section in sections.items():
        if name in sweep.space:
            yield name, "searched"
        elif section is not None:
            yield name, _settings(sweep, name, section)
    length = [*LENGTH, *(key for key in BESIDE_LENGTH if key in sweep.space or _is_shown("", trial, key))]
    yield "training", ", ".join(_pair(sweep, key, _used(sweep, key, trial)) for key in length)


def _settings(sweep: SweepConfig, name: str, section: StrictModel) -> str:
    """Return the text of `trial_settings` on one `section` of the trial, whose key is `name`."""
    given = [
        key for key in [*type(section).model_fields, *(section.model_extra or {})] if _is_shown(name, section, key)
    ]
    searched = [key.removeprefix(f"{name}.") for key in sweep.space if key.startswith(f"{name}.")]
    inner = dict.fromkeys([*given, *(key.split(".")[0] for key in searched)])
    inner.pop("name", None)
    kind = [str(section.name)] if hasattr(section, "name") else []
    shape = [_shape(sweep.trial)] if name == "data" and "image_size" not in searched else []
    if shape:
        inner.pop("image_size", None)  # it is in the shape
    pairs = [_pair(sweep, f"{name}.{key}", _used(sweep, f"{name}.{key}", section)) for key in inner]
    return ", ".join([*kind, *shape, *pairs])


def _is_shown(name: str, section: StrictModel, key: str) -> bool:
    if key in MAIN_KEYS.get(name, []) or isinstance(section, Loss) or key in (section.model_extra or {}):
        return True
    default = type(section).model_fields[key].get_default(call_default_factory=True)
    return bool(getattr(section, key) != default)


def _used(sweep: SweepConfig, key: str, section: StrictModel) -> Any:
    """Return the value of the dotted `key` in its `section`; `auto` is replaced by what is used, if that is known."""
    trial = sweep.trial
    match key:
        case "embedding.mode" if "loss" not in sweep.space:
            return trial.embedding_mode
        case "batch_norm" if "backbone" not in sweep.space:
            return "frozen" if trial.freezes_batch_norm else "synced"
        case "backbone.weights" if is_import_path(trial.backbone.name) and not os.path.isabs(trial.backbone.weights):
            return "as its code makes them"
        case "backbone.weights" if not trial.backbone.pretrained:
            return "random"
    return getattr(section, key.rpartition(".")[2], None)


def _pair(sweep: SweepConfig, key: str, value: Any) -> str:
    """Return the last part of the dotted `key` and its `value` as one text."""
    if any(searched == key or searched.startswith(f"{key}.") for searched in sweep.space):
        value = "searched"
    return f"{key.rpartition('.')[2]} {_text(value)}"


def _text(value: Any) -> str:
    if isinstance(value, StrictModel):
        value = value.model_dump()
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {_text(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_text, value)) + "]"
    if isinstance(value, bool) or value is None:
        return {True: "true", False: "false", None: "null"}[value]
    return f"{value:g}" if isinstance(value, float) else str(value)


def _shape(trial: TrialConfig) -> str:
    channels, *pixels = trial.data.input_shape
    if not trial.data.holds_images:
        return f"vectors of {count(pixels[-1], 'number')}"
    return f"{' x '.join(map(str, pixels))} pixels in {count(channels, 'channel')}"


def _splits(trial: TrialConfig, outline: DatasetOutline) -> Iterator[str]:
    """Yield a text for each split, such as `train 692 classes, 8,304 images`."""
    joined = trial.protocol == "paper"
    train = outline.train.class_sizes + (outline.validation.class_sizes if joined else ())
    splits = {"train": SplitOutline(train), "validation": outline.validation, "test": outline.test}
    for name, split in splits.items():
        if not (joined and name == "validation"):
            gallery = f", {split.gallery:,} in the gallery" if split.gallery is not None else ""
            sizes = split.class_sizes
            yield f"{name} {len(sizes):,} {plural(len(sizes), 'class')}, {sum(sizes):,} images{gallery}"
