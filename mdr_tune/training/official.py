"""Models trained with the code of MDR's authors: read, and turned into models of this package.

Their code (https://github.com/kakaoenterprise/AAAI2021_MDR, run.py) saves `torch.save(model.state_dict(), "best.pth")`.

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
from mdr_tune.util.cache_files import atomic_write
from mdr_tune.util.disk_files import check_on_disk
from mdr_tune.util.errors import UserError
from mdr_tune.util.words import escaped

OfficialMode = Literal["rescale", "l2"]
"""Their class: `Embedding` is `rescale`, `L2NormEmbedding` (run.py --l2norm) is `l2`. The tensors of both have the same
names, so that a file does not tell; at test time the first gives raw embeddings, the second unit vectors."""

IMAGE_SHAPE: ImageShape = (3, 224, 224)
RESIZE = 256
"""Height and width, in pixels, that their transform brings images to before it cuts the middle out."""
CHECKPOINT_NAME = "model.pt"
_SOURCE_CODE = "https://github.com/kakaoenterprise/AAAI2021_MDR"

# A tensor that a backbone has and those further down have not.
_RECOGNISED_BY = {
    "bn_inception": "base.model.conv1_7x7_s2.weight",
    "resnet50": "base.layer1.0.conv3.weight",
    "resnet18": "base.layer1.0.conv2.weight",
}
# From the names of ours to theirs, the longest beginning first.
_THEIR_PREFIXES = {
    "bn_inception": {"backbone.": "base.model.", "linear.": "linear."},
    "resnet50": {"backbone.network.": "base.", "linear.": "linear."},
    "resnet18": {"backbone.network.": "base.", "linear.": "linear."},
}
_UNUSED = (
    "base.model.last_linear.weight",
    "base.model.last_linear.bias",
)  # the classifier that their forward leaves out
_SHOWN_KEYS = 3


@dataclass(frozen=True)
class ImportedModel:
    """A model of theirs as one of ours.

    Attributes:
        model: On the CPU, in eval mode. Takes uint8 images (n, 3, 224, 224), RGB; gives their embeddings (n, D).
        config: Says what the model is: `backbone`, `embedding`, `batch_norm`. A state dict does not tell how it was
            trained: the other keys have their defaults, and mean nothing.
        source: File name, SHA256 and where the code is from; texts.
    """

    model: EmbeddingModel
    config: TrialConfig
    source: dict[str, str]

    def describe(self) -> str:
        """Return what it is, in a line."""
        return (
            f"{self.config.backbone.name}, embeddings of {self.config.embedding.size} numbers, mode "
            f"{self.config.embedding.mode}, from {self.source['file']} (SHA256 {self.source['sha256'][:12]}...)"
        )

    def checkpoint(self) -> dict[str, Any]:
        """Return what `mdr_tune.tracking.champion.load_model` reads; without an optimiser, no trial goes on from it."""
        return {
            "version": CHECKPOINT_VERSION,
            "config": self.config.model_dump(),
            "image_shape": list(IMAGE_SHAPE),
            "model": self.model.state_dict(),
            "source": self.source,
        }


def import_official(file: Path, mode: OfficialMode) -> ImportedModel:
    """Read a file of theirs and convert it; nothing in the file is executed.

    Raises:
        UserError: It is not the state dict of one of their models; the message names the file and what is wrong.
    """
    content = _read(file)
    try:
        model, config = convert_official(_unpickle(content), mode)
    except UserError as error:
        raise UserError(f"{file}: {error}") from None
    source = {"file": escaped(file.name), "sha256": hashlib.sha256(content).hexdigest(), "code": _SOURCE_CODE}
    return ImportedModel(model, config, source)


def write_checkpoint(imported: ImportedModel, folder: Path) -> Path:
    """Write `folder`/model.pt, whole or not at all; the folder is made if need be. Returns the file.

    Raises:
        UserError: There is a model.pt already, and it is not this one, or it cannot be written.
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
    """Return a model that embeds as theirs with this state dict does after `eval()`, and what describes it.

    Args:
        state: Of their `Embedding` or `L2NormEmbedding`, on any of their backbones; also from inside of DataParallel,
            whose `module.` before each name goes.
        mode: Which of the two classes it was; see `OfficialMode`.

    Raises:
        UserError: It is not: a tensor is missing, unexpected, of another shape or kind, or not finite.
    """
    _check_is_state_dict(state)
    if all(key.startswith("module.") for key in state):
        state = {key.removeprefix("module."): tensor for key, tensor in state.items()}
    backbone = _recognise_backbone(state)
    config = TrialConfig.model_validate(
        {
            "backbone": {"name": backbone, "weights": "none"},
            "batch_norm": "frozen",  # as theirs is in training
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
    except Exception:  # what the reader of pickles and archives trips over in a file of another kind: nearly anything
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
    """Return their name of the tensor that is `key` here."""
    for ours, theirs in _THEIR_PREFIXES[backbone].items():
        if key.startswith(ours):
            return theirs + key.removeprefix(ours)
    raise AssertionError(f"a tensor that their models have not: {key}")


def _check_fits(state: Mapping[str, torch.Tensor], expected: Mapping[str, torch.Tensor], backbone: str) -> None:
    """Raise UserError unless `state` has the expected tensors and, apart from the unused classifier, no others."""
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
