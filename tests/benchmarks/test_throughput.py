"""benchmarks/training_throughput.py on tiny images, without the authors' code, which no test has."""

import sys
from pathlib import Path

import pytest
import torch
from rich.console import Console

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

from throughput.sides import OurSide, Setting
from throughput.tables import print_table
from training_throughput import main, measure

TINY = Setting("resnet18", "fp32", torch.device("cpu"), batch_size=8, image_size=32, embedding_size=16)


def test_our_side_is_measured(capsys: pytest.CaptureFixture[str]) -> None:
    measured = measure(TINY, rounds=3, iterations=2, authors=None)
    assert measured.iterations == 6
    assert measured.speeds == [sorted(measured.rounds[0])[1]]
    assert min(measured.rounds[0]) > 0
    assert measured.peaks == [None]
    print_table(Console(width=120), [measured], with_authors=False)
    printed = capsys.readouterr().out
    assert f"{measured.speeds[0]:.1f}" in printed
    assert "give a checkout of it with --authors DIR" in printed


def test_a_session_starts_with_frozen_statistics_of_a_batch() -> None:
    side = OurSide(TINY, iterations=1)
    statistics = side.session.model.backbone.network.bn1.running_var.clone()
    side.run_round()
    assert torch.equal(side.session.model.backbone.network.bn1.running_var, statistics)
    assert not torch.equal(statistics, torch.ones(64))


def test_a_folder_without_the_authors_code_is_refused(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["--authors", str(tmp_path)]) == 2
    assert "no checkout of AAAI2021_MDR" in capsys.readouterr().err
