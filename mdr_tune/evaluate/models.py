"""Find a model that a user names: registered, a trial's, imported, a backbone, the user's own, or a file of vectors."""

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch
from mlflow import MlflowClient
from mlflow.entities import Run
from mlflow.exceptions import MlflowException
from pydantic import ValidationError

from mdr_tune.backbones import build_backbone, check_weights
from mdr_tune.backbones.families import IDENTITY, family_of
from mdr_tune.config.datasets import Dataset, read_data
from mdr_tune.config.trial import TrialConfig
from mdr_tune.data.own.table_file import parquet_files
from mdr_tune.evaluate.feeding import Feeding, ImageShape, keys_of
from mdr_tune.evaluate.vector_file import vector_size
from mdr_tune.metric import apply_test_mode
from mdr_tune.tracking.champion import evaluation_resize, load_checkpoint
from mdr_tune.tracking.loading import load_embedder
from mdr_tune.tracking.reader import trial_run_id
from mdr_tune.tracking.run_checkpoint import fetch_checkpoint
from mdr_tune.tracking.tags import TRIAL_TAG
from mdr_tune.tracking.trial_models import MODEL_TAG
from mdr_tune.tracking.trial_runs import config_of
from mdr_tune.training.evaluate import Embeds
from mdr_tune.training.model import EmbeddingModel
from mdr_tune.training.official import RESIZE
from mdr_tune.util.errors import UnknownName, UserError
from mdr_tune.util.import_path import code_folders, is_import_path, look_for_code_in

Mode = Literal["none", "l2"]
"""Scaling of embeddings that were not trained here: `none` leaves them as they are, `l2` gives them length 1."""
CHECKPOINT = "checkpoint.pt"
_FILES = (".pt", ".pth", ".parquet")
_RUN_ID = re.compile(r"[0-9a-f]{32}")
KINDS = (
    "models:/NAME@ALIAS, models:/NAME/VERSION, a run's id, SWEEP/TRIAL such as mdr_levels/mdr-007, a checkpoint such "
    "as imported/model.pt, a backbone such as resnet50 (or resnet50@WEIGHTS), an import path such as my_models:make, "
    "or a Parquet file of vectors"
)


class Network:
    """A function from images (n, C, H, W) to embeddings (n, `embedding_size`), as `Embeds`."""

    training = False
    dtype = torch.float32

    def __init__(self, function: Callable[[torch.Tensor], torch.Tensor], embedding_size: int) -> None:
        self._function = function
        self.embedding_size = embedding_size

    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        """Return the embeddings (n, `embedding_size`) of `images`."""
        return self._function(images)

    def train(self, mode: bool = True) -> "Network":
        """Do nothing: the function has one mode, that of evaluation."""
        return self

    def eval(self) -> "Network":
        """Do nothing: the function has one mode, that of evaluation."""
        return self


@dataclass(frozen=True)
class FoundModel:
    """A model that was found, and is not loaded yet.

    Attributes:
        text: The user's words for it.
        title: Text that tells what it is, for tables.
        feeding: What it takes.
        load: Function that loads it onto a device, for a data set as `feed` returned it.
        check: Function that raises ValueError if the model does not take the images of such a data set.
        facts: What is known of it, by key, for the parameters of a run.
        run_id: Id of the run that trained or imported it, if it has one.
        version: Name and number of its registered version, if one was named.
        logged_model: Id of MLflow's logged model, if one was named.
        trained_on: Data set that it was trained on, if that is known.
        vectors: The Parquet file, if the model is a file of vectors.
        notes: Sentences that a reader of its numbers has to know.
    """

    text: str
    title: str
    feeding: Feeding
    load: Callable[[Dataset, torch.device], Embeds]
    check: Callable[[Dataset], None] = lambda data: None
    facts: Mapping[str, str] = field(default_factory=dict)
    run_id: str | None = None
    version: tuple[str, str] | None = None
    logged_model: str | None = None
    trained_on: Dataset | None = None
    vectors: Path | None = None
    notes: tuple[str, ...] = ()


