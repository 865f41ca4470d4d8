"""A training step of each backbone of the paper at its size, 224 x 224, as the authors train but for BatchNorm."""

import pytest
import torch

from mdr_tune.config.trial import TrialConfig
from mdr_tune.data import ImageDataset, ImageSplit
from mdr_tune.training import TrialSession


@pytest.fixture(scope="module")
def photos() -> ImageDataset:
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (12, 3, 224, 224), dtype=torch.uint8, generator=generator)
    train = ImageSplit(images, torch.arange(3).repeat_interleave(4))
    return ImageDataset("photos", {"train": train, "validation": train})


@pytest.mark.parametrize("backbone", ["bn_inception", "googlenet", "resnet18", "resnet50"])
def test_a_step_at_the_size_of_the_paper(photos: ImageDataset, backbone: str) -> None:
    config = TrialConfig.model_validate(
        {
            "backbone": {"name": backbone, "weights": "none"},
            "batch_norm": "synced",  # from scratch, frozen statistics let all images look alike
            "embedding": {"size": 512, "mode": "rescale"},
            "batch": {"size": 8, "images_per_class": 4},
            "optimizer": {"learning_rate": 5e-5},
            "mdr": {"weight": 0.6},
            "iterations_per_epoch": 1,
        }
    )
    session = TrialSession(config, photos)
    before = {name: parameter.detach().clone() for name, parameter in session.model.named_parameters()}
    metrics = session.train_epoch()
    assert metrics["train/mdr_loss"] > 0
    assert metrics["mdr/mean"] == pytest.approx(7 / 8, rel=1e-3)  # rescaled to 1, the zeros of the diagonal counted
    unmoved = [name for name, parameter in session.model.named_parameters() if torch.equal(parameter, before[name])]
    assert unmoved == []
    assert session.evaluate("validation")["val/recall_at_1"] >= 0
