"""State dicts with the names and shapes of the authors' models, filled with numbers that any program can compute.

Their names are made from ours; that this gives theirs is what the numbers of tests/training/test_official.py say, since
the name decides what a tensor is filled with.
"""

import functools
import math
import zlib

import torch

from mdr_tune.backbones import build_backbone

FEATURE_SIZES = {"bn_inception": 1024, "resnet18": 512, "resnet50": 2048}


def fill(key: str, shape: tuple[int, ...]) -> torch.Tensor:
    """Return the numbers of a tensor; uniform, from a generator that is seeded with the CRC-32 of its name."""
    generator = torch.Generator().manual_seed(zlib.crc32(key.encode()))
    uniform = torch.rand(shape, generator=generator)  # in [0, 1)
    if key.endswith("num_batches_tracked"):
        return torch.tensor(1000)
    if len(shape) > 1:  # convolutions and linear layers, as He et al. initialise
        return (2 * uniform - 1) * math.sqrt(6 / math.prod(shape[1:]))
    if key.endswith(("running_var", ".weight")):
        return 0.5 + uniform
    return 0.2 * uniform - 0.1


def official_shapes(backbone: str, embedding_size: int) -> dict[str, tuple[int, ...]]:
    """Return the tensors of their model, by name."""
    ours = {key: tuple(tensor.shape) for key, tensor in build_backbone(backbone).state_dict().items()}
    if backbone == "bn_inception":
        shapes = {f"base.model.{key}": shape for key, shape in ours.items()}
        shapes |= {"base.model.last_linear.weight": (1000, 1024), "base.model.last_linear.bias": (1000,)}
    else:
        shapes = {f"base.{key.removeprefix('network.')}": shape for key, shape in ours.items()}
    head = {"linear.weight": (embedding_size, FEATURE_SIZES[backbone]), "linear.bias": (embedding_size,)}
    return shapes | head


@functools.cache
def _filled(backbone: str, embedding_size: int) -> dict[str, torch.Tensor]:
    return {key: fill(key, shape) for key, shape in official_shapes(backbone, embedding_size).items()}


def official_state(backbone: str, embedding_size: int = 8) -> dict[str, torch.Tensor]:
    """Return the state dict of their model, filled; a new dictionary, whose tensors are to be left as they are."""
    return dict(_filled(backbone, embedding_size))


def example_image() -> torch.Tensor:
    """Return one uint8 RGB image, (1, 3, 224, 224), of coloured noise."""
    generator = torch.Generator().manual_seed(224)
    return (256 * torch.rand(1, 3, 224, 224, generator=generator)).to(torch.uint8)
