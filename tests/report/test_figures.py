"""Comparable budget, the study made of it, and that every kind of parameter can be drawn."""

import math
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pytest
from PIL import Image

from mdr_tune.records.trial_record import Change, TrialRecord
from mdr_tune.report.budget import TooFewTrials, at_budget
from mdr_tune.report.figures import budget_title, draw_figures, sweep_figures
from mdr_tune.report.study import choices_in_words, importances, make_study

METRIC, SPEED = "val/recall_at_1", "time/images_per_s"


def record(number: int, recalls: list[float], parameters: dict[str, Any] | None = None, **more: Any) -> TrialRecord:
    history = [{"epoch": float(e), METRIC: r, SPEED: 500.0 - r + number} for e, r in enumerate(recalls, 1)]
    name = f"mdr-{number:03d}"
    return TrialRecord(name, "mdr", number, parameters or {}, {"epochs": 4}, history=history, **more)


def searched(count: int, seed: int = 0) -> list[TrialRecord]:
    """Trials of a conditional space with all kinds of parameters; their value is decided by the weight."""
    chance = np.random.default_rng(seed)
    found = []
    for number in range(count):
        weight = float(10 ** chance.uniform(-2, 0))
        parameters: dict[str, Any] = {
            "mdr.weight": weight,
            "mdr.levels.count": int(chance.choice([2, 3, 5])),
            "mdr.levels.spread": float(chance.uniform(1, 5)),
            "mdr.levels": [[-3.0, 0.0, 3.0], [-1.5, 1.5]][number % 2],
            "backbone": ["conv4", {"name": "resnet50", "weights": "none"}, None][number % 3],
            "loss": ["triplet", "arcface"][number % 2],
            ("loss.margin", "loss.scale")[number % 2]: float(chance.uniform(0.1, 0.5)),
        }
        value = 60 - 10 * abs(math.log10(weight) + 1)
        found.append(record(number, [value - 3, value - 1, value - 2, value], parameters, outcome="completed"))
    return found


def test_all_epochs_where_enough_trials_had_them() -> None:
    records = [record(i, [50.0 + i, 60.0, 40.0, 55.0 + i]) for i in range(8)] + [record(8, [99.0])]
    found = at_budget(records, [METRIC])
    assert (found.epochs, found.longest, len(found.records)) == (4, 4, 8)
    assert found.values[7] == [62.0]
    assert budget_title(found) == "mdr: best within 4 epochs, 8 trials"


def test_else_the_most_that_enough_trials_had_and_later_epochs_do_not_count() -> None:
    records = [record(i, [50.0, 51.0 + i, *([90.0] if i < 3 else [])]) for i in range(9)] + [record(9, [70.0])]
    found = at_budget(records, [METRIC])
    assert (found.epochs, [values[0] for values in found.values]) == (2, [51.0 + i for i in range(9)])
    assert budget_title(found) == "mdr: best within 2 of 4 epochs, 9 trials"


def test_what_cannot_be_compared_is_left_out() -> None:
    good = [record(i, [50.0] * 4) for i in range(8)]
    diverged = record(8, [99.0] * 4, outcome="diverged")
    second_seed = record(9, [99.0] * 4, seed_index=1)
    changed = record(10, [99.0] * 4, changes=[Change(2, "mdr-001", {})])
    other = TrialRecord("triplet-001", "triplet", 0, {}, {}, history=good[0].history)
    assert at_budget([*good, diverged, second_seed, changed, other], [METRIC]).records == good
    assert changed in at_budget([*good, changed], [METRIC], epochs=2).records


def test_too_few_trials_say_what_is_missing() -> None:
    records = [record(i, [50.0] * (4 if i < 5 else 2)) for i in range(9)]
    with pytest.raises(TooFewTrials, match=r"^5 trials of the search mdr had 3 epochs or more, 8 are needed: at l"):
        at_budget(records, [METRIC], epochs=3)
    with pytest.raises(TooFewTrials, match=r"^3 trials of the search mdr had an epoch or more, 8 are needed: search"):
        at_budget(records[:3], [METRIC])
    with pytest.raises(TooFewTrials, match=r"^0 trials"):
        at_budget([], [METRIC])


@pytest.mark.parametrize("count", [16, 40])
@pytest.mark.parametrize("metrics", [[METRIC], [METRIC, SPEED]])
def test_the_parameter_that_decides_is_found(count: int, metrics: list[str]) -> None:
    shares = importances(make_study(at_budget(searched(count), metrics)))
    assert next(iter(shares)) == "weight"
    assert sum(shares.values()) == pytest.approx(1)
    assert ("margin" in shares) == (count == 40)  # only half of the trials have it


def test_the_study_has_the_values_on_the_scales_that_are_searched() -> None:
    study = make_study(at_budget(searched(9), [METRIC]))
    first = study.trials[0]
    assert first.distributions["weight"].log  # type: ignore[attr-defined]
    assert not first.distributions["levels spread"].log  # type: ignore[attr-defined]
    assert first.params["levels"] == "[-3.0, 0.0, 3.0]"
    assert {trial.params["backbone"] for trial in study.trials} == {"conv4", "resnet50 weights none", "none"}
    assert first.value == pytest.approx(searched(9)[0].history[-1][METRIC])


def settings() -> dict[str, Any]:
    return {key: value for key, value in matplotlib.rcParams.items() if not key.startswith("backend")}


def test_figures_are_drawn_and_leave_no_trace(tmp_path: Path) -> None:
    before = settings()
    files = sweep_figures(searched(12), METRIC, tmp_path, SPEED)
    names = ["history", "importance", "slices", "parallel_coordinates", "pareto_front"]
    assert [file.stem for file in files] == names
    for file in files:
        with Image.open(file) as image:
            assert min(image.size) > 400
            assert len(image.convert("RGB").getcolors(1_000_000) or []) > 20
    assert settings() == before
    assert matplotlib.pyplot.get_fignums() == []


def test_nothing_that_varies_leaves_the_history(tmp_path: Path) -> None:
    found = at_budget([record(i, [50.0 + i] * 4, {"mdr.weight": 0.1}) for i in range(8)], [METRIC])
    assert [file.stem for file in draw_figures(found, [METRIC], tmp_path)] == ["history"]
    assert sweep_figures(found.records[:7], METRIC, tmp_path) == []


def test_a_single_parameter(tmp_path: Path) -> None:
    found = at_budget([record(i, [50.0 + i] * 4, {"mdr.weight": 0.1 + i / 10}) for i in range(8)], [METRIC])
    assert len(draw_figures(found, [METRIC], tmp_path)) == 4


def test_choices_of_a_figure_are_told_apart() -> None:
    levels = [[-3.0, -2.0, -1.0, 0.0, 1.0, 2.0, last] for last in (3.0, 4.0)]
    assert list(choices_in_words(levels).values()) == ["1: [-3.0, -2.0, -1.0,…", "2: [-3.0, -2.0, -1.0,…"]
    assert list(choices_in_words([0.1, None, 0.1000001, 0.1]).values()) == ["0.1", "none", "0.1000001"]
