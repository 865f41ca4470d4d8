"""A trial without a sweep: from a configuration, or from the keys of one, and what is said of mistakes."""

import re
from pathlib import Path
from typing import Any

import pytest
import torch

from mdr_tune.config import BackboneConfig, TrialConfig
from mdr_tune.config.datasets import GlyphsDataConfig, read_data
from mdr_tune.data import load_dataset
from mdr_tune.training import TrialSession
from mdr_tune.util.errors import UserError
from tests.cli.as_a_user import write_pictures

DOCUMENT = Path(__file__).parents[2] / "docs" / "library.md"
SMALL: dict[str, Any] = {"batch": {"size": 16}, "embedding": {"size": 8}, "epochs": 1, "iterations_per_epoch": 2}


@pytest.fixture
def images(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A folder of its own with twelve classes of five images, of which 6 are for training."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MDR_TUNE_CACHE", str(tmp_path / "cache"))
    write_pictures(tmp_path / "images")
    return tmp_path / "images"


def test_the_document_s_example_runs(capsys: pytest.CaptureFixture[str], images: Path) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", DOCUMENT.read_text(), re.DOTALL)
    scope: dict[str, Any] = {}
    with torch.random.fork_rng():
        exec(compile(code, str(DOCUMENT), "exec"), scope)
    epoch = r"loss \d+\.\d+, validation Recall@1 \d+\.\d %\n"
    assert re.fullmatch(rf"({epoch}){{2}}test Recall@1 \d+\.\d %\n", capsys.readouterr().out)
    assert (scope["embeddings"].shape, scope["embeddings"].dtype) == ((4, 128), torch.float32)


def test_keys_and_a_configuration_are_the_same_trial() -> None:
    config = TrialConfig.model_validate(SMALL)
    one, other = (TrialSession.from_config(given) for given in (SMALL, config))
    by_hand = TrialSession(config, load_dataset(GlyphsDataConfig()))
    assert one.config == other.config == config
    losses = [session.train_epoch()["train/loss"] for session in (one, other, by_hand)]
    assert losses == [losses[0]] * 3


def test_a_data_set_has_its_defaults(images: Path) -> None:
    dataset = load_dataset(read_data("folder", root="images", resize=24, image_size=24))
    assert (dataset.image_shape, dataset.recall_ks) == ((3, 24, 24), (1, 2, 4, 8))
    assert (
        load_dataset(read_data("folder", root=str(images), resize=24, image_size=24, recall_at=[4, 2, 1, 8])) is dataset
    )


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"loss": {"name": "triplet", "margn": 1}}, "loss.margn: unknown key. Did you mean 'margin'?"),
        (
            {"epochs": 0, "seed": "0"},
            "epochs: must be greater than or equal to 1, got 0\nseed: expected a whole number",
        ),
        ({"data": "folder"}, "data.root: is missing"),
        ({"backbone": {"name": "vit_b_16", "weights": "none"}}, "backbone: vit_b_16 does not fit the data set glyphs"),
        ({"batch": {"size": 9000}}, "batch: does not fit the data set glyphs: 4 images from each of 692 classes make"),
        ({"curves": ["test"]}, "curves: the test classes are to be evaluated after each epoch: give them as `test`"),
    ],
)
def test_a_mistake_is_told_with_its_key(keys: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError) as caught:
        TrialSession.from_config(keys)
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({}, "data.root: is missing"),
        ({"root": "images", "rezise": 24}, "data.rezise: unknown key. Did you mean 'resize'?"),
        ({"root": "images", "validation": {"fraction": 2}}, "data.validation.fraction: must be less than 1, got 2"),
        ({"root": "elsewhere"}, "data.root: there is no folder "),
    ],
)
def test_a_mistake_in_a_data_set_is_told_with_its_key(images: Path, keys: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError) as caught:
        load_dataset(read_data("folder", **keys))
    assert str(caught.value).startswith(message)


def test_the_names_of_the_configuration() -> None:
    import mdr_tune.config as config

    assert {name: getattr(config, name).__name__ for name in config.__all__} == {name: name for name in dir(config)}
    assert config.BackboneConfig is BackboneConfig
    with pytest.raises(ImportError, match="TrailConfig"):
        from mdr_tune.config import TrailConfig  # type: ignore[attr-defined]  # noqa: F401
