"""Units: a number that is likely in another one is noted; where it is out of range, the error says what to write."""

from pathlib import Path
from typing import Any

import pytest

from mdr_tune.config.sweep import SweepConfig
from mdr_tune.config.sweep_reading import read_sweep
from mdr_tune.config.unit_notes import unit_notes
from mdr_tune.util.errors import UserError


def notes(text: str, tmp_path: Path, *overrides: str) -> list[str]:
    file = tmp_path / "sweep.yaml"
    file.write_text(f"name: x\n{text}\n")
    return read_sweep(file, list(overrides))[1]


ARCFACE = "0.5 is taken as degrees; if an angle in radians is meant, write 28.6"
CASES: dict[str, list[str]] = {
    "search: {stop: {target: 0.9}}": [
        "search.stop.target: 0.9 is taken as percent; if a share of 1 is meant, write 90"
    ],
    "search: {stop: {target: 1}}": ["search.stop.target: 1 is taken as percent; if a share of 1 is meant, write 100"],
    "search: {stop: {target: 62.5, gpu_hours: 7200}}": [
        "search.stop.gpu_hours: 7200 is taken as hours; if a time in seconds is meant, write 2"
    ],
    "trial: {loss: {name: arcface, margin: 0.5}}": [f"trial.loss.margin: {ARCFACE}"],
    "trial: {loss: {name: pml.ArcFaceLoss, margin: 0.5}}": [f"trial.loss.margin: {ARCFACE}"],
    "trial: {loss: {name: arcface, margin: 0}}": [],
    "trial: {loss: {name: arcface, scale: 0.05}}": [
        "trial.loss.scale: 0.05 is taken as a factor of cosines; if a temperature, which divides, is meant, write 20"
    ],
    "trial: {loss: {name: pml.NTXentLoss, temperature: 20.0}}": [
        "trial.loss.temperature: 20 is taken as a temperature, which divides cosines; if a factor is meant, write 0.05"
    ],
    "trial: {optimizer: {learning_rate: 10, schedule: {milestones: [40, 8000]}}}": [
        "trial.optimizer.learning_rate: 10 is taken as the factor of a step; usual is at most 1",
        "trial.optimizer.schedule.milestones: 8000 is taken as epochs; is a number of iterations meant?",
        "trial.optimizer.schedule.milestones: 40, 8000 are never reached: a trial has 8 epochs",
    ],
    "trial: {mdr: {levels: [-50, 0, 3]}}": [
        "trial.mdr.levels: -50 is taken as standard deviations of the distances; is a distance meant?"
    ],
    "resources: {stalled_worker_timeout_s: 600000}": [
        "resources.stalled_worker_timeout_s: 600000 is taken as seconds; if a time in milliseconds is meant, write 600"
    ],
    "trial: {loss: arcface}\nspace: {loss.margin: {uniform: [0.1, 40]}}": [
        "space.loss.margin: 0.1 is taken as degrees; if an angle in radians is meant, write 5.73"
    ],
    "space:\n  loss: [triplet, {name: arcface, margin: {choice: [0.5, 28.6]}}]": [f"space.loss.margin: {ARCFACE}"],
    "space:\n  mdr.levels: {count: [2, 3], spread: [1, 50]}": [
        "space.mdr.levels.spread: 50 is taken as standard deviations of the distances; is a distance meant?"
    ],
    "trial: {loss: {name: arcface, margin: 0.5}}\nspace: {loss.margin: [20, 30]}": [],  # no trial has it
    "trial: {loss: {name: triplet, margin: 0.5}}": [],
}


@pytest.mark.parametrize("text", CASES)
def test_a_number_that_is_likely_in_another_unit_is_noted(tmp_path: Path, text: str) -> None:
    assert notes(text, tmp_path) == CASES[text]


def test_a_number_of_the_command_line_too(tmp_path: Path) -> None:
    assert notes("", tmp_path, "search.stop.target=0.9") == CASES["search: {stop: {target: 0.9}}"]


@pytest.mark.parametrize(
    ("text", "what"),
    [
        (
            "trial: {data: {name: folder, root: images, validation: {fraction: 20}}}",
            "trial.data.validation.fraction: must be less than 1, got 20: if percent is meant, write 0.2",
        ),
        ("search: {scheduler: {name: pbt, quantile: 25}}", "got 25: if percent is meant, write 0.25"),
        (
            "trial: {augmentation: {name: random_resized_crop, scale: [16, 100]}}",
            "must be less than or equal to 1, got 16: if percent is meant, write 0.16",
        ),
        ("trial: {loss: {name: proxy_anchor, margin: 20}}", "if an angle in degrees is meant, write 0.0603"),
        ("search: {stop: {target: 900}}", "must be less than or equal to 100, got 900\n"),
    ],
)
def test_an_error_says_what_the_number_is_in_the_right_unit(tmp_path: Path, text: str, what: str) -> None:
    with pytest.raises(UserError) as raised:
        notes(text, tmp_path)
    assert what in f"{raised.value}\n"


def test_defaults_are_in_their_own_units() -> None:
    losses: list[Any] = ["triplet", "proxy_nca", "proxy_anchor", "multi_similarity", "arcface"]
    space = {"loss": losses, "mdr.weight": [0.1, 0.2]}
    assert unit_notes(SweepConfig.model_validate({"name": "x", "space": space})) == []
