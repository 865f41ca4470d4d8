"""What each worker does on its node first."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from mdr_tune.config.sweep import SweepConfig
from mdr_tune.data.images import image_cache_build
from mdr_tune.sweep.preflight.preparation import NodePreparation, contents, different_data, gpu_problems
from mdr_tune.sweep.preflight.probe import versions
from mdr_tune.util.errors import UserError
from tests.data.published.layouts import picture


@pytest.fixture
def preparation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> NodePreparation:
    """Of the node that this test runs on."""
    monkeypatch.setenv("MDR_TUNE_CACHE", str(tmp_path / "cache"))
    for number in range(36):
        folder = tmp_path / "images" / f"class_{number // 3:02}"
        folder.mkdir(parents=True, exist_ok=True)
        picture(number, (8, 8)).save(folder / f"{number}.png")
    trial = {
        "data": {"name": "folder", "root": str(tmp_path / "images"), "resize": 8, "image_size": 8},
        "backbone": {"name": "resnet18", "weights": "none"},
        "batch": {"size": 8, "images_per_class": 2},
    }
    sweep = SweepConfig.model_validate({"name": "a", "trial": trial, "space": {}})
    return NodePreparation(sweep, versions(), contents(sweep), uses_gpus=False)


def refused(preparation: NodePreparation) -> str:
    with pytest.raises(UserError) as caught:
        preparation()
    return str(caught.value)


def test_a_node_that_is_prepared_decodes_nothing_again(
    preparation: NodePreparation, monkeypatch: pytest.MonkeyPatch
) -> None:
    def decode(path: Path, *rest: object) -> None:
        raise AssertionError(f"{path} is built again")

    monkeypatch.setattr(image_cache_build, "_build", decode)
    preparation()


def test_a_node_with_other_versions(preparation: NodePreparation) -> None:
    other = replace(preparation, versions=preparation.versions | {"torch": "1.0"})
    assert f"torch is {versions()['torch']}, here 1.0; sync the project" in refused(other)


def test_a_node_with_other_images(preparation: NodePreparation) -> None:
    (name,) = preparation.contents
    text = refused(replace(preparation, contents={name: "of others"}))
    assert text.startswith("data: on ")
    assert "the images or splits of folder are not those of the driver's node; bring it there" in text


def test_a_node_without_the_images(preparation: NodePreparation, tmp_path: Path) -> None:
    (tmp_path / "images").rename(tmp_path / "elsewhere")
    assert f"data.root: there is no {tmp_path / 'images'}" in refused(preparation)


def test_data_sets_that_differ_are_named_once() -> None:
    here = {"folder {'resize': 8}": "a", "folder {'resize': 10}": "b", "glyphs {}": "c"}
    assert different_data(here, here) == ""
    assert (
        different_data(here, {"glyphs {}": "c"}) == "the images or splits of folder are not those of the driver's node"
    )


def test_a_device_that_cannot_compute_is_a_problem() -> None:
    assert gpu_problems("10.0.0.2", torch.device("cpu")) == []
    (problem,) = gpu_problems("10.0.0.2", torch.device("meta"))  # takes tensors, and gives none back
    assert problem.what.startswith("meta cannot be used: ")
