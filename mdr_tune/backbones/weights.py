"""Trained weights: found in torch.hub's folder or downloaded there, checked, and loaded into a network."""

import logging
import os
import pickle
import re
import struct
import warnings
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn

from mdr_tune.config.catalog import has_published_weights
from mdr_tune.util.cache_folder import locked
from mdr_tune.util.download import Digest, DownloadError, digest_of, download
from mdr_tune.util.errors import UserError
from mdr_tune.util.files import check_on_disk, why_not_writable
from mdr_tune.util.registry import did_you_mean

logger = logging.getLogger(__name__)

State = dict[str, torch.Tensor]

# The BN-Inception of the pretrainedmodels project, which the authors of MDR start from. This is the authors' copy
# (https://github.com/kakaoenterprise/AAAI2021_MDR); the file is the one of http://data.lip6.fr/cadene/pretrainedmodels/.
_BN_INCEPTION = "https://github.com/anonymous-ai-research/pretrained/raw/master/pretrained/bn_inception-52deb4733.pth"
# What `torch.load` raises on files that it did not write, or that were damaged since.
_UNREADABLE = (
    pickle.UnpicklingError,
    RuntimeError,
    EOFError,
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
    AssertionError,
    struct.error,
)


def published_urls(name: str) -> dict[str, str]:
    """Return where the published weights of a backbone are, by their names; the best ones also as DEFAULT."""
    if not has_published_weights(name):
        return {}
    if name == "bn_inception":
        return {"IMAGENET1K_V1": _BN_INCEPTION, "DEFAULT": _BN_INCEPTION}
    from torchvision.models import get_model_weights

    return {entry: weights.url for entry, weights in get_model_weights(name).__members__.items()}


def fetch_weights(name: str, weights: str) -> Path | None:
    """Return the file with a backbone's weights, downloaded if need be, or None if there are none to load.

    Published files live where torch.hub keeps them, `$TORCH_HOME/hub/checkpoints`, under their own names, so that what
    other programs downloaded is found. Each contains the start of its SHA256, and is checked against it. Of several
    processes one downloads, the others wait for it.

    Args:
        name: A valid name of a backbone.
        weights: `none`, `DEFAULT`, the name of published weights, or the path of a file.

    Raises:
        UserError: There is no such file, no connection, or the file is damaged; the message says what to do.
    """
    if weights == "none":
        return None
    check_weights(name, weights)
    urls = published_urls(name)
    if weights == "DEFAULT" and not urls:
        return None
    return _fetch_published(name, weights, urls[weights]) if weights in urls else Path(os.path.expanduser(weights))


def check_weights(name: str, weights: str) -> None:
    """Check what can be checked without the network: the name, that a file is there, that a published one is whole or
    can be written.

    Args:
        name: A valid name of a backbone.
        weights: As of `fetch_weights`.

    Raises:
        UserError: `fetch_weights` would fail for another reason than the network; the message says what to do.
    """
    urls = published_urls(name)
    if weights in ("none", "DEFAULT") and weights not in urls:
        return
    if weights in urls:
        path = _published_path(urls[weights])
        if path.exists():
            _check_whole(path, urls[weights])
        elif problem := why_not_writable(path.parent):
            raise UserError(
                f"backbone.weights: {weights} of {name} cannot be downloaded to {path.parent} ({problem}): set the "
                f"environment variable TORCH_HOME to a writable folder, or put {urls[weights]} at {path}"
            )
        return
    path = Path(os.path.expanduser(weights))
    if not os.path.isfile(path):  # Path.is_file raises for a name that no file can have
        hint = did_you_mean(weights, [*urls, "none"] if urls else ["DEFAULT", "none"])
        published = f"published weights of {name}: {', '.join(urls)}" if urls else f"{name} has no published weights"
        raise UserError(
            f"backbone.weights: there is no file {weights!r} ({path.absolute()}).{hint} "
            f"Give the path of a state dict, or none to start from random weights; {published}"
        )


