"""Models of the authors' code, imported, give their embeddings; what is no such model is refused.

`fixtures/official_embeddings.json` holds what the authors' public code (kakaoenterprise/AAAI2021_MDR, commit 2dc76fb)
returned for `example_image()`: their `Embedding` (rescale) and `L2NormEmbedding` (l2) with 8 outputs on each of their
backbones, all tensors filled by `tests.official_state.fill` under their own names, `eval()`, the image normalised by
the end of their test transform; run once on a CPU with torch 2.14. In float64 the same code differs from these float32
numbers by 5e-7 of the largest.
"""

import copy
import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from mdr_tune.tracking.champion import load_model
from mdr_tune.training.official import OfficialMode, convert_official, import_official, write_checkpoint
from mdr_tune.util.errors import UserError
from tests.official_state import FEATURE_SIZES, example_image, official_state

AUTHORS = json.loads((Path(__file__).parent / "fixtures" / "official_embeddings.json").read_text())
State = dict[str, torch.Tensor]


@pytest.mark.parametrize("mode", ["rescale", "l2"])
@pytest.mark.parametrize("backbone", FEATURE_SIZES)
@torch.no_grad()
def test_embeddings_are_the_authors(backbone: str, mode: OfficialMode) -> None:
    model, config = convert_official(official_state(backbone), mode)
    expected = torch.tensor([AUTHORS[backbone][mode]])
    torch.testing.assert_close(model(example_image()), expected, rtol=0, atol=1e-5 * float(expected.abs().max()))
    assert (config.backbone.name, config.embedding.size, config.embedding_mode) == (backbone, 8, mode)
    assert not model.training


def test_the_prefix_of_data_parallel_goes() -> None:
    state = official_state("resnet18")
    wrapped = {f"module.{key}": tensor for key, tensor in state.items()}
    model, _ = convert_official(wrapped, "l2")
    assert torch.equal(model.linear.weight, state["linear.weight"])


def test_bn_inception_may_come_without_its_unused_classifier() -> None:
    state = official_state("bn_inception")
    for name in ("weight", "bias"):
        del state[f"base.model.last_linear.{name}"]
    _, config = convert_official(state, "rescale")
    assert config.backbone.name == "bn_inception"


def test_nothing_is_downloaded_for_an_import(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("urllib.request.urlopen", None)
    _, config = convert_official(official_state("resnet18"), "rescale")
    assert not config.backbone.pretrained


@torch.no_grad()
def test_the_checkpoint_loads_as_a_trial_s(tmp_path: Path) -> None:
    file = tmp_path / "cub200.pth"
    torch.save(official_state("resnet18"), file)
    imported = import_official(file, "l2")
    written = write_checkpoint(imported, tmp_path / "a" / "b")
    model, shape = load_model(written)
    assert (written, shape) == (tmp_path / "a" / "b" / "model.pt", (3, 224, 224))
    assert torch.equal(model(example_image()), imported.model(example_image()))
    assert imported.source["file"] == "cub200.pth"
    assert [path.name for path in written.parent.iterdir()] == ["model.pt"]


def test_a_checkpoint_is_not_overwritten_by_another(tmp_path: Path) -> None:
    file = tmp_path / "cub200.pth"
    torch.save(official_state("resnet18"), file)
    written = write_checkpoint(import_official(file, "l2"), tmp_path)
    before = written.read_bytes()
    assert write_checkpoint(import_official(file, "l2"), tmp_path) == written
    with pytest.raises(UserError, match=r"model.pt is there already and holds another model: give another folder"):
        write_checkpoint(import_official(file, "rescale"), tmp_path)
    assert written.read_bytes() == before


def without(*keys: str) -> Callable[[State], State]:
    return lambda state: {key: tensor for key, tensor in state.items() if key not in keys}


def with_tensor(key: str, tensor: torch.Tensor) -> Callable[[State], State]:
    return lambda state: {**state, key: tensor}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (without("linear.weight"), "lacks linear.weight, the embedding layer"),
        (with_tensor("linear.weight", torch.zeros(512)), "linear.weight is float32 (512), where (embedding size, "),
        (without("base.bn1.bias", "linear.bias"), "looks like resnet18, but lacks base.bn1.bias, linear.bias"),
        (with_tensor("base.fc.weight", torch.zeros(3)), "looks like resnet18, but has unknown base.fc.weight"),
        (with_tensor("base.model.last_linear.bias", torch.zeros(1000)), "has unknown base.model.last_linear.bias"),
        (
            with_tensor("base.conv1.weight", torch.zeros(64, 1, 7, 7)),
            "has base.conv1.weight float32 (64, 1, 7, 7) where float32 (64, 3, 7, 7) is expected",
        ),
        (with_tensor("linear.bias", torch.zeros(8, dtype=torch.int8)), "linear.bias int8 (8) where float32 (8) is"),
        (with_tensor("linear.bias", torch.full((8,), torch.nan)), "not finite in linear.bias"),
        (
            lambda state: {key: tensor for key, tensor in state.items() if "layer4" not in key},
            "lacks base.layer4.0.conv1.weight, base.layer4.0.bn1.weight, base.layer4.0.bn1.bias and 27 more",
        ),
        (
            lambda state: {key.removeprefix("base."): tensor for key, tensor in state.items()},
            "none of the authors' backbones, which are recognised by a tensor of each: bn_inception (base.model.conv1_",
        ),
        (lambda state: {**state, "epoch": 3}, "holds other things than tensors under epoch: a state dict"),
        (lambda state: {"state_dict": state}, "holds other things than tensors under state_dict"),
        (lambda state: list(state.values()), "holds a list: a state dict"),
        (lambda state: {}, "is empty"),
        (lambda state: torch.nn.Linear(1, 1), "holds pickled objects besides tensors, whose code would run"),
    ],
)
def test_what_is_no_model_of_theirs_is_refused(tmp_path: Path, change: Callable[[State], object], message: str) -> None:
    file = tmp_path / "odd.pth"
    torch.save(change(copy.copy(official_state("resnet18"))), file)
    with pytest.raises(UserError) as caught:
        import_official(file, "rescale")
    assert str(caught.value).startswith(f"{file}: ")
    assert message in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 no archive", b"# a text", bytes(range(256))])
def test_a_file_of_another_kind_is_refused(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "odd.pth"
    file.write_bytes(content)
    with pytest.raises(UserError, match=r"odd.pth: is no file of torch.save, or is damaged: save the tensors alone"):
        import_official(file, "rescale")


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"nowhere.pth: cannot be read \(No such file"):
        import_official(tmp_path / "nowhere.pth", "rescale")


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    file = tmp_path / "cub200.pth"
    torch.save(official_state("resnet18"), file)
    with pytest.raises(UserError, match=r"cub200.pth/model.pt cannot be written \(File exists\): give another"):
        write_checkpoint(import_official(file, "l2"), file)
