"""What must be on this machine, and fit together, before the first worker starts: published weights and data sets."""

from collections.abc import Callable

from mdr_tune.config.space import section_variants
from mdr_tune.config.sweep import SweepConfig
from mdr_tune.config.trial import BackboneConfig
from mdr_tune.errors import UserError


def check_weights(sweep: SweepConfig) -> None:
    """Check what can be said of the backbones' weights without a network: names, and that files are there.

    Raises:
        UserError: Weights of no such name are published, or a file is missing.
    """
    for backbone in section_variants(sweep.trial, sweep.space, "backbone"):
        if backbone.weights not in ("none", "DEFAULT"):
            from mdr_tune.backbones import check_weights as check

            check(backbone.name, backbone.weights)


def prepare_weights(sweep: SweepConfig, stage: Callable[[str], None]) -> None:
    """Get the weights that the backbones start from onto this node, and try that they fit.

    Args:
        sweep: Whose trials may name several.
        stage: Is told of what takes a while.

    Raises:
        UserError: They cannot be had, or are of another network; the message says what to do.
    """
    for backbone in section_variants(sweep.trial, sweep.space, "backbone"):
        if backbone.pretrained:
            stage(f"looking for the weights of {backbone.name}")
            from mdr_tune.backbones import build_backbone, fetch_weights

            file = fetch_weights(backbone.name, backbone.weights)
            if file is not None and str(file) == backbone.weights:  # a file of the user's: does it fit?
                build_backbone(backbone.name, backbone.weights)


def prepare_data(sweep: SweepConfig) -> None:
    """Get the data sets onto this node; check that batches can be filled and that the backbones take the images.

    Raises:
        UserError: Something is missing or does not fit; the message names the key.
    """
    backbones = section_variants(sweep.trial, sweep.space, "backbone")
    for data in section_variants(sweep.trial, sweep.space, "data"):
        shape = _load(data.name, sweep)
        for backbone in backbones:
            _check_takes(backbone, data.name, shape)


def _load(name: str, sweep: SweepConfig) -> tuple[int, ...]:
    """Load the data set, check that it fills a batch, and return the shape of its images (C, H, W)."""
    from mdr_tune.data import BatchSampler, load_dataset

    batch = sweep.trial.batch
    try:
        train = load_dataset(name).split("train")
        BatchSampler(train.labels, batch.size, batch.images_per_class, sweep.trial.seed)
    except OSError as error:
        raise UserError(f"the data set {name} cannot be prepared: {error}") from error
    except ValueError as error:
        raise UserError(f"trial.batch: does not fit the data set {name}: {error}") from None
    return tuple(train.images.shape[1:])


def _check_takes(backbone: BackboneConfig, data: str, shape: tuple[int, ...]) -> None:
    from mdr_tune.backbones import check_takes

    try:
        check_takes(backbone.name, backbone.weights, shape)
    except ValueError as error:
        raise UserError(f"trial.backbone: {backbone.name} does not fit the data set {data}: {error}") from None
