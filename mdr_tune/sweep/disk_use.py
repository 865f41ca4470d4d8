"""Describe the disk space of a launch: an upper bound for its checkpoints, and the space in use when it has ended."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mdr_tune.checkpoints.retention import LATEST
from mdr_tune.config.arms import data_variants
from mdr_tune.config.space import section_variants
from mdr_tune.config.sweep import SweepConfig
from mdr_tune.config.trial import TrialConfig
from mdr_tune.data.outline import DatasetOutline
from mdr_tune.sweep.model_fit import models_of, outline
from mdr_tune.sweep.plan import Plan
from mdr_tune.sweep.prepare import content_if_read
from mdr_tune.util.cache_folder import check_cache_dir, check_cache_writable
from mdr_tune.util.disk_space import format_bytes
from mdr_tune.util.files import existing_folder
from mdr_tune.util.words import count

SMALL = "conv4"
"""Name of a backbone whose checkpoints have only 1.5 MB. Their total size is not worth a line in the plan."""


def describe_checkpoints(plan: Plan) -> str | None:
    """Return a text on the most disk space that the checkpoints of `plan` can take; None if it is not worth a line."""
    backbones = section_variants(plan.sweep.trial, plan.sweep.space, "backbone")
    memories = section_variants(plan.sweep.trial, plan.sweep.space, "memory")
    if {backbone.name for backbone in backbones} <= {SMALL} and memories == [None]:
        return None
    most, further = plan.most_finalists, plan.sweep.num_repeats - 1
    with_seeds = plan.num_trials if most is None else sum(min(most, arm.trials) for arm in plan.arms)
    epochs, trials = plan.max_epochs, plan.num_trials + with_seeds * further
    kept = epochs if plan.sweep.checkpoints == "all" else min(epochs, LATEST + 1)
    copies = 0 if plan.stores.artifact_root is None else epochs if plan.sweep.checkpoints == "all" else 1
    models = [model.model_copy(update={"memory": memory}) for model in models_of(plan.sweep) for memory in memories]
    size = max(map(checkpoint_bytes, models))
    free = shutil.disk_usage(existing_folder(plan.stores.storage)).free
    return (
        f"up to {format_bytes(trials * (kept + copies) * size)}: {kept + copies} of {format_bytes(size)} for each of "
        f"{count(trials, 'trial')}, {'those in MLflow included, ' if copies else ''}{format_bytes(free)} free"
    )


def describe_features(plan: Plan) -> list[str]:
    """Return a line for each frozen network of `plan` whose features are kept: folder, size, and whether they exist.

    If the network is random, the features for all training seeds are counted. There are no lines before the data set is
    there.

    Raises:
        UserError: Features are missing, and the cache folder can only be read.
    """
    from mdr_tune.data.kept_features import FOLDER

    device = "cuda" if plan.lanes.gpus_per_worker else "cpu"
    wanted: dict[str, dict[str, int]] = {}
    if plan.outline is None:
        return []
    for trial in _keeping_trials(plan.sweep):
        wanted.setdefault(trial.backbone.name, {}).update(_feature_files(trial, plan.outline, device))
    folder = check_cache_dir()
    there = _there(folder) if wanted else set()
    where = f"{folder / FOLDER}{' of each node' if plan.address else ''}"
    lines = []
    for name, sizes in wanted.items():
        found = sum(key in there for key in sizes)
        if found < len(sizes) and plan.address is None:
            check_cache_writable()
        state = "all there" if found == len(sizes) else f"{found} of {count(len(sizes), 'file')} there"
        what = "computed once, by the first trial that needs them; " if found == 0 else ""
        lines.append(f"{name}: {format_bytes(sum(sizes.values()))} in {where}, {what}{state}")
    return lines


def _keeping_trials(sweep: SweepConfig) -> Iterator[TrialConfig]:
    """Yield a trial for each combination in `sweep` of network, data, augmentation and seed that has kept features."""
    for trial in models_of(sweep):
        for data in data_variants(sweep):
            for augmentation in section_variants(sweep.trial, sweep.space, "augmentation"):
                one = trial.model_copy(update={"data": data, "augmentation": augmentation})
                seeds = sweep.training_seeds[:1] if one.backbone.pretrained else sweep.training_seeds
                if one.keeps_features:
                    yield from (one.model_copy(update={"seed": seed}) for seed in seeds)


def _feature_files(trial: TrialConfig, images: DatasetOutline, device: str) -> dict[str, int]:
    """Return the size in bytes of each file of features that `trial` needs before its final evaluation, by key."""
    from mdr_tune.training.frozen_features import about_features

    train, validation = (sum(split.class_sizes) for split in (images.train, images.validation))
    if trial.protocol == "paper":
        train, validation = train + validation, 0
    numbers, content = outline(trial).backbone.feature_size, content_if_read(trial.data)
    counts = {"training": train * (trial.backbone.views or 1), "validation": validation}
    return {
        _as_key({**about_features(trial, split, device), "content": content}): rows * numbers * 4
        for split, rows in counts.items()
        if rows
    }


def _there(folder: Path) -> set[str]:
    """Return two keys for each file of kept features in the cache folder `folder`: with the images' hash and without.

    A plan that has not read the images does not know their hash.
    """
    from mdr_tune.data.kept_features import kept_features

    abouts = [kept.about for kept in kept_features(folder) if kept.about and kept.shape]
    return {_as_key(one) for about in abouts for one in (about, {**about, "content": None})}


def _as_key(about: dict[str, Any]) -> str:
    return json.dumps(about, sort_keys=True)


def checkpoint_bytes(trial: TrialConfig) -> int:
    """Return the approximate size in bytes of a checkpoint of `trial`, without the few weights of the loss.

    It includes the network, its buffers, the optimiser's state and the cross-batch memory, but not a frozen network
    that checkpoints leave out.
    """
    from mdr_tune.training.frozen_backbone import leaves_out

    model = outline(trial)
    copies = trial.optimizer.chosen.copies_per_weight(trial.optimizer.chosen_momentum)
    kept = model.head if leaves_out(trial) else model
    bytes_each = [(p.numel() * p.element_size(), p.requires_grad) for p in kept.parameters()]
    buffers = sum(buffer.numel() * buffer.element_size() for buffer in kept.buffers())
    memory = 0
    if trial.memory is not None:
        added = trial.memory.added(trial.epochs, trial.iterations_per_epoch, trial.batch.size)
        memory = min(trial.memory.size, added) * (4 * model.embedding_size + 8)  # float32, int64 labels
    return sum(size * (1 + copies * is_trained) for size, is_trained in bytes_each) + buffers + memory


def describe_used(plan: Plan) -> str:
    """Return a text on the disk space in use by the launch of `plan`, and by its sweep's artifacts in a local store."""
    artifacts = plan.stores.artifact_root
    folders = [plan.folder, *([] if artifacts is None else [artifacts / plan.sweep.name])]
    sizes = {folder: sum(_sizes(folder)) for folder in folders}
    parts = ", ".join(f"{format_bytes(size)} in {folder}" for folder, size in sizes.items())
    return f"On the disk: {parts}."


def _sizes(folder: Path) -> Iterator[int]:
    for file in folder.rglob("*"):
        if file.is_file() and not file.is_symlink():
            yield file.stat().st_size
