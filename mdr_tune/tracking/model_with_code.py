"""The class through which MLflow loads a model that `with_code` registered. Importing this module takes seconds."""

from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import torch

from mdr_tune.tracking.with_code import model_from


class ModelWithCode(mlflow.pyfunc.PythonModel):
    """An embedding model that needs the user's code, as `mlflow.pyfunc.load_model` returns it."""

    def load_context(self, context: Any) -> None:
        """Build the network and load its weights. MLflow has already put its copy of the user's code on the path."""
        self._model = model_from(Path(context.artifacts["state"]))

    def predict(self, context: Any, model_input: np.ndarray, params: Any = None) -> np.ndarray:
        """Return the embeddings (n, D) float32 of uint8 images (n, C, H, W)."""
        with torch.no_grad():
            embeddings: np.ndarray = self._model(torch.from_numpy(np.asarray(model_input))).numpy()
        return embeddings
