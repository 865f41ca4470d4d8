"""Find published weights in the folders of torch.hub and the Hugging Face Hub, download missing ones, check them."""

import logging
import os
import re
from pathlib import Path

import torch

from mdr_tune.backbones.families import family_of
from mdr_tune.backbones.hub_files import HubError, HubFile
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

    `weights` is `none`, `DEFAULT`, the name of published weights or of weights in this package, or the path of a file.
    A published file is downloaded if it is missing. It is kept in torch.hub's folder, `$TORCH_HOME/hub/checkpoints`,
    under its original name, so that files that other programs have downloaded are found. The name mostly contains the
    first digits of the file's SHA-256, which are checked. timm's weights are kept in the cache folder of the Hugging
    Face Hub. If several processes need the same file, one downloads it and the others wait.

    Raises:
        UserError: the file does not exist, cannot be downloaded, or is damaged; the message says what to do.
    """
    if weights == "none":
        return None
    if packaged := family_of(name).packaged_weights(name).get(weights):
        return packaged
    check_weights(name, weights)
    urls = published_urls(name)
    if weights == "DEFAULT" and not urls:
        return None  # the family has none: `check_weights` refuses a model of timm without weights
    return _fetch_published(name, weights, urls[weights]) if weights in urls else Path(os.path.expanduser(weights))


def check_weights(name: str, weights: str) -> None:
    """Check that `weights` of the backbone `name` can be loaded, as far as this is possible without the internet.

    A file that is given by its path must exist. If a published file is already there, it must not be damaged;
    otherwise, its folder must be writable. `weights` has the form that `fetch_weights` takes.

    Raises:
        UserError: `fetch_weights` would fail even with a working connection; the message says what to do.
    """
    urls = published_urls(name)
    if weights == "DEFAULT" and not urls and family_of(name).has_published_weights:
        raise UserError(
            f"backbone.weights: no weights of {name} are published: set it to none, which starts from random weights, "
            "or to the path of a state dict"
        )
    if weights in family_of(name).packaged_weights(name) or (weights in ("none", "DEFAULT") and weights not in urls):
        return
    if weights in urls:
        if hub := HubFile.of(urls[weights]):
            _check_in_hub(name, hub)
            return
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
        known = [*urls, *family_of(name).packaged_weights(name)]
        hint = did_you_mean(weights, [*known, "none"] if urls else [*known, "DEFAULT", "none"])
        published = f"published weights of {name}: {', '.join(known)}" if known else f"{name} has no published weights"
        raise UserError(
            f"backbone.weights: there is no file {weights!r} ({path.absolute()}).{hint} "
            f"Give the path of a state dict, or none to start from random weights; {published}"
        )


def where_weights_are(name: str, weights: str) -> str:
    """Return a text on the published `weights` of the backbone `name`: their name, and the path of their file.

    `weights` may be `DEFAULT`. Raise KeyError if no weights of this name are published.
    """
    url = published_urls(name)[weights]
    title = family_of(name).describe_weights(name) if weights == "DEFAULT" else weights
    if hub := HubFile.of(url):
        path, here = hub.find() or hub.place, hub.find() is not None
    else:
        path, here = _published_path(url), _published_path(url).exists()
    return f"{title}, in {path}" if here else f"{title}, to be downloaded to {path}"


def _check_in_hub(name: str, hub: HubFile) -> None:
    if problem := hub.why_damaged():
        raise UserError(
            f"backbone.weights: {problem}. Delete it and start again: it is then downloaded from {hub.address}"
        )
    if hub.find() is None and (reason := hub.why_not_writable()):
        raise UserError(
            f"backbone.weights: the weights of {name} cannot be downloaded to {hub.place} ({reason}): set the "
            f"environment variable HF_HOME to a writable folder, or put {hub.address} at {hub.place}"
        )


def _fetch_from_hub(name: str, weights: str, hub: HubFile) -> Path:
    if found := hub.find():
        return found
    logger.info("downloading %s", hub.address)
    try:
        return hub.fetch()
    except HubError as error:
        raise UserError(
            f"backbone.weights: cannot download {weights} of {name}: {error}. Get {hub.address} on a machine that can, "
            f"and put it at {hub.place} (the environment variable HF_HOME moves that folder); or set "
            "backbone.weights to none, which starts from random weights, or to the path of the file"
        ) from None


def _fetch_published(name: str, weights: str, url: str) -> Path:
    if hub := HubFile.of(url):
        return _fetch_from_hub(name, weights, hub)
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
    """Return the first digits of the SHA-256 of the published file `path`, which are at the end of the file's name.

    The names of some of timm's files have no digits: the text is empty then.
    """
    found = re.search(r"-([0-9a-f]{8,})\.pth$", path.name)
    return found[1] if found else ""
