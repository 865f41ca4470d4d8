"""Retrieval of the splits of evaluate_rank.py in plain integers, query by query."""

import itertools
import math
import warnings
from collections import Counter
from typing import Any, NamedTuple

import torch
from sklearn.cluster import KMeans

from mdr_tune.data import ImageSplit
from tests.training.evaluate_rank import METRICS, RECALL_KS, THRESHOLDS


class NaiveQuery(NamedTuple):
    """One query: what it can retrieve, the nearest first, whether that is of its class, and how much of it is."""

    others: list[int]
    hits: list[bool]
    relevant: int

    @property
    def average_precision(self) -> float:
        if not self.relevant:
            return math.nan
        hits = self.hits[: self.relevant]
        return sum(sum(hits[:r]) / r for r, hit in enumerate(hits, 1) if hit) / self.relevant

    @property
    def r_precision(self) -> float:
        return sum(self.hits[: self.relevant]) / self.relevant if self.relevant else math.nan

    def average_precision_at(self, k: int) -> float:
        if not self.relevant:
            return math.nan
        hits = self.hits[:k]
        return sum(sum(hits[:r]) / r for r, hit in enumerate(hits, 1) if hit) / min(k, self.relevant)

    def first_hit(self, depth: int) -> int:
        """Return the rank of the first hit among the `depth` nearest, from 1; 0 if there is none."""
        hits = self.hits[:depth]
        return hits.index(True) + 1 if any(hits) else 0


def embeddings_of(split: ImageSplit) -> list[tuple[int, ...]]:
    """Return the four pixels at the middle of 5 x 5; torchvision's CenterCrop rounds the margin of 1.5 to 2."""
    return [tuple(image.flatten().tolist()) for image in split.images.images[:, 0, 2:4, 2:4]]


def naive_queries(split: ImageSplit) -> list[NaiveQuery]:
    """Rank for each query, equal distances by index."""
    queries, labels = embeddings_of(split), split.labels.tolist()
    gallery = queries if split.gallery is None else embeddings_of(split.gallery)
    gallery_labels = labels if split.gallery is None else split.gallery.labels.tolist()
    found = []
    for i, query in enumerate(queries):
        others = [j for j in range(len(gallery)) if split.gallery is not None or j != i]
        others.sort(key=lambda j: (sum((a - b) ** 2 for a, b in zip(query, gallery[j], strict=True)), j))
        hits = [gallery_labels[j] == labels[i] for j in others]
        found.append(NaiveQuery(others, hits, sum(hits)))
    return found


def naive_ks(queries: list[NaiveQuery]) -> list[int]:
    """Return the Ks that can be had."""
    return [k for k in (1, *RECALL_KS) if k <= len(queries[0].others)]


def naive_metrics(split: ImageSplit) -> dict[str, float]:
    """Return the metrics in percent, queries without anything to retrieve left out of the precisions."""
    queries = naive_queries(split)
    recalls = {f"recall_at_{k}": percent([any(query.hits[:k]) for query in queries]) for k in naive_ks(queries)}
    with_relevant = [query for query in queries if query.relevant]
    average_precision = percent([query.average_precision for query in with_relevant])
    r_precision = percent([query.r_precision for query in with_relevant])
    further = {
        name: percent([value for value in values if not math.isnan(value)])
        for name, values in naive_further(split).items()
    }
    return {
        **recalls,
        "map_at_r": average_precision,
        "r_precision": r_precision,
        **further,
        "nmi": naive_nmi(torch.tensor(embeddings_of(split)), split.labels),
        **naive_verification(split),
    }


