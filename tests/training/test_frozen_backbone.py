"""A frozen backbone is not in the checkpoints, and comes back with the same bits; a change of it is an error."""

import copy
import io
from pathlib import Path
from typing import Any

import pytest
import torch

from mdr_tune.backbones import build_backbone
from mdr_tune.config.trial import TrialConfig
from mdr_tune.data import ImageDataset
from mdr_tune.sweep.disk_use import checkpoint_bytes
from mdr_tune.tracking.champion import load_model
from mdr_tune.training import TrialSession
from mdr_tune.training.frozen_backbone import FROZEN
from mdr_tune.util.errors import UserError
from tests.tracking.tiny_trial import noise_images, save

State = dict[str, Any]
SPLITS = {"train": noise_images(range(6)), "validation": noise_images(range(6, 8))}
SYMBOLS: State = {"name": "conv4", "weights": "symbols"}
NOISE = ImageDataset("noise", SPLITS, content="noise")


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MDR_TUNE_CACHE", str(tmp_path / "cache"))


def session(backbone: State, seed: int = 0) -> TrialSession:
    keys = {"batch": {"size": 8, "images_per_class": 2}, "embedding": {"size": 8}, "augmentation": "none"}
    frozen = {"weights": "none", "train": "none", **backbone}
    config = TrialConfig.from_keys({**keys, "backbone": frozen, "epochs": 2, "iterations_per_epoch": 2, "seed": seed})
    return TrialSession(config, NOISE)


def stored(trial: TrialSession) -> State:
    """The trial's state as it comes back from the disk."""
    buffer = io.BytesIO()
    torch.save(trial.state_dict(), buffer)
    assert buffer.tell() == pytest.approx(checkpoint_bytes(trial.config), rel=0.1, abs=20_000)
    return torch.load(io.BytesIO(buffer.getvalue()), weights_only=True)  # type: ignore[no-any-return]


def whole(trial: TrialSession) -> State:
    """The state as earlier versions wrote it."""
    state = {key: value for key, value in stored(trial).items() if key != FROZEN}
    return {**state, "version": 2, "model": trial.model.state_dict()}


def names(state: State) -> set[str]:
    return {key.partition(".")[0] for key in state["model"]}


@pytest.mark.parametrize("kind", ["symbols", "conv4", "resnet18", "timm.test_vit"])
def test_it_is_made_again_bit_for_bit(kind: str, tmp_path: Path) -> None:
    backbone = SYMBOLS
    if kind != "symbols":
        network = getattr(build_backbone(kind), "network", None) or build_backbone(kind)
        torch.save(network.state_dict(), tmp_path / "weights.pt")
        backbone = {"name": kind, "weights": str(tmp_path / "weights.pt")}
    trial = session(backbone)
    trial.run_epoch()
    state = stored(trial)
    assert names(state) == {"linear"}
    expected = copy.deepcopy(trial.model.state_dict())
    trial.run_epoch()

    resumed, exploits = session(backbone), session(backbone, seed=5)
    for other in (resumed, exploits):
        before = torch.get_rng_state()
        other.load_state_dict(state)
        assert torch.equal(torch.get_rng_state(), before)
        torch.testing.assert_close(other.model.state_dict(), expected, rtol=0, atol=0)
    resumed.run_epoch()
    torch.testing.assert_close(resumed.model.state_dict(), trial.model.state_dict(), rtol=0, atol=0)

    again = session(backbone, seed=7)
    again.load_state_dict(stored(exploits))  # of another seed than the backbone that it took over
    torch.testing.assert_close(again.model.state_dict(), expected, rtol=0, atol=0)
    champion, _ = load_model(save(exploits, tmp_path / "checkpoint.pt"))
    torch.testing.assert_close(champion.state_dict(), expected, rtol=0, atol=0)


def test_a_checkpoint_of_an_earlier_version_is_read() -> None:
    trial, reader = session(SYMBOLS), session(SYMBOLS, seed=5)
    reader.load_state_dict(whole(trial))
    torch.testing.assert_close(reader.model.state_dict(), trial.model.state_dict(), rtol=0, atol=0)
    assert names(reader.state_dict()) == {"linear"}


KEPT: list[State] = [
    {"train": "all"},
    {"train": {"last_blocks": 1}},
    {"train": "all", "frozen_epochs": 2},
    {"weights": "none"},  # random numbers may be others on another kind of processor
]


@pytest.mark.parametrize("backbone", KEPT)
def test_what_is_trained_or_random_is_kept(backbone: State) -> None:
    state = session({"name": "conv4", **backbone}).state_dict()
    assert (state["version"], names(state)) == (2, {"backbone", "linear"})


def test_weights_that_changed_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "weights.pt"
    states = [session({"name": "conv4"}, seed).model.backbone.state_dict() for seed in (1, 2)]
    backbone = {"name": "conv4", "weights": str(file)}
    torch.save(states[0], file)
    state = stored(session(backbone))
    torch.save(states[1], file)
    with pytest.raises(UserError, match=f"the weights in {file} of conv4 are not those .*: put back the file"):
        session(backbone).load_state_dict(state)
