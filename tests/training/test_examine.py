"""What is found for each query: equal to the evaluation in its sums, and to plain loops query by query."""

from typing import Any

import numpy as np
import pytest
import torch

from mdr_tune.config.datasets import GlyphsDataConfig
from mdr_tune.config.trial import TrialConfig
from mdr_tune.data import load_dataset, read_test_split
from mdr_tune.data.dataset import ImageSplit
from mdr_tune.metric import QueryScores, shard_slice
from mdr_tune.training import Ranks, TrialSession
from mdr_tune.training.evaluate import embed, evaluate
from mdr_tune.training.examine import NEIGHBOURS, best_and_worst, class_centres, examine
from tests.data.few_letters import few_letters, few_test_letters
from tests.training.evaluate_rank import ARRAYS, METRICS, make_splits
from tests.training.naive_retrieval import NaiveQuery, embeddings_of, naive_further, naive_ks, naive_queries


@pytest.fixture(scope="module")
def session() -> TrialSession:
    tree = {"batch": {"size": 32}, "iterations_per_epoch": 4, "embedding": {"size": 16}}
    session = TrialSession(TrialConfig.model_validate(tree), load_dataset(GlyphsDataConfig()))
    session.train_epoch()
    return session


def test_the_metrics_are_those_of_the_evaluation_and_follow_from_the_queries(session: TrialSession) -> None:
    split = read_test_split(GlyphsDataConfig())
    metrics, details = session.examine_test(split)
    assert metrics == session.evaluate_test(split)
    for key, value in metrics.items():
        assert np.nanmean(details.per_query(key.removeprefix("test/"))) == pytest.approx(value, abs=1e-9)


def test_each_query_has_the_ranks_that_a_loop_finds(session: TrialSession) -> None:
    whole = read_test_split(GlyphsDataConfig())
    split = ImageSplit(whole.images[:48], whole.labels[:48])
    _, details = examine(session.model, split, Ranks())
    embeddings = embed(session.model, split.images, Ranks()).double()
    labels = split.labels.tolist()
    for i in range(48):
        others = sorted((j for j in range(48) if j != i), key=lambda j: float((embeddings[i] - embeddings[j]).norm()))
        hits = [labels[j] == labels[i] for j in others]
        relevant = sum(hits)
        precisions = [sum(hits[: k + 1]) / (k + 1) for k in range(relevant) if hits[k]]
        rank = hits.index(True) + 1
        assert details.first_hit[i] == (rank if rank <= 11 else 0)  # R = 11 are looked at
        assert details.average_precision[i] == pytest.approx(sum(precisions) / relevant)
        assert details.r_precision[i] == pytest.approx(sum(hits[:relevant]) / relevant)
    for shown in details.shown:
        query = shown.index
        others = sorted(
            (j for j in range(48) if j != query), key=lambda j: float((embeddings[query] - embeddings[j]).norm())
        )
        assert np.array_equal(shown.image.pixels, split.images[shown.index].numpy())
        assert [n.label for n in shown.neighbours] == [labels[j] for j in others[: len(shown.neighbours)]]


def looked_at(queries: list[NaiveQuery]) -> int:
    """Return how many of the nearest items of each query are looked at, whichever rank scores it."""
    ks = [k for k in (*METRICS.map_at, *METRICS.precision_at) if k <= len(queries[0].others)]
    return max(*naive_ks(queries), *ks, *(query.relevant for query in queries))


@pytest.mark.parametrize("world_size", [1, 2, 3])
@pytest.mark.parametrize("name", list(make_splits()))
def test_each_rank_has_all_queries_in_the_order_of_the_split(
    by_ranks: dict[int, list[Any]], name: str, world_size: int
) -> None:
    split = make_splits()[name]
    queries = naive_queries(split)
    labels, pixels = split.labels, torch.tensor(embeddings_of(split), dtype=torch.float32)
    classes = sorted(set(labels.tolist()))
    expected = {
        "labels": labels,
        "first_hit": torch.tensor([query.first_hit(looked_at(queries)) for query in queries]),
        "average_precision": torch.tensor([query.average_precision for query in queries], dtype=torch.float64),
        "r_precision": torch.tensor([query.r_precision for query in queries], dtype=torch.float64),
        "centre_labels": torch.tensor(classes),
        "centres": torch.stack([pixels[labels == label].mean(dim=0) for label in classes]),
    }
    assert list(expected) == list(ARRAYS)
    for evaluated, examined in by_ranks[world_size]:
        for array, values in expected.items():
            rtol = 1e-6 if array == "centres" else 1e-12  # float32, float64
            torch.testing.assert_close(examined[name][array], values, rtol=rtol, atol=0, equal_nan=True)
        for metric, values in naive_further(split).items():
            wanted = torch.tensor(values, dtype=torch.float64)
            torch.testing.assert_close(examined[name]["further"][metric], wanted, rtol=1e-12, atol=0, equal_nan=True)
        assert repr(examined[name]["metrics"]) == repr(evaluated[name]["metrics"])  # NaN as well