class Finder(NamedTuple):
    """Where and how models are looked for.

    `folder` is an empty folder for downloads, which must stay until all models are loaded. `code` is the folder of the
    user's own modules, if one was given. `mode` is for models that do not say how their embeddings are scaled.
    """

    client: MlflowClient
    folder: Path
    device: torch.device
    code: str | None = None
    mode: Mode = "none"

    def find(self, text: str) -> FoundModel:
        """Return the model that the user calls `text`. Raise UserError if there is no such model."""
        try:
            return self._find(text)
        except UserError as error:
            lines = str(error).splitlines() or [""]
            named = lines[0] if lines[0].startswith(text) else f"{text}: {lines[0]}"
            raise UserError("\n".join([named, *lines[1:]])) from error

    def _find(self, text: str) -> FoundModel:
        path = Path(os.path.expanduser(text))
        if text.startswith(("models:/", "runs:/")) or (path / "MLmodel").is_file():
            return self._logged(text)
        if _RUN_ID.fullmatch(text):
            return self._of_run(text, text)
        if os.path.exists(path) or (text.endswith(_FILES) and "@" not in text):
            return self._file(text, path)
        if "/" in text and not {"@", ":"} & set(text):
            return self._trial(text)
        return self._backbone(text)

    def _logged(self, text: str) -> FoundModel:
        embedder = load_embedder(text, self.client, self.device, self.code, takes_vectors=True)
        shape: ImageShape = embedder.image_shape
        is_vector = shape[1] == 1
        keys = {"resize": embedder.resize, "image_size": shape[2], "interpolation": embedder.interpolation}
        named = re.fullmatch(r"models:/([^/@]+)/(\d+)", embedder.uri)
        return FoundModel(
            text=text,
            title=text if named is None or text == embedder.uri else f"{text} (version {named[2]})",
            feeding=Feeding({} if is_vector else keys, shape),
            load=lambda data, device: Network(embedder.network, embedder.size),
            facts={"uri": embedder.uri, "embedding.size": str(embedder.size)},
            run_id=embedder.run_id,
            version=None if named is None else (named[1], named[2]),
            logged_model=embedder.logged_model,
            trained_on=self._data_of(embedder.run_id),
        )

    def _data_of(self, run_id: str | None) -> Dataset | None:
        """Return the data set of the trial whose run is `run_id`; None if it is no trial's, or cannot be read."""
        try:
            run = None if run_id is None else self.client.get_run(run_id)
        except MlflowException:
            return None
        if run is None or TRIAL_TAG not in run.data.tags:
            return None
        return _data_in(run)

    def _trial(self, text: str) -> FoundModel:
        sweep, _, trial = text.partition("/")
        return self._of_run(text, trial_run_id(self.client, sweep, trial))

    def _of_run(self, text: str, run_id: str) -> FoundModel:
        """Return the model in the checkpoint that the run of a trial, or of an import, has as an artifact."""
        folder = self.folder / str(len(list(self.folder.iterdir())))
        folder.mkdir()
        fetched = fetch_checkpoint(self.client, run_id, folder)
        if self.code is None and fetched.code is not None and is_import_path(fetched.backbone):
            look_for_code_in([*code_folders(), Path(fetched.code)])
        found = self._checkpoint(text, fetched.file)
        return replace(
            found,
            title=fetched.title,
            facts={**found.facts, "run": run_id, "checkpoint": fetched.kind},
            run_id=run_id,
            logged_model=self.client.get_run(run_id).data.tags.get(MODEL_TAG),
            notes=(_OF_LAST_EPOCH,) if fetched.kind == "last" else (),
        )

    def _file(self, text: str, path: Path) -> FoundModel:
        if path.is_dir() and (path / CHECKPOINT).is_file():
            return self._checkpoint(text, path / CHECKPOINT)
        if not os.path.exists(path):
            raise UserError(f"{text}: there is no such file")
        if path.suffix.lower() == ".parquet" or (path.is_dir() and _has_parquet(path)):
            size = vector_size(path)
            return FoundModel(
                text=text,
                title=f"{path.name}{_SCALED[self.mode]}",
                feeding=Feeding({}, None, is_fixed=False),
                load=lambda data, device: Network(_scaled(self.mode), size),
                facts={"file": str(path.absolute()), "embedding.size": str(size), "embedding.mode": self.mode},
                vectors=path,
            )
        if path.is_dir():
            raise UserError(f"{text}: this folder holds no model. A model is {KINDS}")
        return self._checkpoint(text, path)

    def _checkpoint(self, text: str, file: Path) -> FoundModel:
        """Return the model in the `file` of a trial's checkpoint, or of `mdr-tune import-official`."""
        state = _read_checkpoint(text, file)
        try:
            config = TrialConfig.model_validate(state["config"])
        except ValidationError as error:
            problem = error.errors()[0]
            key = ".".join(map(str, problem["loc"]))
            raise UserError(f"{text}: this version does not take its configuration ({key}: {problem['msg']})") from None
        channels, height, width = state["image_shape"]
        shape = (channels, height, width)
        is_imported = "source" in state
        resize = RESIZE if is_imported else evaluation_resize(config, shape)
        keys = {**({} if is_imported else keys_of(config.data)), "resize": resize, "image_size": width}
        flat = config.flat()
        facts = ("backbone.name", "embedding.size", "embedding.mode", "loss.name", "mdr.weight", "seed")
        return FoundModel(
            text=text,
            title=text,
            feeding=Feeding({} if height == 1 else keys, shape),
            load=lambda data, device: load_checkpoint(file)[0].to(device),
            facts={key: str(flat[key]) for key in (facts[:3] if is_imported else facts) if key in flat},
            trained_on=None if is_imported else config.data,
        )

    def _backbone(self, text: str) -> FoundModel:
        name, _, given = text.partition("@")
        weights = given or "DEFAULT"
        if os.path.isfile(os.path.expanduser(weights)):
            weights = os.path.abspath(os.path.expanduser(weights))
        family = self._family(text, name)
        facts = {"backbone.name": name, "backbone.weights": weights, "embedding.mode": self.mode}
        if name == IDENTITY:
            return FoundModel(
                text=text,
                title=f"vectors{_SCALED[self.mode]}",
                feeding=Feeding({}, None, is_fixed=False),
                load=lambda data, device: Network(_scaled(self.mode), data.input_shape[-1]),
                check=_check_has_vectors,
                facts=facts,
            )
        if not is_import_path(name) and not family.is_trained(name, weights, {}):
            known = [*family.published_urls(name), *family.packaged_weights(name)]
            raise UserError(
                f"{text}: its numbers would be those of random weights: write {name}@WEIGHTS, where WEIGHTS is "
                f"{', '.join([*known, 'the file of a state dict'])}"
            )
        if is_import_path(name):
            try:
                family.check_arguments(name, {})
            except ValueError as error:
                raise UserError(f"{text}: {str(error).removeprefix('name: ')}") from None
        try:
            check_weights(name, weights)
        except UserError as error:
            raise UserError(f"{text}: {str(error).removeprefix('backbone.weights: ')}") from None

        def check(data: Dataset) -> None:
            if not data.holds_images:
                raise ValueError(f"takes images, and {data.name} has vectors: evaluate {IDENTITY}, or a model of them")
            family.check_takes(name, weights, data.input_shape, {})

        def load(data: Dataset, device: torch.device) -> Embeds:
            backbone = build_backbone(name, weights, image_size=data.input_shape[-1])
            return EmbeddingModel(backbone, None, self.mode, head="identity").eval().to(device)

        own = {"image_size": family.image_limits(name, weights, {}).image_size, **family.own_images(name, {})}
        shown = family.describe_weights(name) if weights == "DEFAULT" and family.published_urls(name) else given
        return FoundModel(
            text=text,
            title=f"{name}{f' ({Path(shown).name})' if shown else ''}{_SCALED[self.mode]}",
            feeding=Feeding(own, None, is_fixed=False),
            load=load,
            check=check,
            facts=facts,
        )

    def _family(self, text: str, name: str) -> Any:
        try:
            return family_of(name)
        except UnknownName as error:
            known = {experiment.name for experiment in self.client.search_experiments()}
            if text in known:
                raise UserError(
                    f"{text} is a sweep: name one of its trials, such as {text}/mdr-001, or models:/{text}@champion"
                ) from None
            raise UserError(f"no model {text!r}: {error} A model is {KINDS}") from None


