"""Load a model that was logged to MLflow as an `Embedder`, which computes the embeddings of image files."""

import logging
import os
import re
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple, get_args

import mlflow
import numpy as np
import torch
from mlflow import MlflowClient
from mlflow.entities import LoggedModel
from mlflow.entities.model_registry import RegisteredModel
from mlflow.environment_variables import MLFLOW_REGISTRY_URI
from mlflow.exceptions import MlflowException
from mlflow.models import Model
from torch.export.passes import move_to_device_pass
from yaml import YAMLError

from mdr_tune.config.augmentations import Interpolation
from mdr_tune.config.datasets import USUAL_RESIZE_PER_IMAGE_SIZE
from mdr_tune.retrieve import Embedder
from mdr_tune.tracking.trial_models import find_model, has_files
from mdr_tune.tracking.with_code import INTERPOLATION_KEY, RESIZE_KEY, STATE, network_with_code
from mdr_tune.training.model import ImageShape
from mdr_tune.util.errors import UserError
from mdr_tune.util.nearest_name import did_you_mean
from mdr_tune.util.words import first_line, without_password

logger = logging.getLogger(__name__)

_NAMES_SHOWN = 10
_PICKLES = "MLFLOW_ALLOW_PICKLE_DESERIALIZATION"
GRAPH = "data/model.pt2"
"""File, in the folder of a model, that holds the network as an exported graph."""


def needs_store(uri: str) -> bool:
    """Say whether an MLflow store is needed to find the model at `uri`. A folder is found without a store."""
    return uri.startswith(("models:/", "runs:/"))


def load_embedder(
    uri: str,
    client: MlflowClient | None = None,
    device: torch.device | None = None,
    code: str | None = None,
    takes_vectors: bool = False,
) -> Embedder:
    """Load an embedding model from an MLflow store or a folder. No code in its files is executed.

    Args:
        uri: `models:/NAME@ALIAS`, `models:/NAME/VERSION`, `runs:/RUN_ID/model`, or a folder with a downloaded model.
        client: Client of the store that knows the model; not needed for a folder.
        device: Device to compute on. If it is None, a GPU is used if there is one, else the CPU.
        code: Folder of the user's own modules, for a model that was registered without a graph; see `with_code`.
        takes_vectors: Whether a model of vectors is loaded too. Its images are vectors, float32 (n, 1, 1, F).

    Raises:
        UserError: There is no such model, or it is not of the kind that `mdr_tune.tracking.champion` logs: an exported
            graph that takes uint8 images.
        ValueError: The URI needs a store, and `client` is None.
    """
    if client is None:
        if needs_store(uri):
            raise ValueError(f"{uri} needs the client of a store")
        found = _Found(str(Path(uri).absolute()))
        return _load(_check_folder(uri), found, device, code, takes_vectors)
    found = _resolve(uri, client)
    with tempfile.TemporaryDirectory() as folder:
        try:
            with _globals_at(client.tracking_uri):
                local = mlflow.artifacts.download_artifacts(found.uri, dst_path=folder)
        except (MlflowException, OSError) as error:
            raise UserError(f"the files of {uri} cannot be had ({first_line(error)})") from error
        if not (Path(local) / "MLmodel").is_file():
            raise UserError(f"the files of {uri} are gone: there is no MLmodel where {_registry(client)} has them")
        return _load(Path(local), found, device, code, takes_vectors)


class _Found(NamedTuple):
    uri: str
    """Address of the model, with the number of a version in place of an alias."""
    run_id: str | None = None


def _resolve(uri: str, client: MlflowClient) -> _Found:
    """Return the address and the run of the model at `uri`. The address has a version in place of an alias."""
    if run := re.fullmatch(r"runs:/([0-9a-f]+)/model", uri):  # a logged model is named after its trial
        try:
            model = find_model(client, client.get_run(run[1]).info.experiment_id, run[1])
        except MlflowException:  # the run is not there, which the download says
            model = None
        if model is not None and not has_files(model.tags):
            raise UserError(
                f"{uri}: the model of {model.name} was not registered, so that MLflow has its checkpoint alone, among "
                "the artifacts of its run: take a registered model, models:/NAME@champion"
            )
        if model is not None and model.name != "model":  # the name that imports and older launches give
            return _Found(str(model.model_uri), run[1])
    named = re.fullmatch(r"models:/([^/@]+)(?:@([^/@]+)|/(\d+))", uri)
    if named is None:
        _check_version(uri, client)
        return _Found(uri)
    name, alias, number = named.groups()
    try:
        version = client.get_model_version_by_alias(name, alias) if alias else client.get_model_version(name, number)
    except MlflowException as error:
        raise UserError(_not_found(uri, name, client, error)) from error
    return _Found(f"models:/{name}/{version.version}", version.run_id or None)


