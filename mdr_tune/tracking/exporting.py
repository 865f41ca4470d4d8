"""Find out before a launch whether the model of a trial can be exported."""

import contextlib
import io
import logging
import warnings

import torch

from mdr_tune.config.trial import TrialConfig
from mdr_tune.training.model import EmbeddingModel, ImageShape
from mdr_tune.util.words import first_line


def why_not_exported(trial: TrialConfig, image_shape: ImageShape) -> str | None:
    """Return why torch.export cannot export the model of `trial` for images of `image_shape`; None if it can.

    A model with random weights is exported in the way that MLflow does it, for batches of any size.
    """
    with torch.random.fork_rng(devices=[]):
        model = EmbeddingModel.from_config(trial, pretrained=False).eval().requires_grad_(False)
    return why_not_exportable(model, image_shape)


def why_not_exportable(model: EmbeddingModel, image_shape: ImageShape) -> str | None:
    """Return why torch.export cannot export `model`, which is on the CPU in eval mode; None if it can."""
    images = torch.zeros(2, *image_shape, dtype=torch.uint8)
    level = logging.root.manager.disable
    logging.disable(logging.ERROR)  # torch logs what it tried, and prints the graph so far
    try:
        with warnings.catch_warnings(), contextlib.redirect_stderr(io.StringIO()):
            warnings.simplefilter("ignore")
            graph = torch.export.export(model, (images,), dynamic_shapes=[{0: torch.export.Dim.AUTO}]).module()
    except Exception as error:  # torch.export raises errors of any kind
        return f"{type(error).__name__}: {first_line(error)}"
    finally:
        logging.disable(level)
    several = torch.zeros(3, *image_shape, dtype=torch.uint8)
    try:
        is_same = torch.allclose(graph(several), model(several), atol=1e-4)
    except (AssertionError, RuntimeError):
        return "its graph takes batches of 2 images, as the export had: x.shape[0] is kept open, len(x) is not"
    return None if is_same else "the graph computes other embeddings"