def naive_pairs(split: ImageSplit) -> list[tuple[int, bool]]:
    """Return the squared distance of each pair, and whether it is of one class."""
    pixels, labels = embeddings_of(split), split.labels.tolist()
    places = [(i, j) for i in range(len(pixels)) for j in range(i)]
    if split.gallery is not None:
        places = [(i, len(pixels) + j) for i in range(len(pixels)) for j in range(len(split.gallery))]
        pixels, labels = pixels + embeddings_of(split.gallery), labels + split.gallery.labels.tolist()
    if split.pairs is not None:
        places = split.pairs.indices.tolist()
    distances = [sum((a - b) ** 2 for a, b in zip(pixels[i], pixels[j], strict=True)) for i, j in places]
    return [(distance, labels[i] == labels[j]) for distance, (i, j) in zip(distances, places, strict=True)]


def naive_verification(split: ImageSplit) -> dict[str, float]:
    """Return TAR at FAR by trying every distance, EER on the straight lines between these, and rates at THRESHOLDS."""
    pairs = naive_pairs(split)
    kinds = {kind: [distance for distance, same in pairs if same == kind] for kind in (False, True)}

    def accepted(limit: float) -> tuple[float, float]:
        return tuple(sum(d < limit for d in kinds[k]) / len(kinds[k]) if kinds[k] else math.nan for k in (False, True))

    fars = METRICS.verification.far
    has_both = bool(kinds[False]) and bool(kinds[True])
    limits = [*sorted({distance for distance, _ in pairs}), math.inf]
    chosen = {far: max((t for t in limits if accepted(t)[0] <= far), default=math.nan) for far in fars}
    chosen = chosen if has_both else dict.fromkeys(fars, math.nan)
    found = {f"tar_at_far_{far:.0e}".replace("e-0", "e-"): 100 * accepted(chosen[far])[1] for far in fars}
    found = found if has_both else dict.fromkeys(found, math.nan)
    found["eer"] = math.nan
    points = [accepted(t) for t in limits]
    for (far, tar), (next_far, next_tar) in itertools.pairwise(points) if has_both else ():
        if far < 1 - tar and next_far >= 1 - next_tar:
            share = (1 - tar - far) / ((1 - tar - far) + (next_far - 1 + next_tar))
            found["eer"] = 100 * (far + share * (next_far - far))
    found |= {f"threshold_at_far_{far:.0e}".replace("e-0", "e-"): math.sqrt(chosen[far]) for far in fars}
    for far, limit in zip(fars, THRESHOLDS, strict=True):
        rates = accepted(limit) if has_both else (math.nan, math.nan)
        found[f"tar_at_val_threshold_{far:.0e}".replace("e-0", "e-")] = 100 * rates[1]
        found[f"far_at_val_threshold_{far:.0e}".replace("e-0", "e-")] = 100 * rates[0]
    return found


def naive_further(split: ImageSplit) -> dict[str, list[float]]:
    """Return each further metric of METRICS that can be had: its value of each query, from 0 to 1."""
    queries = naive_queries(split)
    found: dict[str, list[float]] = {}
    for k in (k for k in METRICS.map_at if k <= len(queries[0].others)):
        found[f"map_at_{k}"] = [query.average_precision_at(k) for query in queries]
    for k in (k for k in METRICS.precision_at if k <= len(queries[0].others)):
        found[f"precision_at_{k}"] = [sum(query.hits[:k]) / k for query in queries]
    found["mrr"] = [1 / (query.hits.index(True) + 1) if any(query.hits) else 0.0 for query in queries]
    return found


def naive_nmi(embeddings: torch.Tensor, labels: torch.Tensor) -> float:
    """Return twice the mutual information over the sum of the entropies, in percent, of the clusters of k-means."""
    classes = labels.tolist()
    kmeans = KMeans(len(set(classes)), n_init=1, random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        clusters = kmeans.fit_predict(embeddings.float().numpy()).tolist()

    def entropy(values: list[Any]) -> float:
        shares = [count / len(values) for count in Counter(values).values()]
        return -sum(share * math.log(share) for share in shares)

    total = entropy(classes) + entropy(clusters)
    return 200 * (total - entropy(list(zip(classes, clusters, strict=True)))) / total if total else 100.0


def percent(values: list[Any]) -> float:
    return 100 * sum(values) / len(values) if values else math.nan
