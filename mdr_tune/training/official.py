"""Import models that were trained with the code of MDR's authors.

The authors' code (https://github.com/kakaoenterprise/AAAI2021_MDR, run.py) saves a model by
`torch.save(model.state_dict(), "best.pth")`.

Example:
    >>> imported = import_official(Path("best.pth"), mode="rescale")  # doctest: +SKIP
    >>> imported.model(images)  # doctest: +SKIP
"""

import hashlib
import io
import pickle
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch

from mdr_tune.config.trial import TrialConfig
from mdr_tune.training.model import EmbeddingModel, ImageShape
from mdr_tune.training.session import CHECKPOINT_VERSION
from mdr_tune.util.errors import UserError
from mdr_tune.util.files import atomic_write, check_on_disk
from mdr_tune.util.words import escaped

OfficialMode = Literal["rescale", "l2"]
"""Embedding mode of one of the authors' models: `rescale` for their class `Embedding`, `l2` for `L2NormEmbedding`.

run.py --l2norm makes the latter. A saved file does not show which of the two classes its model has, since their tensors
have the same names. At test time `Embedding` gives raw embeddings, `L2NormEmbedding` unit vectors.
"""

IMAGE_SHAPE: ImageShape = (3, 224, 224)
RESIZE = 256
"""Height and width, in pixels, that the authors' transform resizes images to before its centre crop."""
CHECKPOINT_NAME = "model.pt"
_SOURCE_CODE = "https://github.com/kakaoenterprise/AAAI2021_MDR"

# For each backbone, a tensor by which it is recognised: those further down do not have it.
_RECOGNISED_BY = {
    "bn_inception": "base.model.conv1_7x7_s2.weight",
    "resnet50": "base.layer1.0.conv3.weight",
    "resnet18": "base.layer1.0.conv2.weight",
}
# Prefixes of tensor names in this package, and those in the authors' code. Longer prefixes come before shorter ones.
_THEIR_PREFIXES = {
    "bn_inception": {"backbone.": "base.model.", "linear.": "linear."},
    "resnet50": {"backbone.network.": "base.", "linear.": "linear."},
    "resnet18": {"backbone.network.": "base.", "linear.": "linear."},
}
_UNUSED = (
    "base.model.last_linear.weight",
    "base.model.last_linear.bias",
)  # the classifier, which the authors' forward does not use
_SHOWN_KEYS = 3


@dataclass(frozen=True)
class ImportedModel:
    """One of the authors' models, converted to a model of this package.

    Attributes:
        model: The model, on the CPU, in eval mode. It takes uint8 images (n, 3, 224, 224), RGB, and returns their
            embeddings (n, D).
        config: Description of the model by the keys `backbone`, `embedding` and `batch_norm`. The other keys have their
            defaults and mean nothing, since a state dict does not show how the model was trained.
        source: File name (`file`), SHA256 (`sha256`) and URL of the authors' code (`code`).
    """

    model: EmbeddingModel
    config: TrialConfig
    source: dict[str, str]

    def describe(self) -> str:
        """Return a description of the model in one line."""
        return (
            f"{self.config.backbone.name}, embeddings of {self.config.embedding.size} numbers, mode "
            f"{self.config.embedding.mode}, from {self.source['file']} (SHA256 {self.source['sha256'][:12]}...)"
        )

    def checkpoint(self) -> dict[str, Any]:
        """Return a checkpoint for `tracking.champion.load_model`. It has no optimiser state to resume a trial from."""
        return {
            "version": CHECKPOINT_VERSION,
            "config": self.config.model_dump(),
            "image_shape": list(IMAGE_SHAPE),
            "model": self.model.state_dict(),
            "source": self.source,
        }


def import_official(file: Path, mode: OfficialMode) -> ImportedModel:
    """Convert the model in a `file` that the authors' code saved, trained with `mode`. Nothing in the file is executed.

    Raises:
        UserError: The file cannot be read, or is not the state dict of one of the authors' models; the message names
            the file and what is wrong.
    """
    content = _read(file)
    try:
        model, config = convert_official(_unpickle(content), mode)
    except UserError as error:
        raise UserError(f"{file}: {error}") from None
    source = {"file": escaped(file.name), "sha256": hashlib.sha256(content).hexdigest(), "code": _SOURCE_CODE}
    return ImportedModel(model, config, source)


def write_checkpoint(imported: ImportedModel, folder: Path) -> Path:
    """Write the checkpoint of `imported` to `folder`/model.pt, complete or not at all, and return its path.

    The folder is made if it is missing. If it has a model.pt with the same bytes already, nothing is written.

    Raises:
        UserError: The folder has a model.pt of another model, or the file cannot be written.
    """
    buffer = io.BytesIO()
    torch.save(imported.checkpoint(), buffer)
    file = folder / CHECKPOINT_NAME
    try:
        if file.exists():
            if file.read_bytes() == buffer.getvalue():
                return file
            raise UserError(f"{file} is there already and holds another model: give another folder, or delete it")
        folder.mkdir(parents=True, exist_ok=True)
        with atomic_write(file) as opened:
            opened.write(buffer.getbuffer())
    except OSError as error:
        raise UserError(f"{file} cannot be written ({error.strerror}): give another folder") from None
    return file


