import math

import pytest
import torch
from pytorch_metric_learning.distances import LpDistance
from pytorch_metric_learning.utils.accuracy_calculator import AccuracyCalculator
from pytorch_metric_learning.utils.inference import CustomKNN

from mdr_tune.metric import examine_queries, metrics_from_sums, retrieval_metrics, score_queries


def batch(count, classes, seed=0, dimensions=5):
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(classes, (count,), generator=generator)
    centres = torch.rand(classes, dimensions, generator=generator)
    return centres[labels] + 0.5 * torch.rand(count, dimensions, generator=generator), labels


def noise(count, dimensions):
    """Classes that no distance tells apart: MAP@R depends on the exact order of a third of the items."""
    generator = torch.Generator().manual_seed(0)
    return torch.randn(count, dimensions, generator=generator), torch.randint(3, (count,), generator=generator)


def naive_metrics(queries, labels, ks, gallery, gallery_labels, excludes_self):
    recalls, average_precisions, r_precisions = {k: [] for k in ks}, [], []
    for i, query in enumerate(queries.tolist()):
        others = [j for j in range(len(gallery)) if not (excludes_self and j == i)]
        others.sort(key=lambda j: sum((a - b) ** 2 for a, b in zip(query, gallery[j].tolist(), strict=True)))
        hits = [bool(gallery_labels[j] == labels[i]) for j in others]
        for k in ks:
            recalls[k].append(any(hits[:k]))
        relevant = sum(hits)
        if relevant:
            precisions = [sum(hits[: r + 1]) / (r + 1) for r in range(relevant) if hits[r]]
            average_precisions.append(sum(precisions) / relevant)
            r_precisions.append(sum(hits[:relevant]) / relevant)
    metrics = {f"recall_at_{k}": 100 * sum(found) / len(found) for k, found in recalls.items()}
    metrics["map_at_r"] = 100 * sum(average_precisions) / len(average_precisions)
    metrics["r_precision"] = 100 * sum(r_precisions) / len(r_precisions)
    return metrics


@pytest.mark.parametrize("block_size", [None, 1, 7, 40, 100])
def test_equals_a_naive_loop(block_size):
    embeddings, labels = batch(40, 6)
    labels[3] = 99  # alone in its class
    expected = naive_metrics(embeddings, labels, (1, 2, 5), embeddings, labels, True)
    metrics = retrieval_metrics(embeddings, labels, ks=(1, 2, 5), block_size=block_size)
    assert metrics == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("block_size", [None, 4])
def test_equals_a_naive_loop_with_a_gallery(block_size):
    queries, labels = batch(15, 6, seed=1)
    gallery, gallery_labels = batch(25, 5, seed=2)
    expected = naive_metrics(queries, labels, (1, 4), gallery, gallery_labels, False)
    metrics = retrieval_metrics(queries, labels, (1, 4), gallery, gallery_labels, block_size)
    assert metrics == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("with_gallery", [False, True])
@pytest.mark.parametrize("offset", [0, 1000])
@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64])
def test_equals_a_naive_loop_with_ties(dtype, offset, with_gallery):
    """Whole numbers, whose mean is none: the distances must stay exact when it is subtracted."""
    generator = torch.Generator().manual_seed(4)
    items = torch.randint(3, (61, 4), generator=generator).to(dtype) + offset
    labels = torch.randint(5, (61,), generator=generator)
    others = (items[41:], labels[41:]) if with_gallery else (items, labels)
    queries, query_labels = (items[:41], labels[:41]) if with_gallery else (items, labels)
    expected = naive_metrics(queries, query_labels, (1, 2, 5), *others, not with_gallery)
    gallery = others if with_gallery else (None, None)
    metrics = retrieval_metrics(queries, query_labels, (1, 2, 5), *gallery)
    assert metrics == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("with_gallery", [False, True])
