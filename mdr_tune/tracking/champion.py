"""Register a model in MLflow: the winner of a sweep, or a model imported from the authors' code.

One line loads a registered model anywhere, even without this package:
`mlflow.pytorch.load_model("models:/NAME@champion")`. A network of the user's that torch.export cannot export needs its
code and this package: `mlflow.pyfunc.load_model`.
"""

import contextlib
import io
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import mlflow
import numpy as np
import torch
from mlflow import MlflowClient
from mlflow.entities import Param
from mlflow.exceptions import MlflowException

from mdr_tune.config.augmentations import Interpolation
from mdr_tune.config.trial import TrialConfig
from mdr_tune.records.objectives import best_key
from mdr_tune.tracking.exporting import why_not_exportable
from mdr_tune.tracking.tags import run_tags
from mdr_tune.tracking.trial_models import MODEL_TAG, of_run
from mdr_tune.tracking.with_code import (
    INTERPOLATION_KEY,
    RESIZE_KEY,
    log_with_code,
    model_input,
    needs_code,
    signature_of,
)
from mdr_tune.training.frozen_backbone import load_model_state
from mdr_tune.training.model import EmbeddingModel, ImageShape
from mdr_tune.training.official import IMAGE_SHAPE, RESIZE, ImportedModel
from mdr_tune.util.import_path import is_import_path

ALIAS = "champion"


@dataclass(frozen=True)
class Registration:
    """Version of a registered model that has the alias `champion`, and the version that had the alias before.

    Attributes:
        version: Version that has the alias now.
        previous_version: Version from which the alias was moved; None if no version had the alias, or if the alias was
            not moved.
        previous_value: Best value of the sweep's metric in the run of the previous version; None if it is not known.
        needs_code: Whether the model is no exported graph, but is loaded with the user's own code.
    """

    version: str
    previous_version: str | None = None
    previous_value: float | None = None
    needs_code: bool = False


def load_model(checkpoint: Path) -> tuple[EmbeddingModel, ImageShape]:
    """Return the model in the file `checkpoint`, on the CPU in eval mode, and the shape (C, H, W) of its images."""
    model, image_shape, _ = load_checkpoint(checkpoint)
    return model, image_shape


def load_checkpoint(checkpoint: Path) -> tuple[EmbeddingModel, ImageShape, TrialConfig]:
    """Return what `load_model` returns for the file `checkpoint`, and the configuration of its trial."""
    state = torch.load(io.BytesIO(checkpoint.read_bytes()), map_location="cpu", weights_only=True)
    config = TrialConfig.model_validate(state["config"])
    channels, height, width = state["image_shape"]
    model = EmbeddingModel.from_config(config, pretrained=False, image_size=width)
    load_model_state(model, state)
    return model.eval(), (channels, height, width), config


def evaluation_resize(config: TrialConfig, image_shape: ImageShape) -> int:
    """Return the height and width in pixels to which evaluations of `config` resize an image before the centre crop.

    Glyphs (rendered letters) are not resized: they have the size that the network sees, which is in `image_shape`.
    """
    return config.data.chosen_resize or image_shape[-1]


def register_champion(
    client: MlflowClient,
    experiment_id: str,
    run_id: str,
    name: str,
    checkpoint: Path,
    metric: str,
    description: str = "",
    details: Callable[[Registration], str] = lambda registration: "",
) -> Registration:
    """Log the model of `checkpoint` to the run `run_id`, register it as `name`, and give it the alias `champion`.

    Nothing is registered if the version with the alias already belongs to this run. The result has the previous
    champion's best value of `metric`, so that the caller can warn the user of a worse model. MLflow shows `description`
    for the new version, then what the model takes, then the text that `details` returns.

    If the trial has a logged model, the version's files become files of that model; older launches made another one.
    """
    previous_version, previous_value, previous_run = _champion_before(client, name, metric)
    if previous_version is not None and previous_run == run_id:  # a resumed sweep that found nothing better
        return Registration(previous_version, needs_code=needs_code(client.get_model_version_by_alias(name, ALIAS)))
    model, shape, config = load_checkpoint(checkpoint)
    resize, by = evaluation_resize(config, shape), config.data.chosen_interpolation
    model_id = client.get_run(run_id).data.tags.get(MODEL_TAG)
    with_code = is_import_path(config.backbone.name) and why_not_exportable(model, shape) is not None
    if with_code:
        version = log_with_code(
            client, experiment_id, run_id, name, model, config, shape, description, resize, by, model_id
        )
    else:
        version = log_embedding_model(
            client, experiment_id, run_id, name, model, shape, description, resize, by, model_id
        )
    client.set_registered_model_alias(name, ALIAS, version)
    registration = Registration(version, previous_version, previous_value, with_code)
    if text := details(registration):
        written = client.get_model_version(name, version).description
        client.update_model_version(name, version, f"{written}\n\n{text}")
    return registration


def describe_registered(client: MlflowClient, name: str, description: str) -> None:
    """Set the description of the registered model `name`, unless it has one, which a user may have written."""
    if not client.get_registered_model(name).description:
        client.update_registered_model(name, description)


