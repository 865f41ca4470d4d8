"""Losses, a miner and networks as a user may write them, which tests name by import paths."""

import random
from typing import Literal

import torch
import torch.nn.functional as F  # noqa: N812
from pytorch_metric_learning import losses
from torch import nn

LOSSES = ("tests.own_components:SoftTriple", "tests.own_components:Pairwise", "tests.own_components:Circle")
NETWORKS = ("tests.own_components:Maps", "tests.own_components:Tokens", "tests.own_components:make_features")


class SoftTriple(nn.Module):
    """Several centres a class (Qian et al., ICCV 2019), from (embeddings, labels)."""

    def __init__(self, num_classes: int, embedding_size: int, centers: int = 2, gamma: float = 0.1) -> None:
        super().__init__()
        self.shape, self.gamma = (num_classes, centers), gamma
        self.centers = nn.Parameter(torch.randn(embedding_size, num_classes * centers))

    def forward(self, embeddings: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        cosines = F.normalize(embeddings, dim=1) @ F.normalize(self.centers, dim=0)
        cosines = cosines.view(-1, *self.shape)
        return F.cross_entropy(20 * (F.softmax(cosines / self.gamma, dim=2) * cosines).sum(2), labels)


class Pairwise(nn.Module):
    """Squared distances of a random half of the pairs, from (embeddings, labels, indices_tuple)."""

    def __init__(self, margin: float = 0.5, norm: Literal["mean", "sum"] = "mean", *, keep: float | None = 0.5) -> None:
        super().__init__()
        self.margin, self.norm, self.keep = margin, norm, keep

    def forward(self, embeddings, labels, indices_tuple=None):
        squares = (embeddings[:, None] - embeddings).pow(2).sum(2)
        same = labels[:, None] == labels
        weights = torch.ones_like(squares)
        if indices_tuple is not None and len(indices_tuple) == 3:
            weights = torch.zeros_like(squares)
            weights[indices_tuple[0], indices_tuple[1]] = 1
            weights[indices_tuple[0], indices_tuple[2]] = 1
        if self.keep is not None:
            weights = weights * (torch.rand(squares.shape) < self.keep)
        terms = weights * torch.where(same, squares, (self.margin - squares).clamp(min=0))
        return terms.mean() if self.norm == "mean" else terms.sum()


class Circle(losses.CircleLoss):
    """A class of pytorch-metric-learning with a default of its own."""

    def __init__(self, m: float = 0.3, **kwargs) -> None:
        super().__init__(m=m, **kwargs)


class EasyPositive:
    """Each anchor with its nearest positive and its nearest negative, as pytorch-metric-learning's miners do."""

    def __init__(self, use_hardest: bool = False) -> None:
        self.use_hardest = use_hardest

    def __call__(self, embeddings, labels):
        distances = torch.cdist(embeddings, embeddings)
        same = labels[:, None] == labels
        is_positive = same & ~torch.eye(len(labels), dtype=torch.bool)
        positives = distances.masked_fill(~is_positive, torch.inf).argmin(1)
        negatives = distances.masked_fill(same, torch.inf).argmin(1)
        anchors = (is_positive.any(1) & ~same.all(1)).nonzero().flatten()
        return anchors, positives[anchors], negatives[anchors]


class Maps(nn.Module):
    """A convolutional network with BatchNorm and dropout, which gives maps (n, F, h, w)."""

    mean, std = (0.5, 0.4, 0.3), [0.25, 0.25, 0.25]

    def __init__(self, width: int = 8) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(3, width, 3, stride=2, bias=False), nn.BatchNorm2d(width), nn.ReLU(), nn.Dropout(0.2)
        )

    def forward(self, images):
        return self.layers(images)


