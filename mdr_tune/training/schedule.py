"""Compute factors of the learning rates and of MDR's weight. They depend on the progress of the training alone."""

from mdr_tune.config.optimizers import Schedule


def warmup_factor(epochs_done: float, warmup_epochs: float) -> float:
    """Return the factor of a linear warm-up: 0 at the start, 1 from `warmup_epochs` on."""
    return 1.0 if warmup_epochs <= 0 else min(1.0, epochs_done / warmup_epochs)


def learning_rate_factor(schedule: Schedule, iteration: int, iterations_per_epoch: int, epochs: int) -> float:
    """Return the factor that all learning rates are multiplied by in one iteration of a trial.

    Args:
        schedule: Schedule of the trial, with its warm-up.
        iteration: Number of the iteration, from 0 over all epochs.
        iterations_per_epoch: Number of iterations in each epoch of the trial.
        epochs: Number of epochs of the trial.
    """
    warmup = warmup_factor((iteration + 1) / iterations_per_epoch, schedule.warmup_epochs)
    return warmup * schedule.factor(iteration, iterations_per_epoch, epochs)