def log_embedding_model(
    client: MlflowClient,
    experiment_id: str,
    run_id: str,
    name: str,
    model: EmbeddingModel,
    image_shape: ImageShape,
    description: str = "",
    resize: int | None = None,
    interpolation: Interpolation = "lanczos",
    model_id: str | None = None,
) -> str:
    """Log `model` to the run `run_id`, register it as `name`, and return its version. No alias is set.

    The model is written as an exported graph (PyTorch's pt2). The graph loads without this package, executes no pickle,
    and takes uint8 images (n, C, H, W) for any n >= 1. With the backbone `identity`, it takes float32 vectors (n, F).

    Args:
        client: Client of the tracking store.
        experiment_id: Id of the experiment of the run.
        run_id: Id of the run.
        name: Name of the registered model.
        model: The model, on the CPU and in eval mode. Afterwards its parameters require no gradient.
        image_shape: (C, H, W) of the images that the model takes.
        description: Description of the version.
        resize: Height and width, in pixels, to which images were resized before the middle was cut out; None if they
            are not known. The value is kept in the metadata of the MLmodel file, which is copied with the model.
        interpolation: Filter by which they were resized. It is kept there too.
        model_id: Id of the logged model of the run that gets the files; None to make one.
    """
    model.requires_grad_(False)
    takes_images = model.takes_images
    shape, kind = model_input(model, image_shape)
    example = np.zeros((2, *shape), dtype=kind)
    mlflow.set_experiment(experiment_id=experiment_id)  # MLflow 3 puts the logged model there, beside its run
    with warnings.catch_warnings(), contextlib.redirect_stderr(io.StringIO()):  # MLflow reports success on stderr
        warnings.simplefilter("ignore")
        info = mlflow.pytorch.log_model(
            model,
            **of_run(run_id, model_id),
            registered_model_name=name,
            serialization_format="pt2",
            input_example=example,
            signature=signature_of(model, image_shape),
            metadata=(
                {RESIZE_KEY: resize, INTERPOLATION_KEY: interpolation} if takes_images and resize is not None else None
            ),
            pip_requirements=[f"torch=={torch.__version__.split('+')[0]}", f"mlflow=={mlflow.__version__}"],
        )
    version = str(info.registered_model_version)
    what = f"{kind} {'images' if takes_images else 'vectors'} (n, {', '.join(map(str, shape))})"
    takes = f"Takes {what}, gives embeddings (n, {model.embedding_size})."
    made = f" {_preprocessing(resize, image_shape, interpolation)}" if takes_images and resize is not None else ""
    client.update_model_version(name, version, f"{description}\n\n{takes}{made}".strip())
    return version


def _preprocessing(resize: int, image_shape: ImageShape, interpolation: Interpolation) -> str:
    size = image_shape[-1]
    crop = f", the middle {size} x {size} cut out" if size < resize else ""
    by = interpolation.capitalize()
    return f"An image is resized to {resize} x {resize} pixels ({by}){crop}; `mdr-tune embed` does so."


def _champion_before(client: MlflowClient, name: str, metric: str) -> tuple[str | None, float | None, str | None]:
    """Return the version with the alias `champion`, the best value of `metric` in its run, and the id of its run.

    All three are None if no version has the alias, or if the version's run no longer exists. The best value is also
    None if the run has no value of the metric.
    """
    try:
        before = client.get_model_version_by_alias(name, ALIAS)
        value = client.get_run(before.run_id).data.metrics.get(best_key(metric))
    except MlflowException:  # no such model, no such alias, or its run was deleted
        return None, None, None
    return str(before.version), value, before.run_id


@dataclass(frozen=True)
class ImportedVersion:
    """The `version` that an imported model got in the registry, and the version that has the alias `champion`.

    The two are equal if the imported model got the alias.
    """

    version: str
    champion: str

    @property
    def is_champion(self) -> bool:
        """Whether the imported model has the alias `champion`."""
        return self.version == self.champion


def register_import(
    client: MlflowClient, experiment_id: str, name: str, imported: ImportedModel, checkpoint: Path
) -> ImportedVersion:
    """Create a run in the experiment for the model `imported`, and register the model as `name`.

    The model gets the alias `champion` if no version of `name` has the alias. Otherwise the alias is not moved, because
    the imported model was not compared with the champion. The file `checkpoint`, which `write_checkpoint` wrote,
    becomes an artifact of the run.
    """
    tags = run_tags(f"import {imported.source['file']}")
    run_id = client.create_run(experiment_id, tags=tags).info.run_id
    try:
        client.log_batch(run_id, params=[Param(key, value) for key, value in _params(imported).items()])
        client.log_artifact(run_id, str(checkpoint), "checkpoints/imported")
        version = log_embedding_model(
            client,
            experiment_id,
            run_id,
            name,
            imported.model,
            IMAGE_SHAPE,
            f"Imported: {imported.describe()}.",
            resize=RESIZE,
        )
        champion = client.get_registered_model(name).aliases.get(ALIAS)
        if champion is None:
            client.set_registered_model_alias(name, ALIAS, version)
    except BaseException:
        client.set_terminated(run_id, "FAILED")
        raise
    client.set_terminated(run_id, "FINISHED")
    return ImportedVersion(version, version if champion is None else str(champion))


def _params(imported: ImportedModel) -> dict[str, str]:
    """Return the parameters of an imported model's run. Settings of the model are named as in a trial's run."""
    config = imported.config
    return {
        "backbone.name": config.backbone.name,
        "embedding.size": str(config.embedding.size),
        "embedding.mode": config.embedding.mode,
        **{f"source.{key}": value for key, value in imported.source.items()},
    }