def _check_version(uri: str, client: MlflowClient) -> None:
    """Raise UserError if `uri` names a registered model, but neither a version nor an alias of it.

    A URI such as `models:/m-123` may be the id of a logged model, which needs no version.
    """
    bare = re.fullmatch(r"models:/([^/@]+)[/@]?", uri)
    if bare is None:
        return
    name = bare[1]
    missing = "@champion or /VERSION is missing"
    try:
        model = client.get_registered_model(name)
    except MlflowException as error:
        if name.startswith("m-"):
            return
        raise UserError(f"{_not_found(uri, name, client, error)}; {missing}") from error
    there = _names(client, model)
    if not there:
        raise UserError(f"{uri}: {missing}, and {_no_version(client, name)}")
    raise UserError(f"{uri}: {missing}; there are {', '.join(there)}")


def _not_found(uri: str, name: str, client: MlflowClient, error: MlflowException) -> str:
    """Return a message that says why the registered model `name` cannot be loaded, and which models or versions exist.

    `error` is the registry's answer to a request for `uri`, the address that the user gave.
    """
    if error.error_code not in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
        return f"{uri}: cannot ask {_registry(client)} ({first_line(error).partition('. ')[0]})"
    missing = f"{uri} is not in {_registry(client)} ({first_line(error)})"
    try:
        there = _names(client, client.get_registered_model(name))
    except MlflowException:  # no model of this name
        return f"{missing}; {_known(client)}{_hint(client, name)}"
    return f"{missing}; there are {', '.join(there)}" if there else f"{missing}: {_no_version(client, name)}"


def _names(client: MlflowClient, model: RegisteredModel) -> list[str]:
    """Return the addresses of up to `_NAMES_SHOWN` versions of `model`: by alias, then by number, the newest first."""
    quote = '"' if "'" in model.name else "'"
    condition = f"name = {quote}{model.name}{quote}"
    versions = client.search_model_versions(condition, max_results=_NAMES_SHOWN, order_by=["version_number DESC"])
    if not versions:  # MLflow 3.11 keeps the aliases of deleted versions
        return []
    there = [f"@{alias}" for alias in sorted(model.aliases)] + [f"/{version.version}" for version in versions]
    return [f"models:/{model.name}{ending}" for ending in there[:_NAMES_SHOWN]]


def _no_version(client: MlflowClient, name: str) -> str:
    """Return a message on why the registered model `name` has no version.

    If files of models that the sweep `name` logged still exist, the message names the newest of these models.
    """
    text = f"{name} has no version: it lost them if they were deleted in MLflow, which cannot be undone"
    experiment = client.get_experiment_by_name(name)
    if experiment is None:
        return f"{text}; {_known(client)}"
    kept = next((model for model in _logged_models(client, experiment.experiment_id) if has_files(model.tags)), None)
    return f"{text}; its newest files are still there: {kept.model_uri}" if kept else f"{text}; {_known(client)}"


def _logged_models(client: MlflowClient, experiment_id: str) -> Iterator[LoggedModel]:
    """Yield the logged models of an experiment, the newest first."""
    newest, token = [{"field_name": "creation_time", "ascending": False}], None
    while True:
        page = client.search_logged_models([experiment_id], order_by=newest, page_token=token)
        yield from page
        if not (token := page.token):
            return


@contextmanager
def _globals_at(tracking_uri: str) -> Iterator[None]:
    """Set MLflow's global tracking URI to `tracking_uri` while the block runs.

    A URI that is given to `download_artifacts` itself does not reach all functions that it calls.
    """
    before = mlflow.get_tracking_uri() if mlflow.tracking.is_tracking_uri_set() else None
    mlflow.set_tracking_uri(tracking_uri)
    try:
        yield
    finally:
        mlflow.set_tracking_uri(before)


def _registry(client: MlflowClient) -> str:
    """Return the address of the store with the registered models, as text for a message."""
    other = MLFLOW_REGISTRY_URI.get()
    if not other or other == client.tracking_uri:
        return without_password(client.tracking_uri)
    return f"{without_password(other)}, the registry that {MLFLOW_REGISTRY_URI.name} names"


def _hint(client: MlflowClient, name: str) -> str:
    """Return `. Did you mean 'X'?` for the registered model X with a name like `name`; empty if there is none."""
    try:
        hint = did_you_mean(name, [model.name for model in client.search_registered_models()])
    except MlflowException:
        return ""
    return f".{hint}" if hint else ""


def _known(client: MlflowClient) -> str:
    """Return the last part of a message, which lists the registered models of the store."""
    try:
        models = client.search_registered_models(max_results=_NAMES_SHOWN)
    except MlflowException:  # the earlier request to the registry failed too
        return "nor does it say which models it has"
    if not models:
        return "no model is registered in it: a launch registers its winner"
    shown = [name for model in models for name in _names(client, model)]
    return f"it has {', '.join(shown[:_NAMES_SHOWN])}" if shown else "no model in it has a version"


def _check_folder(folder: str) -> Path:
    if not (Path(folder) / "MLmodel").is_file():
        raise UserError(
            f"{folder} is no model: expected models:/NAME@champion, models:/NAME/VERSION, runs:/RUN_ID/model, or a "
            "folder with an MLmodel file"
        )
    return Path(folder)


