"""Find out before a launch if the user's network can be exported, and if several workers compute what one computes."""

import logging
import warnings
from collections.abc import Iterator

import torch

from mdr_tune.config.trial import TrialConfig
from mdr_tune.training.model import EmbeddingModel, ImageShape
from mdr_tune.training.own_draws import drawing_layers, unsynced_layers
from mdr_tune.util.words import first_line


def network_notes(trial: TrialConfig, image_shape: ImageShape) -> Iterator[str]:
    """Yield notes on `trial`'s network: layers whose results depend on the number of workers, and a failed export."""
    name = trial.backbone.name
    if layers := drawing_layers(trial, image_shape):
        yield (
            f"{name}: {', '.join(layers)} draws random numbers that differ from worker to worker, so that several "
            "workers do not compute what one does; nn.Dropout would draw for the global batch"
        )
    if (layers := unsynced_layers(trial)) and not trial.freezes_batch_norm:
        yield (
            f"{name}: {', '.join(layers)} takes the statistics of each worker's own images, so that several workers do "
            "not compute what one does; set batch_norm: frozen, or use BatchNorm1d or 2d"
        )
    if why := why_not_exported(trial, image_shape):
        yield (
            f"{name}: torch.export cannot export it ({why}). The registered champion will need your code: "
            "mdr-tune embed --model URI --code DIR"
        )


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
    logging.disable(logging.ERROR)  # torch logs what it tried
    try:
        with warnings.catch_warnings():
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