def _fetch_published(name: str, weights: str, url: str) -> Path:
    path = _published_path(url)
    if path.exists():
        return path
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with locked(path):
            if not path.exists():  # nobody made it while this process waited
                logger.info("downloading %s to %s", url, path)
                download([url], path, Digest("sha256", _expected_hash(path)))
    except (DownloadError, OSError) as error:
        raise UserError(
            f"backbone.weights: cannot download {weights} of {name}: {error}. Get {url} on a machine that "
            f"can, and put it at {path} (the environment variable TORCH_HOME moves that folder); or set "
            "backbone.weights to none, which starts from random weights, or to the path of a state dict"
        ) from None
    return path


def _published_path(url: str) -> Path:
    return Path(torch.hub.get_dir()) / "checkpoints" / url.rsplit("/", 1)[-1]


def _check_whole(path: Path, url: str) -> None:
    actual = digest_of(path, "sha256")
    if not actual.startswith(_expected_hash(path)):
        raise UserError(
            f"backbone.weights: {path} is damaged: its SHA256 begins with {actual[:8]}, not with what its name "
            f"says. Delete it and start again: it is then downloaded from {url}"
        )


def _expected_hash(path: Path) -> str:
    """Return the start of the SHA256 that the name of a published file ends in."""
    found = re.search(r"-([0-9a-f]{8,})\.pth$", path.name)
    assert found is not None, path.name
    return found[1]


def load_weights(network: nn.Module, state: State, path: Path, adapt: Callable[[State], State] | None = None) -> None:
    """Load a state dict into a network: every tensor, and nothing else.

    Args:
        network: What to load into.
        state: What `read_state_dict` gave.
        path: Where it is from, for messages.
        adapt: Renames and drops keys first.

    Raises:
        UserError: It is not this network's, or has numbers that are not finite.
    """
    if adapt is not None:
        adapted = OrderedDict(adapt(state))
        vars(adapted).update(getattr(state, "__dict__", {}))  # the versions of its layers, which some of them ask for
        state = adapted
    try:
        missing, unexpected = network.load_state_dict(state, strict=False)
    except (RuntimeError, ValueError) as error:
        lines = [line.strip() for line in str(error).splitlines() if "Error(s) in loading" not in line]
        raise UserError(f"backbone.weights: {path} does not fit the network: {_first(lines)}") from None
    problems = [f"{what} {_first(keys)}" for what, keys in (("lacks", missing), ("has unknown", unexpected)) if keys]
    if problems:
        raise UserError(f"backbone.weights: {path} does not fit the network: it {' and '.join(problems)}")
    odd = [name for name, tensor in network.state_dict().items() if not tensor.isfinite().all()]
    if odd:
        raise UserError(f"backbone.weights: {path} has values that are not finite in {_first(odd)}: take other weights")


def read_state_dict(path: Path) -> State:
    """Return the tensors of a file by `torch.save`, by their names. Nothing in the file is executed.

    Raises:
        UserError: It is something else.
    """
    expected = "a state dict is expected, saved by torch.save(model.state_dict(), path)"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch's advice on other kinds of files
            check_on_disk(path)
            state = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise UserError(f"backbone.weights: cannot read {path}: {error}") from None
    except _UNREADABLE:  # torch's message advises to load it with weights_only=False, which would execute what is in it
        raise UserError(
            f"backbone.weights: cannot read {path}: it is damaged or another kind of file; {expected}"
        ) from None
    if not isinstance(state, dict) or not all(isinstance(tensor, torch.Tensor) for tensor in state.values()):
        raise UserError(f"backbone.weights: {path} holds no state dict (names and their tensors); {expected}")
    return state


def _first(names: list[str], limit: int = 3) -> str:
    more = f" and {len(names) - limit} more" if len(names) > limit else ""
    return ", ".join(names[:limit]) + more
