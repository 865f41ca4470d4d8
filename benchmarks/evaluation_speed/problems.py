"""What is evaluated: random embeddings in small classes, as of the Stanford Online Products."""

from dataclasses import dataclass

import torch
from torch.nn import functional

DIMENSIONS = 512
CLASS_SIZES = (2, 8)
"""Least and most images of a class, 5 on average (Stanford Online Products: 5.3)."""
SPREAD = 2.5
"""Length of an embedding's noise over that of its class's centre; with 3, some nine in ten miss a neighbour or more."""


@dataclass(frozen=True)
class Problem:
    """One row of the table."""

    count: int
    ks: tuple[int, ...]
    dimensions: int = DIMENSIONS

    @property
    def name(self) -> str:
        return f"{self.count:,} x {self.dimensions}, K = {', '.join(map(str, self.ks))}"

    def make(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Return embeddings (N, D) on the unit sphere and their labels (N,); the same at each call."""
        generator = torch.Generator().manual_seed(0)
        least, most = CLASS_SIZES
        sizes = torch.randint(least, most + 1, (self.count // least,), generator=generator)
        labels = torch.arange(len(sizes)).repeat_interleave(sizes)[: self.count]
        centres = torch.randn(len(sizes), self.dimensions, generator=generator)
        embeddings = torch.randn(self.count, self.dimensions, generator=generator).mul_(SPREAD).add_(centres[labels])
        return functional.normalize(embeddings, out=embeddings), labels