def test_equals_pytorch_metric_learning(with_gallery):
    queries, labels = batch(60, 8, seed=3)
    labels[5] = 99  # alone in its class
    calculator = AccuracyCalculator(
        include=(
            "precision_at_1",
            "r_precision",
            "mean_average_precision_at_r",
            "mean_average_precision",
            "mean_reciprocal_rank",
        ),
        k=59,  # all items without a gallery: there their mean average precision is ours
        device=torch.device("cpu"),
        knn_func=CustomKNN(LpDistance(normalize_embeddings=False)),
    )
    if with_gallery:
        gallery, gallery_labels = batch(80, 8, seed=3)
        theirs = calculator.get_accuracy(queries, labels, gallery, gallery_labels)
        ours = retrieval_metrics(queries, labels, (1,), gallery, gallery_labels)
    else:
        theirs = calculator.get_accuracy(queries, labels)
        ours = retrieval_metrics(queries, labels, (1,), further=("map_at_59", "precision_at_1", "mrr"))
        assert ours["map_at_59"] == pytest.approx(100 * theirs["mean_average_precision"], rel=1e-5)
        assert ours["mrr"] * 60 == pytest.approx(100 * theirs["mean_reciprocal_rank"] * 59, rel=1e-5)
        assert ours["precision_at_1"] == ours["recall_at_1"]
    assert ours["map_at_r"] == pytest.approx(100 * theirs["mean_average_precision_at_r"], rel=1e-5)
    assert ours["r_precision"] == pytest.approx(100 * theirs["r_precision"], rel=1e-5)
    # They leave queries without relevant items out of precision at 1, too.
    assert ours["recall_at_1"] * 60 == pytest.approx(100 * theirs["precision_at_1"] * 59, rel=1e-5)


def test_slices_of_queries_add_up():
    embeddings, labels = batch(30, 5)
    total = score_queries(embeddings, labels, (1, 3))
    parts = [score_queries(embeddings, labels, (1, 3), rows=rows) for rows in (slice(0, 11), slice(11, 30))]
    torch.testing.assert_close(parts[0] + parts[1], total)
    assert total[-1] == 30
    assert not score_queries(embeddings, labels, (1, 3), rows=slice(4, 4)).any()
    assert metrics_from_sums(total, (1, 3)) == retrieval_metrics(embeddings, labels, (1, 3))


def test_a_duplicate_of_the_query_counts():
    embeddings = torch.tensor([[0.0], [0.0], [5.0], [5.0]])
    metrics = retrieval_metrics(embeddings, torch.tensor([0, 0, 1, 1]), ks=(1,))
    assert metrics == {"recall_at_1": 100.0, "map_at_r": 100.0, "r_precision": 100.0}


def test_a_common_offset_does_not_matter():
    embeddings, labels = batch(40, 6)
    assert retrieval_metrics(embeddings + 1000, labels) == pytest.approx(retrieval_metrics(embeddings, labels))


def test_a_coordinate_that_is_the_same_for_all_does_not_matter():
    embeddings, labels = batch(40, 6)
    expected = retrieval_metrics(1e-4 * embeddings, labels)
    embeddings = torch.cat([1e-4 * embeddings, torch.full((40, 1), 7.3)], dim=1)
    assert retrieval_metrics(embeddings, labels) == pytest.approx(expected)


def test_half_precision_is_compared_in_float32():
    embeddings, labels = noise(300, dimensions=64)
    half = embeddings.half()
    assert retrieval_metrics(half, labels) == retrieval_metrics(half.float(), labels)


def test_double_precision_stays():
    embeddings = torch.tensor([[0.0], [1.0 + 1e-12], [1.0]], dtype=torch.float64)  # equal in float32: item 1 would win
    labels = torch.tensor([0, 1, 0])
    assert score_queries(embeddings, labels, (1,), rows=slice(0, 1))[0] == 1
    assert score_queries(embeddings.float(), labels, (1,), rows=slice(0, 1))[0] == 0


def test_the_settings_of_the_networks_do_not_matter():
    embeddings, labels = noise(400, dimensions=256)
    expected = score_queries(embeddings, labels)
    torch.set_float32_matmul_precision("medium")
    try:
        with torch.autocast("cpu", torch.bfloat16):
            scored = score_queries(embeddings.requires_grad_(), labels)
    finally:
        torch.set_float32_matmul_precision("highest")
    assert torch.equal(scored, expected)
    assert not scored.requires_grad


