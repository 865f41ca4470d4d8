"""Describe the disk space of a launch: an upper bound for its checkpoints, and the space in use when it has ended."""

import shutil
from collections.abc import Iterator
from pathlib import Path

from mdr_tune.checkpoints.retention import LATEST
from mdr_tune.config.space import section_variants
from mdr_tune.config.trial import TrialConfig
from mdr_tune.sweep.plan import Plan
from mdr_tune.util.disk_space import format_bytes
from mdr_tune.util.files import existing_folder
from mdr_tune.util.import_path import is_import_path
from mdr_tune.util.words import count

SMALL = "conv4"
"""Name of a backbone whose checkpoints have only 1.5 MB. Their total size is not worth a line in the plan."""


def describe_checkpoints(plan: Plan) -> str | None:
    """Return a text on the most disk space that checkpoints of `plan` can take; None if its only backbone is SMALL."""
    backbones = section_variants(plan.sweep.trial, plan.sweep.space, "backbone")
    if {backbone.name for backbone in backbones} <= {SMALL}:
        return None
    epochs, trials = plan.max_epochs, plan.num_trials * len(plan.sweep.training_seeds)
    kept = epochs if plan.sweep.checkpoints == "all" else min(epochs, LATEST + 1)
    copies = 0 if plan.stores.artifact_root is None else epochs if plan.sweep.checkpoints == "all" else 1
    size = max(checkpoint_bytes(plan.sweep.trial.model_copy(update={"backbone": b})) for b in backbones)
    free = shutil.disk_usage(existing_folder(plan.stores.storage)).free
    return (
        f"up to {format_bytes(trials * (kept + copies) * size)}: {kept + copies} of {format_bytes(size)} for each of "
        f"{count(trials, 'trial')}, {'those in MLflow included, ' if copies else ''}{format_bytes(free)} free"
    )


def checkpoint_bytes(trial: TrialConfig) -> int:
    """Return the approximate size of a checkpoint of `trial` in bytes: network, buffers and the optimiser's state.

    The few weights of a loss are left out. The network is built on the meta device, where its weights take no memory.
    """
    import torch

    from mdr_tune.backbones import build_backbone

    with torch.device("cpu" if is_import_path(trial.backbone.name) else "meta"):  # a user's code may read weights
        backbone = build_backbone(
            trial.backbone.name,
            trial.backbone.weights,
            load=False,
            image_size=trial.data.input_shape[-1],
            arguments=trial.backbone.arguments,
        )
        embedding_layer = torch.nn.Linear(backbone.feature_size, trial.embedding.size)
    model = torch.nn.ModuleList([backbone, embedding_layer])
    parameters = sum(parameter.numel() * parameter.element_size() for parameter in model.parameters())
    buffers = sum(buffer.numel() * buffer.element_size() for buffer in model.buffers())
    copies = trial.optimizer.chosen.copies_per_weight(trial.optimizer.chosen_momentum)
    return parameters * (1 + copies) + buffers


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
