"""Steps of a trial of the head alone on kept features, and of the same trial end to end."""

from pathlib import Path

import torch
from summary.machine import synchronized_time

from frozen.network import trial
from mdr_tune.data import ImageDataset, Images, ImageSplit
from mdr_tune.training import Ranks, TrialSession

HEAD_STEPS = 100
IMAGES_PER_CLASS = 8
TOLERANCE = 1e-4
"""Of the loss of the first step, relative."""


def measure(
    weights: Path, images: Images, rounds: int, device: torch.device, head_steps: int = HEAD_STEPS
) -> tuple[list[float], list[float], tuple[float, float]]:
    """Train both trials in turn. Their first steps, which nothing has been trained before, are the warm-up.

    Returns:
        Seconds a step of each round, on kept features and end to end; the losses of their first steps, which are the
        same, since the weights and the batch are.
    """
    labels = torch.arange(len(images)) // IMAGES_PER_CLASS
    dataset = ImageDataset("photos", {"train": ImageSplit(images, labels)}, content="photos")
    ranks = Ranks(device=device)
    first = TrialSession(trial(weights, "none", iterations_per_epoch=1), dataset, ranks)
    kept = TrialSession(trial(weights, "none", iterations_per_epoch=head_steps), dataset, ranks)
    whole = TrialSession(trial(weights, "all", iterations_per_epoch=1), dataset, ranks)
    losses = first.train_epoch()["train/dml_loss"], whole.train_epoch()["train/dml_loss"]
    kept.train_epoch()
    seconds: tuple[list[float], list[float]] = ([], [])
    for _ in range(rounds):
        for side, session, steps in ((0, kept, head_steps), (1, whole, 1)):
            start = synchronized_time(device)
            session.train_epoch()
            seconds[side].append((synchronized_time(device) - start) / steps)
    return *seconds, losses
