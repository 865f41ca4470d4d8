"""A network, two losses and a miner of your own, as own_model.yaml names them. Write yours in the same forms."""

import torch
import torch.nn.functional as F  # noqa: N812
from torch import nn


class Encoder(nn.Module):
    """Images, float32 (n, 3, H, W), to maps (n, F, h, w), which are averaged. Features (n, F) would do as well."""

    mean = (0.5, 0.5, 0.5)  # the images are (pixel / 255 - mean) / std
    std = (0.25, 0.25, 0.25)

    def __init__(self, width: int, depth: int) -> None:
        super().__init__()
        sizes = [3, *(width * 2**number for number in range(depth))]
        self.blocks = nn.Sequential(
            *(self._block(sizes[number], sizes[number + 1]) for number in range(depth)),
        )

    @staticmethod
    def _block(before: int, after: int) -> nn.Module:
        return nn.Sequential(
            nn.Conv2d(before, after, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(after), nn.ReLU()
        )

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return the maps of the last block."""
        maps: torch.Tensor = self.blocks(images)
        return maps


def make_encoder(width: int = 32, depth: int = 3) -> nn.Module:
    """Return a new network. Load weights of your own here, or name a file by `backbone.weights`."""
    return Encoder(width, depth)


class SoftTriple(nn.Module):
    """Cosine softmax with several centres a class (Qian et al., ICCV 2019). The trial fills in the first two arguments.

    It compares directions only, so that the embeddings have length 1 (`embedding.mode: l2`).
    """

    def __init__(self, num_classes: int, embedding_size: int, centers: int = 5, scale: float = 20.0) -> None:
        super().__init__()
        self.shape, self.scale = (num_classes, centers), scale
        self.centers = nn.Parameter(torch.randn(embedding_size, num_classes * centers))

    def forward(self, embeddings: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Return the loss of `embeddings` (n, D) with `labels` (n,)."""
        cosines = (F.normalize(embeddings, dim=1) @ F.normalize(self.centers, dim=0)).view(-1, *self.shape)
        of_classes = (F.softmax(cosines / 0.1, dim=2) * cosines).sum(2)  # (n, classes)
        return F.cross_entropy(self.scale * of_classes, labels)


class HardPairs(nn.Module):
    """Triplet loss with a soft margin on the triplets of a miner, with pytorch-metric-learning's signature."""

    def __init__(self, margin: float = 0.5) -> None:
        super().__init__()
        self.margin = margin

    def forward(
        self, embeddings: torch.Tensor, labels: torch.Tensor, indices_tuple: tuple[torch.Tensor, ...] | None = None
    ) -> torch.Tensor:
        """Return the mean over triplets; without a miner, over each image's furthest positive and nearest negative."""
        distances = torch.cdist(embeddings, embeddings, compute_mode="donot_use_mm_for_euclid_dist")
        if indices_tuple is not None and len(indices_tuple) == 3:
            anchors, positives, negatives = indices_tuple
            gaps = distances[anchors, positives] - distances[anchors, negatives]
        else:
            same = labels[:, None] == labels
            gaps = (distances * same).amax(1) - distances.masked_fill(same, torch.inf).amin(1)
            gaps = gaps[~same.all(1)]
        return F.softplus(gaps + self.margin).sum() / max(len(gaps), 1)


class EasyPositive:
    """Each image with its nearest positive and its nearest negative (Xuan et al., WACV 2020)."""

    def __call__(self, embeddings: torch.Tensor, labels: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Return indices of anchors, positives and negatives."""
        distances = torch.cdist(embeddings, embeddings)
        same = labels[:, None] == labels
        is_positive = same.clone().fill_diagonal_(False)
        anchors = (is_positive.any(1) & ~same.all(1)).nonzero().flatten()
        positives = distances.masked_fill(~is_positive, torch.inf).argmin(1)
        negatives = distances.masked_fill(same, torch.inf).argmin(1)
        return anchors, positives[anchors], negatives[anchors]