class Tokens(nn.Module):
    """A transformer that mixes tokens by their mean, which gives a class token and one token a patch, (n, 1 + T, F)."""

    num_prefix_tokens = 1

    def __init__(self, width: int = 8) -> None:
        super().__init__()
        self.patches, self.first = nn.Conv2d(3, width, 8, 8), nn.Parameter(torch.randn(1, 1, width))
        self.block = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, width), nn.GELU(), nn.Dropout(0.1))

    def forward(self, images):
        tokens = self.patches(images).flatten(2).transpose(1, 2)
        tokens = torch.cat([self.first.expand(tokens.shape[0], -1, -1), tokens], 1)
        return tokens + self.block(tokens) + tokens.mean(1, keepdim=True)


class FromFile(nn.Module):
    """A network whose weights are a plain tensor from a file, which its state dict does not have."""

    def __init__(self, file: str) -> None:
        super().__init__()
        self.weights = torch.load(file)

    def forward(self, images):
        return F.adaptive_avg_pool2d(images, 4).flatten(1) @ self.weights


def make_features(width: int = 8) -> nn.Module:
    """Return a network that gives features (n, F)."""
    return nn.Sequential(nn.Conv2d(3, width, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())


def make_dynamic(width: int = 8) -> nn.Module:
    """Return a network that torch.export cannot export."""
    return _Dynamic(width)


class _Dynamic(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.layers = make_features(width)

    def forward(self, images):
        features = self.layers(images)
        return features if features.sum().item() >= 0 else features * 2


class Noisy(nn.Module):
    """A network with a module that draws from torch's global generator."""

    def __init__(self) -> None:
        super().__init__()
        self.layers, self.noise = make_features(), Noise()

    def forward(self, images):
        return self.noise(self.layers(images))


class Noise(nn.Module):
    """Adds noise in training."""

    def forward(self, features):
        return features + torch.randn_like(features) if self.training else features


class Classifier(nn.Module):
    """A network with a classifier that takes no part in its features, and a layer that half of the steps leave out."""

    def __init__(self, width: int = 8) -> None:
        super().__init__()
        self.layers, self.more, self.classifier = make_features(width), nn.Linear(width, width), nn.Linear(width, 10)

    def forward(self, images):
        features = self.layers(images)
        return features if self.training and torch.rand(()) < 0.5 else features + self.more(features)


class SkipsByPython(nn.Module):
    """A network that cannot be made without memory, whose layer skips by Python's random numbers."""

    def __init__(self, width: int = 8) -> None:
        super().__init__()
        self.scale = float(torch.ones(1).numpy()[0])
        self.layers, self.skip = make_features(width), Skip()

    def forward(self, images):
        return self.skip(self.layers(images) * self.scale)


class Skip(nn.Module):
    """Doubles or not, in training."""

    def forward(self, features):
        return features * 2 if self.training and random.random() < 0.5 else features


class Drops(nn.Module):
    """A network of torch's layers that drop something, and a function of torch that does; it gives features (n, F)."""

    def __init__(self, width: int = 8, p: float = 0.2) -> None:
        super().__init__()
        self.p = p
        self.maps = nn.Sequential(nn.Conv2d(3, width, 3), nn.RReLU(), nn.Dropout2d(p), nn.FractionalMaxPool2d(2, 8))
        self.patches = nn.Sequential(nn.Conv2d(width, width, 2, 2), nn.Flatten(2), nn.Dropout1d(p))
        self.block = nn.TransformerEncoderLayer(width, 2, width, p, batch_first=True)
        self.attention = nn.MultiheadAttention(width, 2, p)
        self.recurrent = nn.LSTM(width, width, 2, dropout=p)
        self.last = nn.Sequential(nn.FeatureAlphaDropout(p), nn.AlphaDropout(p))

    def forward(self, images):
        tokens = self.block(self.patches(self.maps(images)).transpose(1, 2))
        tokens = tokens + F.scaled_dot_product_attention(tokens, tokens, tokens, dropout_p=self.p * self.training)
        rows = tokens.transpose(0, 1)
        rows = rows + self.attention(rows, rows, rows)[0]
        outputs, _ = self.recurrent(rows)
        return self.last(outputs[-1])


class Sized(nn.Sequential):
    """A network that takes images of one size only, which it says."""

    image_size = 40

    def __init__(self) -> None:
        super().__init__(nn.Flatten(), nn.Linear(3 * 40 * 40, 4))