def convert_official(state: Mapping[str, torch.Tensor], mode: OfficialMode) -> tuple[EmbeddingModel, TrialConfig]:
    """Convert a state dict of the authors' code to a model of this package, in eval mode, and its configuration.

    The model returns the same embeddings as the authors' model with this state dict.

    Args:
        state: State dict of the authors' `Embedding` or `L2NormEmbedding`, on any of their backbones. The prefix
            `module.` that DataParallel puts before each name is removed.
        mode: `rescale` for a model of the class `Embedding`, `l2` for one of `L2NormEmbedding`.

    Raises:
        UserError: A tensor is missing or not expected, has another shape or type than expected, or is not finite.
    """
    _check_is_state_dict(state)
    if all(key.startswith("module.") for key in state):
        state = {key.removeprefix("module."): tensor for key, tensor in state.items()}
    backbone = _recognise_backbone(state)
    config = TrialConfig.model_validate(
        {
            "backbone": {"name": backbone, "weights": "none"},
            "batch_norm": "frozen",  # as in the authors' training
            "embedding": {"size": _embedding_size(state), "mode": mode},
        }
    )
    model = EmbeddingModel.from_config(config, pretrained=False)
    expected = {_their_key(key, backbone): tensor for key, tensor in model.state_dict().items()}
    _check_fits(state, expected, backbone)
    model.load_state_dict({key: state[_their_key(key, backbone)] for key in model.state_dict()})
    return model.eval(), config


def _read(file: Path) -> bytes:
    try:
        check_on_disk(file)
        return file.read_bytes()
    except OSError as error:
        raise UserError(f"{file}: cannot be read ({error.strerror})") from None


def _unpickle(content: bytes) -> Any:
    advice = 'save the tensors alone, torch.save(model.state_dict(), "model.pth")'
    try:
        return torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        if re.search("unsupported (global|class)", str(error), re.IGNORECASE):
            raise UserError(
                f"holds pickled objects besides tensors, whose code would run as they are read: {advice}"
            ) from None
        raise UserError(f"is no file of torch.save, or is damaged: {advice}") from None
    except Exception:  # the readers of pickles and archives raise nearly anything for a file of another kind
        raise UserError(f"is no file of torch.save, or is damaged: {advice}") from None


def _check_is_state_dict(state: object) -> None:
    advice = "a state dict (names and their tensors) is wanted, torch.save(model.state_dict(), ...)"
    if not isinstance(state, Mapping):
        raise UserError(f"holds a {type(state).__name__}: {advice}")
    odd = [str(key) for key, value in state.items() if not (isinstance(key, str) and isinstance(value, torch.Tensor))]
    if odd:
        raise UserError(f"holds other things than tensors under {_first(odd)}: {advice}")
    if not state:
        raise UserError(f"is empty: {advice}")


def _recognise_backbone(state: Mapping[str, torch.Tensor]) -> str:
    for backbone, key in _RECOGNISED_BY.items():
        if key in state:
            return backbone
    known = ", ".join(f"{backbone} ({key})" for backbone, key in _RECOGNISED_BY.items())
    raise UserError(
        f"none of the authors' backbones, which are recognised by a tensor of each: {known}; this has {_first(state)}"
    )


def _embedding_size(state: Mapping[str, torch.Tensor]) -> int:
    weight = state.get("linear.weight")
    if weight is None:
        raise UserError("lacks linear.weight, the embedding layer: is it the backbone alone?")
    if weight.ndim != 2 or len(weight) == 0:
        raise UserError(f"linear.weight is {_shape(weight)}, where (embedding size, feature size) is expected")
    return len(weight)


def _their_key(key: str, backbone: str) -> str:
    """Return the name that the tensor `key` of this package's model with `backbone` has in the authors' code."""
    for ours, theirs in _THEIR_PREFIXES[backbone].items():
        if key.startswith(ours):
            return theirs + key.removeprefix(ours)
    raise AssertionError(f"a tensor that their models have not: {key}")


def _check_fits(state: Mapping[str, torch.Tensor], expected: Mapping[str, torch.Tensor], backbone: str) -> None:
    """Raise UserError unless `state` has the `expected` tensors, and no others but an unused classifier."""
    missing = [key for key in expected if key not in state]
    unexpected = [key for key in state if key not in expected and not (backbone == "bn_inception" and key in _UNUSED)]
    both = [key for key in expected if key in state]
    misshapen = [
        f"{key} {_shape(state[key])} where {_shape(expected[key])} is expected"
        for key in both
        if state[key].shape != expected[key].shape
        or state[key].is_floating_point() != expected[key].is_floating_point()
    ]
    problems = (("lacks", missing), ("has unknown", unexpected), ("has", misshapen))
    text = "; ".join(f"{verb} {_first(what)}" for verb, what in problems if what)
    if text:
        raise UserError(f"looks like {backbone}, but {text}")
    odd = [key for key in both if not bool(state[key].isfinite().all())]
    if odd:
        raise UserError(f"has values that are not finite in {_first(odd)}: the training diverged, take another file")


def _shape(tensor: torch.Tensor) -> str:
    return f"{str(tensor.dtype).removeprefix('torch.')} ({', '.join(map(str, tensor.shape))})"


def _first(keys: list[str] | Mapping[str, Any]) -> str:
    shown = list(keys)[:_SHOWN_KEYS]
    more = len(keys) - len(shown)
    return ", ".join(shown) + (f" and {more} more" if more else "")
