"""Register and load a model that torch.export cannot export: its weights, its configuration, and the user's own code.

No file holds a pickle of code. MLflow loads such a model by a program of three lines, which imports `model_with_code`
and the copy of the user's modules beside the weights. `mdr-tune embed` imports the modules in the folder of --code.
"""

import contextlib
import io
import logging
import tempfile
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import torch
from mlflow import MlflowClient
from mlflow.entities.model_registry import ModelVersion
from mlflow.models import ModelSignature
from mlflow.types import Schema, TensorSpec

from mdr_tune.config.augmentations import Interpolation
from mdr_tune.config.trial import TrialConfig
from mdr_tune.tracking.trial_models import of_run
from mdr_tune.training.model import EmbeddingModel, ImageShape
from mdr_tune.util.errors import UserError
from mdr_tune.util.import_path import look_for_code_in
from mdr_tune.util.user_code import changed_files, imported_code, imported_hashes

logger = logging.getLogger(__name__)

RESIZE_KEY = "mdr_tune.resize"
"""Key of an entry in a logged model's metadata: height and width, in pixels, to which images are resized."""
INTERPOLATION_KEY = "mdr_tune.interpolation"
"""Key of an entry in a logged model's metadata: filter by which images are resized. Older models lack it: lanczos."""
CODE_KEY = "mdr_tune.code"
"""Key of an entry in a logged model's metadata: hashes of the files of the user's own code, by name."""
STATE = "artifacts/state.pt"
"""File, in the folder of a model that needs its code, with the configuration, the image shape and the weights."""
_PROGRAM = """\
import mlflow
from mdr_tune.tracking.model_with_code import ModelWithCode
mlflow.models.set_model(ModelWithCode())
"""


def model_input(model: EmbeddingModel, image_shape: ImageShape) -> tuple[tuple[int, ...], np.dtype]:
    """Return the shape and dtype of one input of `model`: uint8 images of `image_shape`, or float32 vectors (F,)."""
    return (image_shape, np.dtype(np.uint8)) if model.takes_images else (image_shape[-1:], np.dtype(np.float32))


def signature_of(model: EmbeddingModel, image_shape: ImageShape) -> ModelSignature:
    """Return MLflow's signature of `model`: n inputs as in `model_input` become embeddings (n, D) in float32."""
    shape, kind = model_input(model, image_shape)
    return ModelSignature(
        inputs=Schema([TensorSpec(kind, (-1, *shape))]),
        outputs=Schema([TensorSpec(np.dtype(np.float32), (-1, model.embedding_size))]),
    )


def log_with_code(
    client: MlflowClient,
    experiment_id: str,
    run_id: str,
    name: str,
    model: EmbeddingModel,
    config: TrialConfig,
    image_shape: ImageShape,
    description: str,
    resize: int,
    interpolation: Interpolation = "lanczos",
    model_id: str | None = None,
) -> str:
    """Log `model` with the user's code, register it, and return its version. `config` is that of the model's trial.

    The other arguments are those of `log_embedding_model`.
    """
    code = imported_code()
    metadata: dict[str, Any] = {RESIZE_KEY: resize, INTERPOLATION_KEY: interpolation}
    metadata |= {} if code is None else {CODE_KEY: dict(code.files)}
    mlflow.set_experiment(experiment_id=experiment_id)
    with tempfile.TemporaryDirectory() as temporary:
        program, state, copy = Path(temporary, "model.py"), Path(temporary, "state.pt"), Path(temporary, "own")
        program.write_text(_PROGRAM)
        torch.save(
            {"config": config.model_dump(), "image_shape": list(image_shape), "model": model.state_dict()}, state
        )
        copy.mkdir()
        if code is not None:
            zipfile.ZipFile(io.BytesIO(code.archive)).extractall(copy)
        with warnings.catch_warnings(), contextlib.redirect_stderr(io.StringIO()):
            warnings.simplefilter("ignore")
            info = mlflow.models.Model.log(  # not mlflow.pyfunc.log_model, which takes no run
                artifact_path=None,
                flavor=mlflow.pyfunc,
                python_model=str(program),
                artifacts={"state": str(state)},
                code_paths=[str(path) for path in sorted(copy.iterdir())] or None,
                **of_run(run_id, model_id),
                registered_model_name=name,
                signature=signature_of(model, image_shape),
                metadata=metadata,
                pip_requirements=[f"torch=={torch.__version__.split('+')[0]}", f"mlflow=={mlflow.__version__}"],
            )
    version = str(info.registered_model_version)
    client.update_model_version(name, version, f"{description}\n\n{_NEEDS_CODE}".strip())
    return version


_NEEDS_CODE = "torch.export cannot export it: it needs its code, mdr-tune embed --model URI --code DIR."
"""Sentence in the description of a version that `log_with_code` registered."""


def needs_code(version: ModelVersion) -> bool:
    """Return whether `log_with_code` registered the `version`, so that it has no exported graph."""
    return _NEEDS_CODE in (version.description or "")


def model_from(state_file: Path) -> EmbeddingModel:
    """Return the model whose configuration and weights are in `state_file`, on the CPU in eval mode."""
    state = torch.load(state_file, map_location="cpu", weights_only=True)
    model = EmbeddingModel.from_config(TrialConfig.from_keys(state["config"]), pretrained=False)
    model.load_state_dict(state["model"])
    return model.eval()


def network_with_code(
    folder: Path, uri: str, code: str | None, device: torch.device
) -> Callable[[torch.Tensor], torch.Tensor]:
    """Return the network of the model in `folder`, built with the user's own modules in the folder `code`.

    `uri` is the model's address, for messages.

    Raises:
        UserError: `code` is None or no folder, or the modules there do not make the network.
    """
    if code is None:
        raise UserError(
            f"{uri} needs the code of its network, which could not be exported: --code DIR names its folder"
        )
    if not Path(code).is_dir():
        raise UserError(f"--code {code}: there is no such folder")
    look_for_code_in([Path(code)])
    try:
        model = model_from(folder / STATE)
    except (UserError, RuntimeError) as error:
        raise UserError(f"{uri}: the code in {code} does not make its network: {error}") from None
    then = (mlflow.models.Model.load(str(folder)).metadata or {}).get(CODE_KEY, {})
    if changed := changed_files(then, imported_hashes()):
        logger.warning("%s: your code is not that of its training: %s changed", uri, ", ".join(changed))
    return model.to(device)
