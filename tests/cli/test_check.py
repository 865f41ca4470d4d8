"""`mdr-tune check`: one line for each check of the user's own loss, miner, network or data set, and the exit code."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from mdr_tune.training.component_check import SIGNATURE, Kind, Line, check_component, kind_of
from mdr_tune.util.import_path import look_for_code_in
from tests import own_components
from tests.cli.run_command import run_command

CODE = """\
import numpy
import torch
from pytorch_metric_learning import losses, miners
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
class Hinge(nn.Module):
    # 0 for random embeddings: those of other classes are further away than the embedding itself
    def __init__(self, margin: float = 0.2, part: float = 1.0):
        super().__init__()
        self.margin, self.part = margin, part

    def forward(self, embeddings, labels):
        distances = torch.cdist(embeddings, embeddings, compute_mode="donot_use_mm_for_euclid_dist")
        same = labels[:, None] == labels
        return self.part * torch.relu(distances[same].mean() - distances[~same].mean() + self.margin)


class Flat(Hinge):
    def __init__(self):
        super().__init__(part=0.0)


class Detached(Hinge):
    def forward(self, embeddings, labels):
        return super().forward(embeddings.detach(), labels)


class Counts(nn.Module):
    def forward(self, embeddings, labels):
        self.calls = getattr(self, "calls", 0) + 1
        return (embeddings - embeddings.mean(0)).pow(2).mean() * self.calls


class CountsInBuffer(nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, embeddings, labels):
        self.calls += 1
        return (embeddings - embeddings.mean(0)).pow(2).mean() * self.calls


class OfEmbeddings(nn.Module):
    def forward(self, embeddings):
        return embeddings.mean()


def of_library(margin: float = 0.1):
    return losses.TripletMarginLoss(margin=margin)


class NoModule:
    def __call__(self, embeddings, labels):
        return embeddings.mean()


def miner_of_library():
    return miners.MultiSimilarityMiner()


class Nothing(nn.Module):
    def forward(self, embeddings, labels):
        return (labels[:0],) * 3


def plain(embeddings, labels, margin=0.2):
    return embeddings.mean()


class Kinks(nn.Module):
    # its weights are so small that a step of 1e-6 crosses many kinks
    def __init__(self):
        super().__init__()
        self.layers = nn.Conv2d(3, 32, 3)
        with torch.no_grad():
            for parameter in self.parameters():
                parameter.mul_(1e-6)

    def forward(self, images):
        return torch.relu(self.layers(images) * 1e6)


class WrongKinks(Kinks):
    def forward(self, images):
        return WrongGradient.apply(super().forward(images))


class Images(nn.Module):
    def __init__(self, how: str = "right"):
        super().__init__()
        print("built once")
        self.layers, self.how = nn.Conv2d(3, 4, 3), how
        self.dtype = torch.float64 if how == "double" else None
        if how == "exits at once":
            raise SystemExit(4)
        if how == "half":
            self.half()

    def forward(self, images):
        if self.how == "exits":
            raise SystemExit("no licence")
        features = self.layers(images).mean((2, 3))
        return features.detach() if self.how == "detached" else features.to(self.dtype or features.dtype)


class Empty(nn.Module):
    def forward(self, images):
        return images.mean((2, 3))


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
        ("code/mine.py:Draws", [], "write mine:Draws, and name its folder: code: code, or --code code"),
        ("mine.Draws", [], "mine.Draws is no import path: write mine:Draws"),
        (".", [], "is a folder, and code is checked here: write module:name. A folder of images: mdr-tune data"),
        ("mine:Draws", ["--set", "power=much"], "--set power=much: expected float"),
        ("own_components:EasyPositive", ["--kind", "backbone"], "gives a EasyPositive: return a torch.nn.Module"),
        ("mine:OfEmbeddings", [], "if it is none, add --kind backbone or --kind miner"),
        ("mine:plain", [], "Write class Plain(torch.nn.Module): def forward(self, embeddings, labels): return plain("),
        ("mine:Images", ["--set", "how=exits at once"], "mine:Images(how='exits at once') fails: "),
        ("mine:Images", ["--set", "how=exits"], "it calls exit(no licence)"),
        ("mine:Images", ["--set", "how=detached"], "its output has no gradient, so that it would never learn"),
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


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("own_components:SoftTriple", "loss"),
        ("own_components:Maps", "backbone"),
        ("own_components:EasyPositive", "miner"),
        ("mine:OfEmbeddings", "loss"),
        ("mine:of_library", "loss"),
        ("mine:NoModule", "loss"),
        ("mine:miner_of_library", "miner"),
        ("mine:Nothing", "miner"),
        ("mine:Parts", "data"),
    ],
)
def test_the_kind_is_guessed(name: str, kind: str) -> None:
    look_for_code_in([Path.cwd()])
    assert kind_of(name, {}) == kind