_OF_LAST_EPOCH = "its last checkpoint, as MLflow has no other; the best epoch may be an earlier one"
_SCALED: Mapping[Mode, str] = {"none": "", "l2": ", on the unit sphere"}


def _has_parquet(folder: Path) -> bool:
    try:
        return bool(parquet_files(folder))
    except UserError:
        return False


def _scaled(mode: Mode) -> Callable[[torch.Tensor], torch.Tensor]:
    return lambda vectors: apply_test_mode(vectors.flatten(1), mode)


def _check_has_vectors(data: Dataset) -> None:
    if data.holds_images:
        raise ValueError(f"takes the vectors of data: features, and {data.name} has images")


def _read_checkpoint(text: str, file: Path) -> dict[str, Any]:
    """Return the content of a checkpoint's `file`, whose tensors stay on the disk until they are used."""
    advice = (
        "a checkpoint of a trial, or model.pt of mdr-tune import-official, is wanted; the state dict of a backbone is "
        "given as BACKBONE@FILE"
    )
    try:
        state = torch.load(file, map_location="cpu", weights_only=True, mmap=True)
    except Exception as error:  # the readers of pickles and archives raise nearly anything for a file of another kind
        raise UserError(f"{text}: cannot be read ({type(error).__name__}): {advice}") from None
    if not isinstance(state, dict) or not {"config", "image_shape", "model"} <= state.keys():
        raise UserError(f"{text}: holds no model of this program: {advice}")
    return state


def _data_in(run: Run) -> Dataset | None:
    """Return the data set among the parameters of a trial's `run`; None if this version cannot read it."""
    try:
        return read_data(**config_of(run.data.params)["data"])
    except (UserError, TypeError, KeyError):
        return None