@pytest.mark.parametrize("world_size", [1, 2, 3])
@pytest.mark.parametrize("name", list(make_splits()))
def test_the_first_rank_shows_the_queries_and_their_neighbours(
    by_ranks: dict[int, list[Any]], name: str, world_size: int
) -> None:
    (_, alone), *_ = by_ranks[1]
    (_, first), *others = by_ranks[world_size]
    assert repr(first[name]["shown"]) == repr(alone[name]["shown"])
    assert [examined[name]["shown"] for _, examined in others] == [[]] * (world_size - 1)
    split = make_splits()[name]
    gallery, queries = split.gallery or split, naive_queries(split)
    pixels, gallery_pixels = embeddings_of(split), embeddings_of(gallery)
    for _, index, score, images in first[name]["shown"]:
        nearest = queries[index].others[: min(NEIGHBOURS, looked_at(queries))]
        assert score == pytest.approx(queries[index].average_precision)
        assert images[0] == (int(split.labels[index]), list(pixels[index]))
        assert images[1:] == [(int(gallery.labels[item]), list(gallery_pixels[item])) for item in nearest]


@pytest.mark.parametrize("name", ["each other", "several batches", "query and gallery"])
def test_the_order_of_the_ranks_matters(name: str) -> None:
    """What the second rank found, before what the first did, is not the same: the tests above would see it."""
    found = [query.first_hit(100) for query in naive_queries(make_splits()[name])]
    first = shard_slice(len(found), 2, 0).stop
    assert found[first:] + found[:first] != found


def test_queries_with_a_gallery(session: TrialSession) -> None:
    whole = read_test_split(GlyphsDataConfig())
    split = ImageSplit(whole.images[:24:2], whole.labels[:24:2], ImageSplit(whole.images[1:24:2], whole.labels[1:24:2]))
    metrics, details = examine(session.model, split, Ranks())
    assert metrics == evaluate(session.model, split, Ranks())
    assert len(details.first_hit) == 12
    assert np.nanmean(details.per_query("recall_at_1")) == pytest.approx(metrics["recall_at_1"])


def test_class_centres_are_means() -> None:
    embeddings, labels = torch.randn(9, 4), torch.tensor([7, 2, 2, 9, 7, 7, 2, 9, 9])
    found, centres = class_centres(embeddings, labels)
    assert found.tolist() == [2, 7, 9]
    for label, centre in zip(found, centres, strict=True):
        torch.testing.assert_close(centre, embeddings[labels == label].mean(dim=0))


def test_the_best_and_the_worst_are_of_different_classes_and_have_something_to_retrieve() -> None:
    precision = torch.tensor([1.0, 1.0, 0.5, 0.0, 0.0, torch.nan, 0.25, 0.0], dtype=torch.float64)
    first_hit = torch.tensor([1, 1, 1, 0, 9, 0, 2, 0])
    labels = torch.tensor([0, 0, 1, 2, 3, 4, 5, 2])
    scores = QueryScores(first_hit, precision, precision, torch.zeros(8, 0), torch.zeros(8, 1, dtype=torch.int64))
    assert best_and_worst(scores, labels, most=3) == ([0, 2, 6], [3, 4])  # not 6 again, nor 1, which is better


def test_large_pictures_are_made_small() -> None:
    images = torch.arange(3 * 200 * 200).remainder(256).to(torch.uint8).view(1, 3, 200, 200)
    from mdr_tune.training.examine import THUMBNAIL, _pictures

    (shown,) = _pictures(images, torch.tensor([5]), torch.tensor([0]), image_size=180)
    assert (shown.label, shown.pixels.shape, shown.pixels.dtype) == (5, (3, THUMBNAIL, THUMBNAIL), np.uint8)


def test_the_threshold_of_the_validation_classes_is_tried_on_the_test_classes() -> None:
    tree = {
        "batch": {"size": 8, "images_per_class": 2},
        "iterations_per_epoch": 1,
        "metrics": {"verification": {"far": [0.1]}},
    }
    session = TrialSession(TrialConfig.model_validate(tree), few_letters())
    test = few_test_letters()
    threshold = session.evaluate("validation")["val/threshold_at_far_1e-1"]
    metrics, _ = session.examine_test(test)
    embeddings = embed(session.model, test.images, Ranks()).double()
    rows, columns = torch.triu_indices(len(test), len(test), 1)
    accepted = (embeddings[rows] - embeddings[columns]).norm(dim=1) < threshold
    same = test.labels[rows] == test.labels[columns]
    expected = [100 * float(accepted[kind].double().mean()) for kind in (same, ~same)]
    found = [metrics[f"test/{rate}_at_val_threshold_1e-1"] for rate in ("tar", "far")]
    assert found == pytest.approx(expected)
    assert metrics == session.evaluate_test(test)