def first_lines(kind: Kind, name: str, last: str, **arguments: object) -> dict[str, Line]:
    """Return the results of the checks up to `last`, without those that start processes."""
    look_for_code_in([Path.cwd()])
    lines: dict[str, Line] = {}
    for line in check_component(kind, name, arguments, 8):
        lines[f"plan {len(lines)}" if line.what == "plan" else line.what] = line
        if line.what == last:
            break
    return lines


def test_a_wrong_gradient_is_found() -> None:
    line = first_lines("loss", "mine:Wrong", "finite differences")["finite differences"]
    assert line.status == "FAILED"
    assert "differs from them by 0.3" in line.text


def test_kinks_of_a_network_are_no_wrong_gradient() -> None:
    assert first_lines("backbone", "mine:Kinks", "finite differences")["finite differences"].status == "ok"
    assert first_lines("backbone", "mine:WrongKinks", "finite differences")["finite differences"].status == "FAILED"


def test_a_hinge_that_is_0_for_random_embeddings_is_no_missing_gradient() -> None:
    """Its gradient and its finite differences are those of embeddings for which it is not 0."""
    hinge = first_lines("loss", "mine:Hinge", "finite differences", margin=0.1)
    assert hinge["value"].text.startswith("0 for 12 random embeddings; takes no mined pairs")
    assert "compares directions" not in hinge["value"].text  # 0 is 0 in any case
    assert {line.status for line in hinge.values()} == {"ok"}
    assert not hinge["finite differences"].text.endswith("by 0 of itself")
    flat = first_lines("loss", "mine:Flat", "gradients")["gradients"]
    assert (flat.status, "gradient of 0 for all random embeddings" in flat.text) == ("note", True)
    detached = first_lines("loss", "mine:Detached", SIGNATURE)[SIGNATURE]
    assert "no gradient with regard to the embeddings" in detached.text


def test_a_state_from_call_to_call_is_named() -> None:
    """Without a buffer, it is lost when a trial is resumed."""
    lines = first_lines("loss", "mine:Counts", "equal embeddings")
    assert lines["determinism"].status == "FAILED"
    assert "it keeps a state from call to call" in lines["determinism"].text
    assert "finite differences" not in lines  # they would be wrong for this reason
    lines = first_lines("loss", "mine:CountsInBuffer", "finite differences")
    assert (lines["determinism"].status, lines["finite differences"].status) == ("note", "ok")


def test_a_miner_that_chooses_nothing_is_noted() -> None:
    line = first_lines("miner", "mine:Nothing", "indices")["indices"]
    assert line.status == "note"
    assert line.text == "mine:Nothing: the miner chooses no pair or triplet of random embeddings"


@pytest.mark.parametrize(
    ("name", "how", "noted"),
    [
        ("mine:Images", "half", "its weights are float16: they are trained as float32"),
        ("mine:Images", "double", "gives float64, which is converted to float32"),
        ("mine:Empty", None, "has no parameters with a gradient: nothing of it is trained"),
    ],
)
def test_networks_of_other_types_and_without_parameters(
    capsys: pytest.CaptureFixture[str], name: str, how: str | None, noted: str
) -> None:
    lines = first_lines("backbone", name, "random layers", **({} if how is None else {"how": how}))
    assert "FAILED" not in {line.status for line in lines.values()}
    assert lines["signature"].text == ("keys: none" if how is None else f"keys: how='{how}'")
    assert any(noted in line.text for line in lines.values())
    assert capsys.readouterr().out.count("built once") == (how is not None)  # not at each of the builds
