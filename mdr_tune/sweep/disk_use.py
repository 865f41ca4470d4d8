"""Describe the disk space of a launch: an upper bound for its checkpoints, and the space in use when it has ended."""

import shutil
from collections.abc import Iterator
from pathlib import Path

from mdr_tune.checkpoints.retention import LATEST
from mdr_tune.config.space import section_variants
from mdr_tune.config.trial import TrialConfig
from mdr_tune.sweep.model_fit import models_of, outline
from mdr_tune.sweep.plan import Plan
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
    epochs, trials = plan.max_epochs, plan.num_trials * len(plan.sweep.training_seeds)
    kept = epochs if plan.sweep.checkpoints == "all" else min(epochs, LATEST + 1)
    copies = 0 if plan.stores.artifact_root is None else epochs if plan.sweep.checkpoints == "all" else 1
    models = [model.model_copy(update={"memory": memory}) for model in models_of(plan.sweep) for memory in memories]
    size = max(map(checkpoint_bytes, models))
    free = shutil.disk_usage(existing_folder(plan.stores.storage)).free
    return (
        f"up to {format_bytes(trials * (kept + copies) * size)}: {kept + copies} of {format_bytes(size)} for each of "
        f"{count(trials, 'trial')}, {'those in MLflow included, ' if copies else ''}{format_bytes(free)} free"
    )


def checkpoint_bytes(trial: TrialConfig) -> int:
    """Return the approximate size in bytes of a checkpoint of `trial`, without the few weights of the loss.

    It includes the network, its buffers, the optimiser's state and the cross-batch memory.
    """
    model = outline(trial)
    copies = trial.optimizer.chosen.copies_per_weight(trial.optimizer.chosen_momentum)
    bytes_each = [(p.numel() * p.element_size(), p.requires_grad) for p in model.parameters()]
    buffers = sum(buffer.numel() * buffer.element_size() for buffer in model.buffers())
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
