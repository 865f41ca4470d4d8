"""The features of photos by ResNet-18: as a trial keeps them, and by a bare forward pass over the same image cache."""

import time
from collections.abc import Sequence
from pathlib import Path

import torch
import torchvision

from mdr_tune.config.trial import TrialConfig
from mdr_tune.data import Images, ImageSplit
from mdr_tune.training import EmbeddingModel
from mdr_tune.training.frozen_backbone import fingerprint
from mdr_tune.training.frozen_features import BATCH, FrozenFeatures

TOLERANCE = 1e-4
"""Of the features, relative to the largest."""
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def bare_network(weights: Path) -> torch.nn.Module:
    """Return torchvision's network without its last layer, in the memory layout that is the faster one."""
    network: torch.nn.Module = torchvision.models.resnet18()
    network.fc = torch.nn.Identity()
    state = torch.load(weights, weights_only=True)
    own = {key.removeprefix("network."): value for key, value in state.items() if key.startswith("network.")}
    network.load_state_dict(own)
    network.to(memory_format=torch.channels_last)
    return network.eval()


@torch.inference_mode()
def bare_features(network: torch.nn.Module, images: Images, device: torch.device) -> torch.Tensor:
    """Return the features (n, F), of as many images at a time as ours."""
    mean, std = (255 * torch.tensor(values, device=device)[:, None, None] for values in (MEAN, STD))
    batches = torch.arange(len(images)).split(BATCH)
    return torch.cat([network((images[rows].to(device) - mean) / std).cpu() for rows in batches])


def measure(
    config: TrialConfig, images: Sequence[Images], weights: Path, device: torch.device
) -> tuple[list[float], list[float], float]:
    """Compute the features of each round's images in turn, after a short warm-up.

    Args:
        config: Trial whose features are kept.
        images: Images of each round; the first ones are the warm-up.
        weights: File of the network's weights.
        device: Device to compute on.

    Returns:
        Seconds of each round by ours and by the bare pass; the largest difference of features, relative to the largest.
    """
    model = EmbeddingModel.from_config(config).to(device)
    known = fingerprint(model.backbone)
    network = bare_network(weights).to(device)
    seconds: tuple[list[float], list[float]] = ([], [])
    difference = 0.0
    for number, some in enumerate(images):
        split = ImageSplit(some, torch.zeros(len(some), dtype=torch.int64))
        start = time.perf_counter()
        vectors = (
            FrozenFeatures(model, config, f"round {number}", known, None, None, lambda: None).training(split).images
        )
        between = time.perf_counter()
        bare = bare_features(network, some, device)
        if number:
            seconds[0].append(between - start)
            seconds[1].append(time.perf_counter() - between)
        ours = vectors[torch.arange(len(some))].flatten(1)
        difference = max(difference, float((ours - bare).abs().max() / bare.abs().max()))
    return *seconds, difference
