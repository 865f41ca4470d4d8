"""Notes on numbers that do nothing beside the others of a trial."""

from pathlib import Path

import pytest

from mdr_tune.config.sweep_reading import read_sweep

SWEEP = """
name: small
trial: {batch: {size: 16}, epochs: 2}
search: {trials: 2}
space: {mdr.weight: {loguniform: [0.01, 1]}}
"""


RESCALED = "embedding.mode rescale, where the mean distance of a batch is 1"


@pytest.mark.parametrize(
    ("overrides", "notes"),
    [
        (["trial.optimizer.schedule={milestones: [1], warmup_epochs: 1}", "trial.mdr.warmup_epochs=1.5"], []),
        (
            ["trial.optimizer.schedule.milestones=[1, 2, 5]"],
            ["trial.optimizer.schedule.milestones: 2, 5 are never reached: a trial has 2 epochs"],
        ),
        (
            ["trial.optimizer.schedule={name: cosine, warmup_epochs: 3}"],
            ["trial.optimizer.schedule.warmup_epochs: 3, of 2 epochs: the learning rates still rise when a trial ends"],
        ),
        (
            ["trial.mdr.warmup_epochs=2"],
            ["trial.mdr.warmup_epochs: 2, of 2 epochs: MDR's weight still rises when a trial ends"],
        ),
        (
            ["space.epochs={int: [2, 9]}", "trial.optimizer.schedule.milestones=[5]"],
            ["trial.optimizer.schedule.milestones: 5 is never reached: a trial has 2 epochs"],
        ),
        (
            ["space.loss.margin={uniform: [1, 20]}"],
            [f"trial.loss.margin: 20 is hardly met with {RESCALED}"],
        ),
        (
            ["trial.loss={name: pml.TripletMarginLoss, margin: 20}", "trial.embedding.mode=l2"],
            ["trial.loss.margin: 20 is hardly met with embedding.mode l2, where no distance exceeds 2"],
        ),
        (["trial.loss.margin=20", "trial.embedding.mode=none"], []),
        (
            [
                "trial.data={name: cub200, interpolation: bicubic}",
                "trial.augmentation={name: random_resized_crop, scale: [0.5, 1]}",
                "trial.backbone=resnet18",
            ],
            ["trial.augmentation.interpolation: lanczos, where data.interpolation resizes images by bicubic"],
        ),
        (["trial.memory={size: 1600}", "trial.memory.start_epoch=0.5"], []),
        (["trial.memory={start_epoch: 2}"], ["trial.memory.start_epoch: 2, of 2 epochs: it is never used"]),
        (
            ["space.mdr.weight=null", "trial.mdr=null", "trial.memory={mdr: both}"],
            ["trial.memory.mdr: both does nothing beside mdr: null"],
        ),
        (["space.mdr.weight=null", "trial.memory={mdr: both}", "space.mdr=[null, {weight: 0.2}]"], []),
        (
            ["trial.memory={start_epoch: 0}", "space.memory.size={choice: [400, 1601, 3201]}"],
            [
                "trial.memory.size: 1,601 is more than the 1,600 images of an epoch: once the memory is full, its "
                "oldest embeddings are more than an epoch old",
                "trial.memory.size: 3,201 is never reached: a trial adds 3,200 embeddings",
            ],
        ),
    ],
)
def test_what_does_nothing_is_noted(tmp_path: Path, overrides: list[str], notes: list[str]) -> None:
    file = tmp_path / "sweep.yaml"
    file.write_text(SWEEP)
    assert read_sweep(file, overrides)[1] == notes
