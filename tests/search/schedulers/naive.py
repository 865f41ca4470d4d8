"""The schedulers as loops over tables of learning curves, as the papers write them. Gains: what an epoch adds."""

import itertools
import math
import random
import statistics
from typing import Any

import numpy as np

Curves = dict[str, list[float]]


def values(gains: list[float]) -> list[float]:
    return list(itertools.accumulate(gains))


def naive_hyperband(gains: Curves, fails_in: dict[str, int], max_epochs: int, eta: int) -> dict[str, int]:
    """Return the epochs that each trial has."""
    epochs: dict[str, int] = {}
    s_max = max(s for s in range(20) if eta**s <= max_epochs)
    left = sorted(gains)
    for s in itertools.cycle(range(s_max, -1, -1)):
        if not left:
            return epochs
        size = math.ceil((s_max + 1) / (s + 1) * eta**s)
        bracket, left = left[:size], left[size:]
        alive = bracket
        for i in range(s + 1):
            rung = math.floor(max_epochs / eta ** (s - i))
            for name in alive:
                epochs[name] = min(rung, fails_in.get(name, 10**9) - 1)
            alive = [name for name in alive if epochs[name] == rung]
            alive.sort(key=lambda name: values(gains[name])[rung - 1], reverse=True)  # stable, by name before
            alive = sorted(alive[: max(1, len(bracket) // eta ** (i + 1))])
    raise AssertionError


def naive_asha(reports: list[tuple[str, int, float]], max_epochs: int, grace: int, eta: int) -> set[str]:
    """Return those that are stopped before their end: below the upper 1/eta of those that came to a rung before."""
    rungs: dict[int, list[float]] = {}
    stopped: set[str] = set()
    rung_epochs = [grace * eta**i for i in range(20)]
    for name, epoch, value in reports:
        if epoch in rung_epochs and epoch < max_epochs:
            before = rungs.setdefault(epoch, [])
            if before and value < np.percentile(before, 100 * (1 - 1 / eta)):
                stopped.add(name)
            before.append(value)
    return stopped


def naive_median(reports: list[tuple[str, int, float]], max_epochs: int, grace: int, min_trials: int) -> set[str]:
    """Return those that are stopped: their best is below the median of the others' means up to that epoch."""
    seen: dict[str, dict[int, float]] = {}
    stopped: set[str] = set()
    for name, epoch, value in reports:
        seen.setdefault(name, {})[epoch] = value
        others = [curve for other, curve in seen.items() if other != name and max(curve) >= epoch]
        if grace <= epoch < max_epochs and len(others) >= min_trials:
            means = [statistics.mean(v for e, v in curve.items() if grace <= e <= epoch) for curve in others]
            if max(seen[name].values()) < statistics.median(means):
                stopped.add(name)
    return stopped


def naive_pbt(
    gains: Curves, weights: dict[str, float], fails_in: dict[str, int], max_epochs: int, interval: int, seed: int
) -> tuple[dict[str, list[float]], list[tuple[str, int, str, dict[str, Any]]]]:
    """Return the values of each trial, an epoch adding weight * gain, and who took over whom. Only the weight changes,
    by a factor, and a quarter of the population."""
    weights, totals = dict(weights), dict.fromkeys(gains, 0.0)
    history: dict[str, list[float]] = {name: [] for name in gains}
    changes = []
    alive = sorted(gains)
    for epoch in range(1, max_epochs + 1):
        alive = [name for name in alive if fails_in.get(name) != epoch]
        for name in alive:
            totals[name] += weights[name] * gains[name][epoch - 1]
            history[name].append(totals[name])
        if epoch % interval == 0 and epoch < max_epochs:
            order = sorted(alive, key=lambda name: (-totals[name], name))
            count = min(math.ceil(len(order) / 4), len(order) // 2)
            for name in sorted(order[len(order) - count :]):
                generator = random.Random(f"{seed}/{epoch}/{name}")
                source = generator.choice(order[:count])
                totals[name] = totals[source]
                weights[name] = weights[source] * generator.choice((0.8, 1.2))
                changes.append((name, epoch, source, {"mdr.weight": weights[name]}))
    return history, changes
