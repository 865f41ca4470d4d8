"""`mdr-tune check`: one line for each check of the user's own loss, miner, network or data set, and the exit code."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from mdr_tune.training.component_check import Kind, Line, check_component
from mdr_tune.util.import_path import look_for_code_in
from tests import own_components
from tests.cli.run_command import run_command

CODE = """\
import numpy
import torch
from torch import nn


class Draws(nn.Module):
    def __init__(self, power: float = 2.0):
        super().__init__()
        self.power = power

    def forward(self, embeddings, labels):
        return (embeddings - embeddings.mean(0)).pow(2).mean() * numpy.random.rand()


class WrongGradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x * 3

    @staticmethod
    def backward(ctx, gradient):
        return gradient * 2


class Wrong(nn.Module):
    def forward(self, embeddings, labels):
        return WrongGradient.apply(embeddings.pow(2)).mean()


class Parts:
    def __init__(self, size: int = 8, ordered: bool = True, scale: int = 255):
        self.size, self.ordered, self.scale = size, ordered, scale

    def split(self, name):
        if name == "validation":
            return None
        classes = {f"{name} {number}" for number in range(40)}
        labels = numpy.repeat(sorted(classes) if self.ordered else list(classes), 2)[1:]
        shape = (79, 3, self.size, self.size)
        return numpy.random.default_rng(0).integers(0, self.scale, shape, numpy.uint8, endpoint=True), labels


class Batch(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.Conv2d(3, 4, 3)

    def forward(self, images):
        features = self.layers(images).mean((2, 3))
        return features - features.mean(0)
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    (tmp_path / "mine.py").write_text(CODE)
    shutil.copy(own_components.__file__, tmp_path)
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    look_for_code_in([])


def statuses(out: str) -> dict[str, str]:
    return {line[2:22].strip(): line[22:30].strip() for line in out.splitlines() if line.startswith("  ")}


def test_a_network_that_is_in_order(capsys: pytest.CaptureFixture[str]) -> None:
    name = "own_components:Maps"
    code, out, problems = run_command(capsys, "check", name, "--set", "width=6", "--image-size", "16")
    assert code == 0, out + problems
    assert out.splitlines()[0] == f"{name}, a backbone"
    found = statuses(out)
    assert set(found) >= {"signature", "output", "gradients", "finite differences", "determinism", "1 rank against 2"}
    assert "FAILED" not in found.values()
    assert "maps (n, 6, 7, 7) for images of 16 x 16" in out


def test_a_loss_that_draws_by_numpy(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run_command(capsys, "check", "mine:Draws", "--set", "power=3")
    found = statuses(out)
    assert (code, found["signature"], found["determinism"], found["1 rank against 2"]) == (2, "ok", "FAILED", "FAILED")
    assert "draw random numbers with torch" in out


@pytest.mark.parametrize(
    ("name", "flags", "what"),
    [
        ("mine:Draws", ["--set", "powr=3"], "mine:Draws has no argument 'powr'. Did you mean 'power'? Known: power."),
        ("mine:Draws", ["--kind", "backbone"], "mine:Draws fails on images (2, 3, 224, 224): "),
        ("mine:Drwas", [], "has no 'Drwas'. Did you mean 'Draws'?"),
        ("mine", [], "mine is no import path"),
        ("mine:Draws", ["--code", "nowhere"], "--code nowhere: there is no such folder"),
    ],
)
def test_a_mistake_is_told(capsys: pytest.CaptureFixture[str], name: str, flags: list[str], what: str) -> None:
    code, out, err = run_command(capsys, "check", name, *flags)
    assert code == 2
    assert what in out + err


def test_a_data_set_that_is_in_order(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, problems = run_command(capsys, "check", "mine:Parts", "--set", "size=10")
    assert code == 0, out + problems
    assert out.startswith("mine:Parts, a data set\n")
    found = statuses(out)
    assert set(found.values()) == {"ok", "note"}
    assert found["determinism"] == "ok"
    for text in ("uint8 (3, 10, 10)", "test 79 images of 40 classes", "1 to 2 images a class; 1 class of one image"):
        assert text in out


def test_a_data_set_with_the_order_of_a_set_and_pixels_up_to_1(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run_command(capsys, "check", "mine:Parts", "--set", "ordered=false", "--set", "scale=1")
    assert (code, statuses(out)["determinism"], statuses(out)["pixels"]) == (2, "FAILED", "note")
    assert "sort what comes from a set" in out


def first_lines(kind: Kind, name: str, last: str) -> dict[str, Line]:
    """Return the results of the checks up to `last`, without those that start processes."""
    look_for_code_in([Path.cwd()])
    lines: dict[str, Line] = {}
    for line in check_component(kind, name, {}, 8):
        lines[line.what] = line
        if line.what == last:
            break
    return lines


def test_a_wrong_gradient_is_found() -> None:
    line = first_lines("loss", "mine:Wrong", "finite differences")["finite differences"]
    assert line.status == "FAILED"
    assert "differs from them by 0.3" in line.text


def test_an_image_that_depends_on_its_batch_is_found() -> None:
    found = first_lines("backbone", "mine:Batch", "single image")
    assert found["single image"].status == "FAILED"
