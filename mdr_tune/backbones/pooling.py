"""Pool the maps or the tokens of a network to one feature vector for each image."""

from typing import Literal

import torch
from torch import nn

Pool = Literal["auto", "avg", "max", "avg_max", "gem", "token"]
GEM_START, GEM_EPS = 3.0, 1e-6
"""First value of the exponent p, and the least value of an activation, as in the paper on GeM."""


class Pooling(nn.Module):
    """Pool maps (n, F, h, w) or tokens (n, T, F) to features (n, F). Features (n, F) stay as they are.

    Args:
        pool: `avg`: mean; `max`: maximum; `avg_max`: mean of these two, as timm's `avgmax`; `gem`: generalised mean
            with a learned exponent p, mean(x^p)^(1/p) (Radenovic et al., Fine-tuning CNN Image Retrieval with No Human
            Annotation, TPAMI 2018); `token`: the first prefix token; `auto`: `avg`.
        prefix_tokens: number of tokens at the front, class and register tokens, that only `token` looks at.
    """

    def __init__(self, pool: Pool, prefix_tokens: int = 0) -> None:
        super().__init__()
        self.pool, self.prefix_tokens = pool, prefix_tokens
        if pool == "gem":
            self.p = nn.Parameter(torch.full((1,), GEM_START))

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Return `features` (maps, tokens or features) pooled to (n, F)."""
        if features.ndim == 2:
            return features
        if self.pool == "token":
            return features[:, 0]
        places = places_of(features, self.prefix_tokens)
        if self.pool == "max":
            return places.amax(2)
        if self.pool == "avg_max":
            return 0.5 * (places.mean(2) + places.amax(2))
        if self.pool == "gem":
            powers = places.to(self.p.dtype).clamp(min=GEM_EPS).pow(self.p)  # autocast's types overflow at x^p
            return powers.mean(2).pow(1.0 / self.p)
        return places.mean(2)


def places_of(features: torch.Tensor, prefix_tokens: int) -> torch.Tensor:
    """Return maps (n, F, h, w), or tokens (n, T, F) after the first `prefix_tokens`, as (n, F, P) for P places."""
    return features.flatten(2) if features.ndim == 4 else features[:, prefix_tokens:].transpose(1, 2)
