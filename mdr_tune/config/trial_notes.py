"""Notes for the user on numbers that exceed a trial's epochs, margins that are too large, and keys without effect."""

from collections.abc import Iterator

from mdr_tune.config.sweep import SweepConfig
from mdr_tune.config.trial import MemoryConfig, TrialConfig
from mdr_tune.config.unit_notes import trials_tried
from mdr_tune.util.words import count

LARGEST_DISTANCE = {"l2": "no distance exceeds 2", "rescale": "the mean distance of a batch is 1"}
"""Reason, by embedding mode, why a margin above 2, which is compared with distances or their differences, is too large.
"""


def trial_notes(sweep: SweepConfig) -> list[str]:
    """Return a note for each number of a trial of `sweep` that does not fit the trial's other values.

    The trials are those of `trials_tried`, or the base trial if nothing is searched.
    """
    tried = [trial for _, trial in trials_tried(sweep)] or [sweep.trial]
    notes = [note for trial in tried for note in _notes(trial)]
    with_memory = [trial.memory for trial in tried if trial.memory is not None]
    if any(memory.mdr == "both" for memory in with_memory) and all(trial.mdr is None for trial in tried):
        notes.append("trial.memory.mdr: both does nothing beside mdr: null")
    return list(dict.fromkeys(notes))


def _notes(trial: TrialConfig) -> Iterator[str]:
    schedule, epochs = trial.optimizer.schedule, count(trial.epochs, "epoch")
    if late := schedule.never_reached(trial.epochs):
        says = f"{', '.join(map(str, late))} {'is' if len(late) == 1 else 'are'} never reached"
        yield f"trial.optimizer.schedule.milestones: {says}: a trial has {epochs}"
    warmups = {"optimizer.schedule": schedule.warmup_epochs, **({"mdr": trial.mdr.warmup_epochs} if trial.mdr else {})}
    for section, warmup in warmups.items():
        if warmup >= trial.epochs:
            rises = "MDR's weight still rises" if section == "mdr" else "the learning rates still rise"
            yield f"trial.{section}.warmup_epochs: {warmup:g}, of {epochs}: {rises} when a trial ends"
    backbone, rates = trial.backbone, trial.optimizer
    if backbone.train == "none" and backbone.frozen_epochs:
        yield "trial.backbone.frozen_epochs: does nothing beside train: none, which freezes the backbone in all epochs"
    if backbone.train == "none" and trial.data.holds_images and not trial.keeps_features:
        if trial.embedding.pool == "gem":
            yield "trial.embedding.pool: gem is trained, so that no features of the frozen network are kept"
        else:
            how = trial.chosen_augmentation.name
            yield (
                f"trial.backbone.views: not set, so that the frozen network computes anew in each step, as {how} "
                "changes the images; views: 4, or augmentation: none, keeps its features, and a trial takes seconds"
            )
    crop, filter_ = trial.chosen_augmentation.arguments().get("interpolation"), trial.data.chosen_interpolation
    if crop not in (None, filter_) and filter_ != "lanczos":
        yield f"trial.augmentation.interpolation: {crop}, where data.interpolation resizes images by {filter_}"
    if backbone.views is not None and trial.chosen_augmentation.name == "none":
        yield "trial.backbone.views: all views are equal beside augmentation: none: leave it out"
    if backbone.train != "none" and backbone.frozen_epochs >= trial.epochs:
        yield f"trial.backbone.frozen_epochs: {backbone.frozen_epochs}, of {epochs}: the backbone is never trained"
    if rates.layer_decay != 1 and not backbone.trains_in(trial.epochs):
        yield "trial.optimizer.layer_decay: does nothing where the backbone is never trained"
    if rates.head_learning_rate is not None and not trial.embedding.has_parameters:
        yield "trial.optimizer.head_learning_rate: does nothing beside embedding.head: identity"
    if trial.memory is not None:
        yield from _memory_notes(trial, trial.memory)
    if trial.embedding_mode in LARGEST_DISTANCE:
        for key, value in trial.loss.margins().items():
            if value > 2:
                where = f"embedding.mode {trial.embedding_mode}, where {LARGEST_DISTANCE[trial.embedding_mode]}"
                yield f"trial.loss.{key}: {value:g} is hardly met with {where}"


def _memory_notes(trial: TrialConfig, memory: MemoryConfig) -> Iterator[str]:
    if memory.start_epoch >= trial.epochs:
        yield f"trial.memory.start_epoch: {memory.start_epoch:g}, of {count(trial.epochs, 'epoch')}: it is never used"
        return
    images = trial.iterations_per_epoch * trial.batch.size
    added = int((trial.epochs - memory.start_epoch) * images)
    if memory.size > added:
        yield f"trial.memory.size: {memory.size:,} is never reached: a trial adds {added:,} embeddings"
    elif memory.size > images:
        yield (
            f"trial.memory.size: {memory.size:,} is more than the {images:,} images of an epoch: once the memory is "
            "full, its oldest embeddings are more than an epoch old"
        )
