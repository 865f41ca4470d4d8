"""Compute factors of the learning rates and of MDR's weight. They depend on the progress of the training alone."""

from mdr_tune.config.optimizers import Schedule


def warmup_factor(epochs_done: float, warmup_epochs: float) -> float:
    """Return the factor of a linear warm-up after `epochs_done` epochs: 0 at the start, 1 from `warmup_epochs` on."""
    return 1.0 if warmup_epochs <= 0 else min(1.0, epochs_done / warmup_epochs)


def learning_rate_factor(schedule: Schedule, iteration: int, iterations_per_epoch: int, epochs: int) -> float:
    """Return the factor of all learning rates in an `iteration` (from 0 over all epochs) of a trial with `schedule`.

    The trial has `epochs` epochs of `iterations_per_epoch` iterations each. The factor includes the warm-up.
    """
    warmup = warmup_factor((iteration + 1) / iterations_per_epoch, schedule.warmup_epochs)
    return warmup * schedule.factor(iteration, iterations_per_epoch, epochs)
