"""Time and memory of one step."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from statistics import median

import torch
from summary.machine import synchronized_time
from torch import Tensor

from regularizer_speed.steps import Loss, Problem, our_loss, their_loss

Step = Callable[[], object]

LONGEST_ROUND_S = 0.25
MOST_STEPS = 200


@dataclass(frozen=True)
class Memory:
    """Bytes of tensors at the peak of a step, beyond those before it.

    Attributes:
        whole: With the gradient (N, D) that the step returns.
        extra: Without it. A peak of the backward is taken to have it, one of the forward not to.
    """

    whole: int
    extra: int


@dataclass(frozen=True)
class Measured:
    """What came out of one problem; our side first in each pair.

    Attributes:
        rounds: Seconds a step, of each round.
        memory: What a step takes.
        gradients_differ_by: The length of the difference of both sides' gradients, in that of theirs; None where the
            sides draw triplets of their own.
        products: Seconds that a matrix product N x N x D takes, of each round.
    """

    problem: Problem
    rounds: tuple[list[float], list[float]]
    memory: tuple[Memory, Memory]
    gradients_differ_by: float | None
    products: list[float]

    @property
    def seconds(self) -> tuple[float, float]:
        """Seconds a step, the medians."""
        return median(self.rounds[0]), median(self.rounds[1])

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
    memory = (memory_of(losses[0], embeddings), memory_of(losses[1], embeddings))
    fixed = embeddings.detach()
    steps: list[Step] = [*(partial(run_step, loss, embeddings) for loss in losses), lambda: fixed @ fixed.t()]
    counts = [steps_of_a_round(step, device) for step in steps]
    found: list[list[float]] = [[] for _ in steps]
    for _ in range(rounds):
        for step, count, times in zip(steps, counts, found, strict=True):
            times.append(seconds_of(step, count, device))
    return Measured(problem, (found[0], found[1]), memory, differ, found[2])


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


def memory_of(loss: Loss, embeddings: Tensor) -> Memory:
    """Return what a step takes."""
    run_step(loss, embeddings)
    embeddings.grad = None
    values: list[Tensor] = []
    forward, held = most_bytes(lambda: values.append(loss(embeddings)), embeddings.device)
    backward, _ = most_bytes(lambda: values.pop().backward(), embeddings.device)
    gradient = embeddings.nbytes
    return Memory(max(forward, held + backward), max(forward, held + backward - gradient))


def most_bytes(work: Step, device: torch.device) -> tuple[int, int]:
    """Return the most bytes of tensors that `work` holds at once, and what it leaves, beyond those before it."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        work()
        return torch.cuda.max_memory_allocated(device) - before, torch.cuda.memory_allocated(device) - before
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # which else says that it starts, stops, and finds no GPU
    with torch.profiler.profile(profile_memory=True) as profile:
        work()
    held = peak = 0
    assert profile.profiler is not None
    assert profile.profiler.kineto_results is not None
    events = [event for event in profile.profiler.kineto_results.events() if event.name() == "[memory]"]
    for event in sorted(events, key=lambda event: event.start_ns()):
        held += event.nbytes()
        peak = max(peak, held)
    return peak, held