def _load(folder: Path, found: _Found, device: torch.device | None, code: str | None, takes_vectors: bool) -> Embedder:
    described = _describe(folder, found.uri)
    image_shape, size = _shapes(described, found.uri, takes_vectors)
    device = device or torch.device("cuda" if torch.cuda.is_available() else "cpu")
    needs_code = (folder / STATE).is_file()
    if not needs_code:
        _check_graph(folder, found.uri)
    network = network_with_code(folder, found.uri, code, device) if needs_code else _network(folder, device)
    is_vector = image_shape[1] == 1  # images are larger
    return Embedder(
        network=(lambda vectors: network(vectors.flatten(1))) if is_vector else network,
        image_shape=image_shape,
        size=size,
        resize=image_shape[2] if is_vector else _resize(described, image_shape, found.uri),
        uri=found.uri,
        identity=str(described.model_uuid),
        run_id=found.run_id or described.run_id,
        logged_model=described.model_id,
        device=device,
        interpolation=_interpolation(described, found.uri),
    )


def _check_graph(folder: Path, uri: str) -> None:
    """Raise UserError unless the model in `folder` is a whole exported graph."""
    if not (folder / GRAPH).is_file():
        raise UserError(f"{uri} is no exported graph (pt2) of PyTorch, as a launch registers it: take another model")
    if not _is_whole(folder / GRAPH):
        raise UserError(f"{uri}: its {GRAPH} is damaged, or not whole: get the model again")


def _describe(folder: Path, uri: str) -> Model:
    try:
        return Model.load(str(folder))
    except (YAMLError, MlflowException, ValueError, TypeError, AttributeError, LookupError) as error:
        raise UserError(f"{uri}: its MLmodel is damaged ({first_line(error)}): get the model again") from error


def _is_whole(archive: Path) -> bool:
    """Say whether all files in a zip `archive` match their checksums. PyTorch does not check those of weights."""
    try:
        with zipfile.ZipFile(archive) as opened:
            return opened.testzip() is None
    except zipfile.BadZipFile:
        return False


def _network(folder: Path, device: torch.device) -> Callable[[torch.Tensor], torch.Tensor]:
    """Load the exported graph of the model in `folder` onto `device`. MLflow refuses an archive with pickles in it."""
    with _no_pickles():
        network: Callable[[torch.Tensor], torch.Tensor] = mlflow.pytorch.load_model(str(folder))
    if device.type == "cpu":
        return network
    # A graph names the device that it was exported on, even in its assertions about tensors; `.to` moves weights only.
    exported = torch.export.load(folder / GRAPH)
    return move_to_device_pass(exported, device).module()


@contextmanager
def _no_pickles() -> Iterator[None]:
    before = os.environ.get(_PICKLES)
    os.environ[_PICKLES] = "false"
    try:
        yield
    finally:
        del os.environ[_PICKLES]
        if before is not None:
            os.environ[_PICKLES] = before


def _shapes(described: Model, uri: str, takes_vectors: bool) -> tuple[ImageShape, int]:
    """Return the shape (C, H, W) of a model's images and the size D of its embeddings, from its MLflow signature.

    With `takes_vectors`, the shape (1, 1, F) of a model of vectors is returned too; otherwise such a model is an error.
    """
    problem = UserError(
        f"{uri} does not take square uint8 images (n, C, H, W) and give (n, D): take an embedding model"
    )
    signature = described.signature
    if signature is None or signature.outputs is None or not signature.inputs.is_tensor_spec():
        raise problem
    taken, given = signature.inputs.inputs[0], signature.outputs.inputs[0]
    if taken.type == np.dtype(np.float32) and len(taken.shape) == 2:
        if takes_vectors:
            return (1, 1, taken.shape[1]), given.shape[1]
        raise UserError(
            f"{uri} takes vectors of {taken.shape[1]} numbers, the features of another model, and no images: load it "
            "with mlflow.pytorch.load_model"
        )
    if taken.type != np.dtype(np.uint8) or len(taken.shape) != 4 or len(given.shape) != 2:
        raise problem
    _, channels, height, width = taken.shape
    if channels not in (1, 3) or height != width:
        raise problem
    return (channels, height, width), given.shape[1]


def _interpolation(described: Model, uri: str) -> Interpolation:
    found: Interpolation = (described.metadata or {}).get(INTERPOLATION_KEY, "lanczos")
    if found not in get_args(Interpolation):
        raise UserError(
            f"{uri}: its images were resized by {found!r}, which this version does not know: take a newer one"
        )
    return found


def _resize(described: Model, image_shape: ImageShape, uri: str) -> int:
    known = (described.metadata or {}).get(RESIZE_KEY)
    if known is not None:
        return int(known)
    channels, height, _ = image_shape
    assumed = height if channels == 1 else round(height * USUAL_RESIZE_PER_IMAGE_SIZE)
    logger.warning("%s does not say what its images were resized to: %d pixels are taken for granted", uri, assumed)
    return assumed
