"""Find published weights in the folder of torch.hub, download them if they are not there, and check them."""

import logging
import os
import re
from pathlib import Path

import torch

from mdr_tune.backbones.families import family_of
from mdr_tune.util.cache_folder import locked
from mdr_tune.util.download import Digest, DownloadError, digest_of, download
from mdr_tune.util.errors import UserError
from mdr_tune.util.files import why_not_writable
from mdr_tune.util.nearest_name import did_you_mean

logger = logging.getLogger(__name__)


def published_urls(name: str) -> dict[str, str]:
    """Return the URLs of the published weights of the backbone `name`, by the names of the weights.

    The best weights are also listed under the name DEFAULT.
    """
    return family_of(name).published_urls(name)


def fetch_weights(name: str, weights: str) -> Path | None:
    """Return the path of the file with the weights of the backbone `name`; None if there are no weights to load.

    `weights` is `none`, `DEFAULT`, the name of published weights, or the path of a file. A published file is downloaded
    if it is missing. It is kept in torch.hub's folder, `$TORCH_HOME/hub/checkpoints`, under its original name, so that
    files that other programs have downloaded are found. The name contains the first digits of the file's SHA-256, which
    are checked. If several processes need the same file, one downloads it and the others wait.

    Raises:
        UserError: the file does not exist, cannot be downloaded, or is damaged; the message says what to do.
    """
    if weights == "none":
        return None
    check_weights(name, weights)
    urls = published_urls(name)
    if weights == "DEFAULT" and not urls:
        return None
    return _fetch_published(name, weights, urls[weights]) if weights in urls else Path(os.path.expanduser(weights))


def check_weights(name: str, weights: str) -> None:
    """Check that `weights` of the backbone `name` can be loaded, as far as this is possible without the internet.

    A file that is given by its path must exist. If a published file is already there, it must not be damaged;
    otherwise, its folder must be writable. `weights` has the form that `fetch_weights` takes.

    Raises:
        UserError: `fetch_weights` would fail even with a working connection; the message says what to do.
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
            if not path.exists():  # no other process downloaded it while this one waited
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
    """Return the first digits of the SHA-256 of the published file `path`, which are at the end of the file's name."""
    found = re.search(r"-([0-9a-f]{8,})\.pth$", path.name)
    assert found is not None, path.name
    return found[1]
