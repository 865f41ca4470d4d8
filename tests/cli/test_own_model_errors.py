"""Mistakes in the user's own code: a dry run and a launch tell the same line, with exit code 2, and start nothing."""

import re
from pathlib import Path

import pytest
import torch

from mdr_tune.cli.launch import main
from mdr_tune.util.import_path import look_for_code_in

SWEEP = """\
name: own
trial:
  {section}
  epochs: 1
search: {{sampler: random, trials: 1, scheduler: none}}
space: {space}
"""
MODELS = """\
import torch
from torch import nn


class Encoder(nn.Module):
    def __init__(self, width: int = 4):
        super().__init__()
        end = nn.AdaptiveAvgPool2d(1), nn.Flatten()
        self.layers = nn.Sequential(nn.Conv2d(3, width, 3), nn.BatchNorm2d(width), *end)

    def forward(self, images):
        return self.layers(images)


class Large(Encoder):
    def forward(self, images):
        return nn.functional.conv2d(images, torch.ones(4, 3, 64, 64)).mean((2, 3))


class NaN(Encoder):
    def forward(self, images):
        return super().forward(images) / 0


class Whole(Encoder):
    def forward(self, images):
        return super().forward(images).long()


class Flat(Encoder):
    def forward(self, images):
        return super().forward(images).flatten()


class Scale(Encoder):
    mean = (123.7, 116.3, 103.5)


class Noisy(Encoder):
    def forward(self, images):
        features = super().forward(images)
        return features + torch.randn_like(features) if self.training else features


def nothing(width: int = 4):
    return width


class Mean(nn.Module):
    def __init__(self, power: float = 2.0):
        super().__init__()
        self.power = power

    def forward(self, embeddings, labels):
        return (embeddings.abs() ** self.power).mean()


class Each(Mean):
    def forward(self, embeddings, labels):
        return embeddings.sum(1)


class NaNLoss(Mean):
    def forward(self, embeddings, labels):
        return (embeddings.sum() - embeddings.sum()) / 0


class Accuracy(Mean):
    def forward(self, embeddings, labels):
        return (embeddings.argmax(1) == labels).sum()


class Bad(Mean):
    def forward(self, embeddings, labels):
        return embeddings @ embeddings


class Images(Mean):
    def forward(self, images):
        return images.mean()


class Miner:
    def __call__(self, embeddings, labels):
        return embeddings


class WrongPairs:
    def __call__(self, embeddings, labels):
        first = torch.arange(len(labels) - 1)
        return first, first + 1, first


class Detached(Encoder):
    def forward(self, images):
        return super().forward(images).detach()


class LeftIn(Encoder):
    def __init__(self):
        super().__init__()
        self.trunk, self._fc = nn.Linear(3, 4), nn.Linear(4, 10)

    def forward(self, images):
        return super().forward(images)


class Behind(LeftIn):
    def forward(self, images):
        with torch.no_grad():
            more = self.trunk(images.mean((2, 3)))
        return super().forward(images) + more


class Zero(Mean):
    def forward(self, embeddings, labels):
        return 0 * super().forward(embeddings, labels)


class NoPairs:
    def __call__(self, embeddings, labels):
        return labels[:0], labels[:0], labels[:0]


class NoParameters(nn.Module):
    def forward(self, images):
        return nn.functional.adaptive_avg_pool2d(images, 2).flatten(1)


class Leaves(nn.Module):
    def forward(self, images):
        raise SystemExit("no licence")


def mean(embeddings, labels):
    return embeddings.mean()
"""
CASES = {  # section of the trial, search space, place, message
    "no module": ("backbone: my_model:Encoder", "{}", "3: trial.backbone.name", r"Did you mean 'my_models'\?"),
    "no name": ("loss: my_models:Meen", "{}", "3: trial.loss.name", r"has no 'Meen'\. Did you mean 'Mean'\?"),
    "raises on import": ("loss: broken:Mean", "{}", "3: trial.loss.name", r"broken\.py:3: RuntimeError: not today"),
    "no argument": (
        "loss: {name: my_models:Mean, powr: 1}",
        "{}",
        "3: trial.loss.powr",
        r"unknown key\. Did you mean 'p",
    ),
    "another type": (
        "backbone: {name: my_models:Encoder, width: 2.5}",
        "{}",
        "3: trial.backbone.width",
        r"expected int \(.*my_models\.py:5\), got 2\.5",
    ),
    "another type in the space": (
        "backbone: my_models:Encoder",
        "{backbone.width: [4, wide]}",
        "6: space.backbone.width",
        r"expected int \(.*\), got 'wide' \(text\)",
    ),
    "no such key in the space": (
        "backbone: my_models:Encoder",
        "{backbone.widht: [4, 8]}",
        "6: space.backbone.widht",
        r"is no key of a trial\. Did you mean backbone\.width\?",
    ),
    "filled": ("loss: {name: my_models:Mean, num_classes: 3}", "{}", "3: trial.loss.num_classes", r"leave it out"),
    "no network": (
        "backbone: my_models:nothing",
        "{}",
        "3: trial.backbone.name",
        r"gives a int: return a torch\.nn\.Mod",
    ),
    "too small": (
        "backbone: my_models:Large",
        "{}",
        "3: trial.backbone.name",
        r"my_models:Large fails on images .2, 3, 32, 32.: .*\.py:17: Runtime",
    ),
    "not finite": (
        "backbone: my_models:NaN",
        "{}",
        "3: trial.backbone.name",
        r"\.py:21\) gives numbers that are not fin",
    ),
    "integers": (
        "backbone: my_models:Whole",
        "{}",
        "3: trial.backbone.name",
        r"\.py:26\) gives torch\.int64: give feat",
    ),
    "another shape": (
        "backbone: my_models:Flat",
        "{}",
        "3: trial.backbone.name",
        r"a tensor of shape \(8\) for 2 images: give",
    ),
    "another scale": ("backbone: my_models:Scale", "{}", "3: trial.backbone.name", r"mean .*0 to 1.*divide it by 255"),
    "weights of another model": (
        "backbone: {name: my_models:Encoder, weights: other.pt}",
        "{}",
        "3: trial.backbone.weights",
        r"other\.pt does not fit the network: it lacks layers\.0",
    ),
    "a loss for each": (
        "loss: my_models:Each",
        "{}",
        "3: trial.loss.name",
        r"shape \(12\) for 12 emb.*: return its mean",
    ),
    "a loss of NaN": ("loss: my_models:NaNLoss", "{}", "3: trial.loss.name", r"returns nan for random embeddings"),
    "a whole loss": (
        "loss: my_models:Accuracy",
        "{}",
        "3: trial.loss.name",
        r"returns torch\.int64, which has no gradi",
    ),
    "a loss that fails": (
        "loss: my_models:Bad",
        "{}",
        "3: trial.loss.name",
        r"my_models\.py:75: RuntimeError: mat1 and",
    ),
    "another signature": ("loss: my_models:Images", "{}", "3: trial.loss.name", r"must take \(embeddings, labels\)"),
    "a loss that computes itself": (
        "loss: my_models:mean",
        "{}",
        "3: trial.loss.name",
        r"\(embeddings, labels\) itself",
    ),
    "a network without a gradient": (
        "backbone: my_models:Detached",
        "{}",
        "3: trial.backbone.name",
        r"no gradient, so that it would never learn: is there a detach\(\)",
    ),
    "a network that exits": ("backbone: my_models:Leaves", "{}", "3: trial.backbone.name", r"calls exit\(no licence\)"),
    "nothing to train": (
        "backbone: my_models:NoParameters\n  embedding: {head: identity, size: null}",
        "{}",
        "3: trial.backbone.name",
        r"NoParameters has no parameters with a gradient, and embedding\.head: identity has none",
    ),
    "blocks that take no part": (
        "backbone: {name: my_models:LeftIn, train: {last_blocks: 1}}",
        "{}",
        "3: trial.backbone.train",
        r"last_blocks 1 trains nothing of my_models:LeftIn",
    ),
    "a miner of another form": (
        "miner: my_models:Miner",
        "{}",
        "3: trial.miner.name",
        r"returns a Tensor, not a tuple",
    ),
    "a miner of wrong pairs": (
        "miner: my_models:WrongPairs",
        "{}",
        "3: trial.miner.name",
        r"positives of another class",
    ),
}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my_models.py").write_text(MODELS)
    (tmp_path / "broken.py").write_text("import torch\n\nraise RuntimeError('not today')\n")
    torch.save(torch.nn.Linear(2, 2).state_dict(), tmp_path / "other.pt")
    return tmp_path


