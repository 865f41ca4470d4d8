"""Register the winner, so that one line loads it anywhere: `mlflow.pytorch.load_model("models:/NAME@champion")`."""

import contextlib
import io
import warnings
from dataclasses import dataclass
from pathlib import Path

import mlflow
import numpy as np
import torch
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from mlflow.models import ModelSignature
from mlflow.types import Schema, TensorSpec

from mdr_tune.config.trial import TrialConfig
from mdr_tune.tracking.tracker import best_key
from mdr_tune.training.model import EmbeddingModel

ALIAS = "champion"


@dataclass(frozen=True)
class Registration:
    """The champion's version, and the version that it took the alias from, if any, with that one's best value."""

    version: str
    previous_version: str | None = None
    previous_value: float | None = None


def load_model(checkpoint: Path) -> tuple[EmbeddingModel, TrialConfig]:
    """Return the model of a trial's checkpoint, on the CPU in eval mode, and its configuration."""
    state = torch.load(io.BytesIO(checkpoint.read_bytes()), map_location="cpu", weights_only=True)
    config = TrialConfig.model_validate(state["config"])
    model = EmbeddingModel.from_config(config)
    model.load_state_dict(state["model"])
    return model.eval(), config


def register_champion(
    client: MlflowClient,
    experiment_id: str,
    run_id: str,
    name: str,
    checkpoint: Path,
    metric: str,
    description: str = "",
) -> Registration:
    """Log the checkpoint's model to its run, register it as `name`, and point the alias `champion` to it.

    The model is written as an exported graph (PyTorch's pt2): it loads without this package, executes no pickle, and
    takes uint8 images (n, C, H, W) for any n >= 1.

    Args:
        metric: Whose best value of the champion before is looked up: an alias that moves to a worse model should be
            told.
        description: Of the version.
    """
    previous_version, previous_value = _champion_before(client, name, metric)
    model, _ = load_model(checkpoint)
    model.requires_grad_(False)  # whoever loads it embeds
    backbone = model.backbone
    shape = (backbone.in_channels, backbone.image_size, backbone.image_size)
    example = np.zeros((2, *shape), dtype=np.uint8)
    signature = ModelSignature(
        inputs=Schema([TensorSpec(np.dtype(np.uint8), (-1, *shape))]),
        outputs=Schema([TensorSpec(np.dtype(np.float32), (-1, model.linear.out_features))]),
    )
    mlflow.set_experiment(experiment_id=experiment_id)  # where MLflow 3 puts the logged model beside its run
    with warnings.catch_warnings(), contextlib.redirect_stderr(io.StringIO()):  # it congratulates itself on stderr
        warnings.simplefilter("ignore")
        info = mlflow.pytorch.log_model(
            model,
            name="model",
            run_id=run_id,
            registered_model_name=name,
            serialization_format="pt2",
            input_example=example,
            signature=signature,
            pip_requirements=[f"torch=={torch.__version__.split('+')[0]}", f"mlflow=={mlflow.__version__}"],
        )
    version = str(info.registered_model_version)
    client.set_registered_model_alias(name, ALIAS, version)
    takes = f"Takes uint8 images (n, {', '.join(map(str, shape))}), gives embeddings (n, {model.linear.out_features})."
    client.update_model_version(name, version, f"{description}\n\n{takes}".strip())
    return Registration(version, previous_version, previous_value)


def _champion_before(client: MlflowClient, name: str, metric: str) -> tuple[str | None, float | None]:
    """Return the version that has the alias now and its best value of `metric`, as far as they are known."""
    try:
        before = client.get_model_version_by_alias(name, ALIAS)
        value = client.get_run(before.run_id).data.metrics.get(best_key(metric))
    except MlflowException:  # no such model, no such alias, or its run was deleted
        return None, None
    return str(before.version), value
