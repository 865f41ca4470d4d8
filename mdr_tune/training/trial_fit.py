"""Check that a trial fits its data set. An error names the key of the configuration that has to be changed."""

import contextlib
from collections.abc import Iterator

from mdr_tune.backbones import check_takes
from mdr_tune.config.trial import TrialConfig
from mdr_tune.data import BatchSampler, ImageDataset
from mdr_tune.util.errors import UserError


def check_fits(config: TrialConfig, dataset: ImageDataset) -> None:
    """Raise UserError unless the backbone of `config` takes the images of `dataset`, and its classes fill a batch.

    The message begins with the key to change.
    """
    backbone, batch = config.backbone, config.batch
    with _told_with("backbone", f"{backbone.name} does not fit the data set {dataset.name}"):
        check_takes(
            backbone.name, backbone.weights, dataset.input_shape(config.data.chosen_image_size), backbone.arguments
        )
    trained_on = dataset.with_all_training_classes() if config.protocol == "paper" else dataset
    with _told_with("batch", f"does not fit the data set {dataset.name}"):
        BatchSampler(trained_on.split("train").labels, batch.size, batch.images_per_class, config.seed)


@contextlib.contextmanager
def _told_with(key: str, what: str) -> Iterator[None]:
    try:
        yield
    except ValueError as error:
        raise UserError(f"{key}: {what}: {error}") from None