def run(capsys: pytest.CaptureFixture[str], *flags: str) -> tuple[int, str]:
    code = main(["--space", "sweep.yaml", *flags])
    look_for_code_in([])  # the next launch begins in another process
    captured = capsys.readouterr()
    assert "Traceback" not in captured.err + captured.out
    return code, captured.err if code else captured.out


@pytest.mark.parametrize("case", CASES)
def test_a_mistake_is_one_line_with_its_place(folder: Path, capsys: pytest.CaptureFixture[str], case: str) -> None:
    section, space, place, told = CASES[case]
    (folder / "sweep.yaml").write_text(SWEEP.format(section=section, space=space))
    before = set(folder.rglob("*"))
    in_dry_run, in_launch = run(capsys, "--dry-run"), run(capsys)
    assert in_dry_run == in_launch
    code, text = in_launch
    assert code == 2
    line = text.strip()
    assert line.count("\n") == 0, line
    assert line.startswith(f"error: sweep.yaml:{place}: "), line
    assert re.search(told, line), line
    assert {path for path in folder.rglob("*") if "__pycache__" not in path.parts} <= before


def test_the_plan_says_what_was_decided(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "code").mkdir()
    (folder / "my_models.py").rename(folder / "code" / "mine.py")
    (folder / "sweep.yaml").write_text(SWEEP.format(section="backbone: mine:Noisy", space="{}"))
    code, text = run(capsys, "--dry-run")
    assert code == 2
    assert "there is no module 'mine'" in text
    code, text = run(capsys, "--dry-run", "--code", "code")
    assert code == 0
    assert "backbone mine:Noisy gives features (n, 4) for images of 32 x 32" in text
    assert "training starts from the weights that mine:Noisy makes" in text
    assert "have no statistics yet: batch_norm auto is synced" in text
    assert "no attribute mean and no std: images are normalised as ImageNet's" in text
    assert "trial.backbone: Noisy draws random numbers for each worker's own images" in text


