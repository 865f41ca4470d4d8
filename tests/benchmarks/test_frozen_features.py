"""benchmarks/frozen_features.py on small images, and its arithmetic on made-up times."""

import os
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from rich.console import Console

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

from frozen import making, search, steps
from frozen.network import TRIAL, open_photos, trial, write_weights
from frozen.search import Search
from frozen.tables import Measured, print_details, rows

CPU = torch.device("cpu")
SEARCH = Search([10.0 + 2 * number for number in range(40)], whole_s=120.0)
MEASURED = Measured(100, 224, ([2.0, 4.0, 3.0], [3.0, 3.0, 3.0]), 1e-6, ([0.01], [2.0]), (0.3, 0.3), SEARCH)


def test_both_sides_make_the_same_features_and_steps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MDR_TUNE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setitem(TRIAL, "batch", {"size": 16, "images_per_class": 4})
    images, weights = open_photos(tmp_path, 32, 32), tmp_path / "resnet18.pt"
    write_weights(weights, images)
    *seconds, difference = making.measure(trial(weights, "none"), [images, images], weights, CPU)
    assert [len(rounds) for rounds in seconds] == [1, 1]
    assert difference < making.TOLERANCE
    kept, whole, losses = steps.measure(weights, images, rounds=1, device=CPU, head_steps=2)
    assert min(kept + whole) > 0
    assert losses[0] == pytest.approx(losses[1], rel=steps.TOLERANCE)
    assert len(list((tmp_path / "cache" / "features").glob("*.npy"))) == 3


def test_a_launch_is_extrapolated_from_its_last_tenth() -> None:
    features, step, launch, trial_s = rows(MEASURED)
    assert (features.ratio, features.is_met) == (1.0, True)
    assert (step.ratio, step.aim) == (pytest.approx(200.0), 100)
    assert launch.ours == pytest.approx((120.0 + 260 * 2.0) / 60)
    assert launch.what.endswith("extrapolated from 40")
    slower = Search([*SEARCH.ended_s[:-4], *(100.0 + 10 * number for number in range(4))], 200.0)
    (*_, trial_s) = rows(replace(MEASURED, search=slower))
    assert (trial_s.theirs, trial_s.is_met) == (2.0, False)


def test_what_differs_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    assert MEASURED.differences() == []
    odd = replace(MEASURED, difference=float("nan"), losses=(0.3, 0.4))
    print_details(Console(width=150), odd)
    printed = capsys.readouterr().out
    assert "the features differ by nan" in printed
    assert "the losses of the first step differ: 0.3, 0.4" in printed


@pytest.mark.ray
@pytest.mark.slow  # `make bench` runs it
def test_a_launch_is_measured(tmp_path: Path) -> None:
    with tempfile.TemporaryDirectory(prefix="s") as folder:  # a short name, for the paths of Ray's sockets
        found = search.run(Path(folder), 2, "trial.epochs=1", "trial.iterations_per_epoch=2")
        assert os.listdir(folder)
    assert len(found.ended_s) == 2
    assert 0 < found.ended_s[-1] < found.whole_s