def test_no_relevant_items_at_all():
    metrics = retrieval_metrics(torch.rand(4, 2), torch.arange(4), ks=(1,))
    assert metrics["recall_at_1"] == 0
    assert math.isnan(metrics["map_at_r"])
    assert math.isnan(metrics["r_precision"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"ks": (1, 4)}, "there are 3: use smaller ks"),
        ({"ks": ()}, "from 1 on"),
        ({"ks": (0,)}, "from 1 on"),
        ({"ks": (1,), "block_size": 0}, "block_size"),
        ({"ks": (1,), "gallery": torch.rand(3, 2)}, "together"),
        ({"ks": (1,), "gallery": torch.rand(3, 5), "gallery_labels": torch.zeros(3)}, "2-dimensional"),
        ({"ks": (1,), "labels": torch.zeros(3)}, "one for each embedding"),
        ({"ks": (1,), "embeddings": torch.full((4, 2), torch.nan)}, "not finite"),
        ({"ks": (1,), "embeddings": torch.tensor([[0.0, 1], [2, torch.inf], [3, 4], [5, 6]])}, "not finite"),
        ({"ks": (1,), "embeddings": torch.tensor([[0.0, 1], [2, 1e20], [3, 4], [5, 6]])}, "too large"),
        ({"ks": (1,), "gallery": torch.rand(0, 2), "gallery_labels": torch.zeros(0)}, "there are 0"),
        ({"ks": (1,), "embeddings": torch.rand(1, 2), "labels": torch.zeros(1)}, "there are 0"),
    ],
)
def test_wrong_arguments_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        retrieval_metrics(**{"embeddings": torch.rand(4, 2), "labels": torch.zeros(4), **arguments})


def test_wrong_rows_and_sums_are_refused():
    with pytest.raises(ValueError, match="step 1"):
        score_queries(torch.rand(4, 2), torch.zeros(4), (1,), rows=slice(0, 4, 2))
    with pytest.raises(ValueError, match="must have shape"):
        metrics_from_sums(torch.zeros(3), (1,))


@pytest.mark.parametrize("neighbours", [2, 6])
def test_slices_of_queries_put_together_are_all_queries(neighbours):
    """Also where one slice has the largest class, or no query: each looks at as many items."""
    embeddings, _ = noise(12, 2)
    labels = torch.tensor([0, 1, 1, 0, 2, 2, 2, 2, 2, 2, 2, 3])
    _, whole = examine_queries(embeddings, labels, (1, 3), neighbours=neighbours)
    slices = [slice(0, 4), slice(4, 4), slice(4, 12)]
    parts = [examine_queries(embeddings, labels, (1, 3), rows, neighbours=neighbours)[1] for rows in slices]
    for column, expected in zip(map(torch.cat, zip(*parts, strict=True)), whole, strict=True):
        torch.testing.assert_close(column, expected, rtol=1e-12, atol=0, equal_nan=True)


@pytest.mark.parametrize("dimensions", [2, 256])
def test_the_first_hit_is_found_however_far_it_is(dimensions):
    """Also where many items are as near, so that rounding hides the order, and where a query is one of its items."""
    embeddings, _ = noise(400, dimensions)
    embeddings[1::2] = embeddings[::2]
    labels = torch.arange(200).repeat(2)
    labels[7] = 999
    distances = torch.cdist(embeddings.double(), embeddings.double(), compute_mode="donot_use_mm_for_euclid_dist")
    distances.fill_diagonal_(torch.inf)
    order = distances.sort(dim=1, stable=True).indices
    hits = labels[order] == labels[:, None]
    expected = torch.where(hits.any(dim=1), 1 / (hits.int().argmax(dim=1) + 1).double(), 0.0)
    expected[(hits.int().argmax(dim=1) == 399)] = 0  # itself
    sums, scores = examine_queries(embeddings, labels, (1,), further=("mrr",), block_size=90)
    torch.testing.assert_close(scores.further[:, 0], expected, rtol=1e-12, atol=0)
    assert float(score_queries(embeddings, labels, (1,), further=("mrr",))[-1]) == pytest.approx(float(sums[-1]))


def test_an_unknown_metric_is_refused():
    with pytest.raises(ValueError, match="unknown metric 'map_at_r'; there are map_at_K, precision_at_K and mrr"):
        retrieval_metrics(torch.rand(4, 2), torch.zeros(4), (1,), further=("map_at_r",))
