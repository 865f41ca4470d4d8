"""The hidden layers of a head, between the features of a network and the embedding layer."""

from collections.abc import Sequence
from typing import Literal

from torch import nn

Norm = Literal["layer", "batch", "none"]


def hidden_layers(feature_size: int, sizes: Sequence[int], norm: Norm, dropout: float) -> nn.Sequential:
    """Return layers for features (n, feature_size): Linear, normalisation, ReLU and Dropout for each size in `sizes`.

    `norm` chooses LayerNorm, BatchNorm or none. `dropout` is a probability; with 0, there are no Dropout layers.
    """
    norms: dict[str, type[nn.Module]] = {"layer": nn.LayerNorm, "batch": nn.BatchNorm1d}
    layers: list[nn.Module] = []
    for before, size in zip([feature_size, *sizes], sizes, strict=False):
        layers.append(nn.Linear(before, size))
        layers += [norms[norm](size)] if norm in norms else []
        layers.append(nn.ReLU())
        layers += [nn.Dropout(dropout)] if dropout else []
    return nn.Sequential(*layers)
