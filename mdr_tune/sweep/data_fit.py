"""Check that the backbones, batches and metrics of a sweep fit its data sets, before any image is decoded.

torch is imported only if a backbone needs it, so that a sweep file is checked quickly.
"""

import math
from collections.abc import Iterator

from mdr_tune.backbones import check_takes
from mdr_tune.config.datasets import DataConfig
from mdr_tune.config.space import section_variants
from mdr_tune.config.sweep import SweepConfig
from mdr_tune.data.outline import DatasetOutline, SplitOutline, largest_batch, why_unfillable
from mdr_tune.records.metrics import metric_label
from mdr_tune.records.objectives import rank_of
from mdr_tune.util.words import count

_USUAL_SIZE = 512
"""Size of embeddings that have as many numbers as the network has features, for a rough estimate."""
_KMEANS_PASSES = 30
"""Usual number of iterations of k-means, rounded up."""
_OPERATIONS_PER_S = 2e10
"""Additions and multiplications that one core does in a second, in a matrix product of float32."""


def backbone_problems(sweep: SweepConfig, data: DataConfig) -> list[str]:
    """Return a message for each backbone of `sweep` that cannot take images of `data`; it begins with `backbone:`."""
    problems = []
    for backbone in section_variants(sweep.trial, sweep.space, "backbone"):
        try:
            check_takes(backbone.name, backbone.weights, data.input_shape, backbone.arguments)
        except ValueError as error:
            problems.append(f"backbone: {backbone.name} does not fit the data set {data.name}: {error}")
    return problems


def size_problems(sweep: SweepConfig, outline: DatasetOutline) -> list[str]:
    """Return a message for each batch or metric of `sweep` that needs more images than the data set of `outline` has.

    Each message begins with the key that causes the problem, such as `batch:`.
    """
    sizes = _training_class_sizes(sweep, outline)
    problems = []
    for batch in section_variants(sweep.trial, sweep.space, "batch"):
        if why := why_unfillable(sizes, batch.size, batch.images_per_class):
            most = largest_batch(sizes, batch.images_per_class)
            is_searched = any(key.split(".")[0] == "batch" for key in sweep.space)
            works = most >= 2 * batch.images_per_class and not is_searched
            fix = f". For a first try add --set trial.batch.size={most}" if works else ""
            problems.append(f"batch: does not fit the data set {outline.name}: {why}{fix}")
    return [*problems, *_metric_problems(sweep, outline), *_verification_problems(sweep, outline)]


def _training_class_sizes(sweep: SweepConfig, outline: DatasetOutline) -> tuple[int, ...]:
    joined = outline.validation.class_sizes if sweep.trial.protocol == "paper" else ()
    return outline.train.class_sizes + joined


def _metric_problems(sweep: SweepConfig, outline: DatasetOutline) -> Iterator[str]:
    for key, metric in (("metric", sweep.metric), ("second_metric", sweep.second_metric or "")):
        rank = rank_of(metric)
        name, split = ("test", outline.test) if metric.startswith("curves/") else ("validation", outline.validation)
        more = "take fewer folds (search.folds)" if sweep.search.folds else f"hold out more classes (data.{name})"
        if rank is not None and rank > split.num_retrievable:
            yield (
                f"{key}: {metric} needs {rank} images to retrieve, but the {name} classes of {outline.name} have "
                f"{split.num_retrievable}: choose a smaller rank, or {more}"
            )


def _verification_problems(sweep: SweepConfig, outline: DatasetOutline) -> Iterator[str]:
    """Yield a message for each split whose images make no pair of one class, or no pair of different classes."""
    splits = {"test": outline.test}
    if sweep.trial.protocol == "validation":
        splits["validation"] = outline.validation
    for name, split in splits.items() if sweep.trial.metrics.verification is not None else ():
        if split.pairs or split.gallery is not None:  # checked with the list; queries have something to retrieve
            continue
        kind = "of one class" if max(split.class_sizes) < 2 else "of different classes" * (len(split.class_sizes) < 2)
        if kind:
            yield (
                f"metrics.verification: the {name} classes of {outline.name} have no pair of images {kind}, and TAR at "
                f"FAR needs both kinds: hold out more classes (data.{name})"
            )


def size_notes(sweep: SweepConfig, data: DataConfig, outline: DatasetOutline) -> list[str]:
    """Return notes on values in `sweep` and `data`, such as `recall_ks`, that ask for more images than there are.

    `outline` has the sizes of the data set's classes.
    """
    sizes, notes = _training_class_sizes(sweep, outline), []
    for batch in section_variants(sweep.trial, sweep.space, "batch"):
        smaller = sum(size < batch.images_per_class for size in sizes)
        if smaller:
            notes.append(
                f"trial.batch: images_per_class is {batch.images_per_class}, but {smaller:,} of {len(sizes):,} "
                f"training classes of {outline.name} have fewer images (the smallest {min(sizes)}): they give all they "
                "have, and a batch has more classes"
            )
    sizes_of_embeddings = [one.size or _USUAL_SIZE for one in section_variants(sweep.trial, sweep.space, "embedding")]
    splits = {"test": outline.test}
    if sweep.trial.protocol == "validation":
        splits["validation"] = outline.validation
    for name, split in splits.items():
        if left_out := [k for k in data.recall_ks if k > split.num_retrievable]:
            notes.append(
                f"trial.data: Recall@{', '.join(map(str, left_out))} is not measured on the {name} classes of "
                f"{outline.name}, where a query has {count(split.num_retrievable, 'image')} to retrieve"
            )
        chosen = sweep.trial.metrics
        if beyond := [metric for metric in chosen.of_queries() if (rank_of(metric) or 0) > split.num_retrievable]:
            notes.append(
                f"trial.metrics: {', '.join(map(metric_label, beyond))} is not measured on the {name} classes of "
                f"{outline.name}, where a query has {count(split.num_retrievable, 'image')} to retrieve"
            )
        minutes = _kmeans_minutes(split, max(sizes_of_embeddings))
        if chosen.nmi and minutes >= 1:
            notes.append(
                f"trial.metrics: nmi clusters {sum(split.class_sizes):,} embeddings of the {name} classes into "
                f"{len(split.class_sizes):,} clusters at each evaluation, some {minutes:,.0f} minutes on one core"
            )
        if split.pairs is not None and chosen.verification is not None:
            compared = count(split.pairs, "listed pair") if split.pairs else "no pair is listed, and all"
            notes.append(f"trial.data.pairs: of the {name} classes, {compared} are compared")
    if outline.test.pairs is not None and sweep.trial.metrics.verification is None:
        notes.append("trial.data.pairs: not used without trial.metrics.verification")
    return list(dict.fromkeys(notes))


def _kmeans_minutes(split: SplitOutline, dimensions: int) -> float:
    """Return how many minutes k-means takes on one core, roughly, for embeddings of `dimensions` numbers."""
    classes = len(split.class_sizes)
    passes = _KMEANS_PASSES + math.log(max(classes, 1))  # k-means++ tries 2 + log(C) candidates for each centre
    return 2 * sum(split.class_sizes) * classes * dimensions * passes / _OPERATIONS_PER_S / 60
