"""Time and memory of one step."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from statistics import median

import torch
from summary.machine import synchronized_time
from torch import Tensor

from regularizer_speed.steps import DIMENSIONS, Loss, Problem, our_loss, their_loss

Step = Callable[[], object]

LONGEST_ROUND_S = 0.25
MOST_STEPS = 200


@dataclass(frozen=True)
class Measured:
    """What came out of one problem; our side first in each pair.

    Attributes:
        rounds: Seconds a step, of each round.
        peaks: The most bytes that a step takes beyond what was there before it.
        gradients_differ_by: The length of the difference of both sides' gradients, in that of theirs; None where the
            sides draw triplets of their own.
        products: Seconds that a matrix product N x N x D takes, of each round.
    """

    problem: Problem
    rounds: tuple[list[float], list[float]]
    peaks: tuple[int, int]
    gradients_differ_by: float | None
    products: list[float]

    @property
    def seconds(self) -> tuple[float, float]:
        """Seconds a step, the medians."""
        return median(self.rounds[0]), median(self.rounds[1])

    @property
    def extra_memory(self) -> tuple[int, int]:
        """Bytes at the peak besides the gradient (N, D), float32, that a step returns."""
        gradient = 4 * self.problem.count * DIMENSIONS
        return self.peaks[0] - gradient, self.peaks[1] - gradient

    @property
    def product_s(self) -> float:
        """Seconds a matrix product, the median."""
        return median(self.products)


def measure(problem: Problem, rounds: int, device: torch.device) -> Measured:
    """Time both sides and the product in turn, after steps that are not timed."""
    embeddings = problem.embeddings(device)
    losses = our_loss(problem, device), their_loss(problem, device)
    differ = None
    if not problem.with_triplets:
        ours, theirs = (gradient_of(loss, embeddings) for loss in losses)
        differ = ((ours - theirs).norm() / theirs.norm()).item()
    peaks = [peak_of(loss, embeddings) for loss in losses]
    fixed = embeddings.detach()
    steps: list[Step] = [*(partial(run_step, loss, embeddings) for loss in losses), lambda: fixed @ fixed.t()]
    counts = [steps_of_a_round(step, device) for step in steps]
    found: list[list[float]] = [[] for _ in steps]
    for _ in range(rounds):
        for step, count, times in zip(steps, counts, found, strict=True):
            times.append(seconds_of(step, count, device))
    return Measured(problem, (found[0], found[1]), (peaks[0], peaks[1]), differ, found[2])


def run_step(loss: Loss, embeddings: Tensor) -> None:
    """Run one step, forward and backward."""
    embeddings.grad = None
    loss(embeddings).backward()


def gradient_of(loss: Loss, embeddings: Tensor) -> Tensor:
    """Run one step; returns the gradient (N, D)."""
    run_step(loss, embeddings)
    assert embeddings.grad is not None
    return embeddings.grad


def seconds_of(step: Step, count: int, device: torch.device) -> float:
    """Return the seconds a step takes in the mean of `count`."""
    start = synchronized_time(device)
    for _ in range(count):
        step()
    return (synchronized_time(device) - start) / count


def steps_of_a_round(step: Step, device: torch.device) -> int:
    """Warm up; returns how many steps fill a round."""
    seconds_of(step, 3, device)
    return max(1, min(MOST_STEPS, round(LONGEST_ROUND_S / seconds_of(step, 3, device))))


def peak_of(loss: Loss, embeddings: Tensor) -> int:
    """Return the most bytes of tensors that a step holds at once, beyond those before it."""
    run_step(loss, embeddings)
    embeddings.grad = None
    if embeddings.device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(embeddings.device)
        before = torch.cuda.memory_allocated(embeddings.device)
        run_step(loss, embeddings)
        return torch.cuda.max_memory_allocated(embeddings.device) - before
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # which else says that it starts, stops, and finds no GPU
    with torch.profiler.profile(profile_memory=True) as profile:
        run_step(loss, embeddings)
    held = peak = 0
    assert profile.profiler is not None
    assert profile.profiler.kineto_results is not None
    events = [event for event in profile.profiler.kineto_results.events() if event.name() == "[memory]"]
    for event in sorted(events, key=lambda event: event.start_ns()):
        held += event.nbytes()
        peak = max(peak, held)
    return peak