@pytest.mark.parametrize(
    ("network", "noted"),
    [
        (
            "LeftIn",
            "trunk.weight, trunk.bias, _fc.weight and _fc.bias take no part in the features, and are not trained",
        ),
        (
            "{name: my_models:Behind, train: none}",
            "get no gradient, behind a detach() or no_grad(), and are not trained",
        ),
        ("{name: my_models:Detached, train: none}", "the head, "),
        ("conv4\n  loss: my_models:Zero", "my_models:Zero: the loss has a gradient of 0 for all random embeddings"),
        ("conv4\n  miner: my_models:NoPairs", "my_models:NoPairs: the miner chooses no pair or triplet of random emb"),
        ("{name: my_models:NoParameters, train: none}", "has no parameters with a gradient: nothing of it is trained"),
    ],
)
def test_what_is_not_trained_is_in_the_plan(
    folder: Path, capsys: pytest.CaptureFixture[str], network: str, noted: str
) -> None:
    name = network if network.startswith(("{", "conv4")) else f"my_models:{network}"
    (folder / "sweep.yaml").write_text(SWEEP.format(section=f"backbone: {name}", space="{}"))
    code, text = run(capsys, "--dry-run")
    assert code == 0, text
    assert noted in text


def test_a_network_that_brings_trained_weights_has_none_to_download(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its BatchNorm layers, one of them 1d, have statistics; the latter is synchronised like any other."""
    (folder / "trained.py").write_text(
        "from torch import nn\n"
        "def net():\n"
        "    layers = nn.Sequential(nn.Conv2d(3, 8, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.BatchNorm1d(8))\n"
        "    layers[3].running_mean.fill_(0.5)\n"
        "    return layers\n"
    )
    section = "backbone: trained:net\n  batch_norm: synced"
    (folder / "sweep.yaml").write_text(SWEEP.format(section=section, space="{}"))
    code, output = run(capsys, "--dry-run")
    assert code == 0
    assert "have statistics of an earlier training" in output
    assert "statistics of each worker's own images" not in output
    assert "downloaded" not in output
