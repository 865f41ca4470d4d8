import itertools
import math
from pathlib import Path
from typing import Any

import pytest
import torch

from mdr_tune.backbones import build_backbone
from mdr_tune.data import ImageSplit, load_dataset
from mdr_tune.metric import retrieval_metrics
from mdr_tune.training import EmbeddingModel, Ranks
from mdr_tune.training.evaluate import embed, evaluate
from tests.ranks import run_ranks
from tests.training.evaluate_rank import (
    IMAGE_SIZE,
    RECALL_KS,
    evaluate_splits,
    make_model,
    make_split,
    make_splits,
)

SPLITS = list(make_splits())


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> dict[int, list[Any]]:
    """What each rank saw, by the number of ranks."""
    folder = tmp_path_factory.mktemp("ranks")
    for world_size in (2, 3):
        run_ranks(Path(__file__).with_name("evaluate_rank.py"), world_size, str(folder))
    together = {w: [torch.load(folder / f"{w}_ranks_{rank}.pt") for rank in range(w)] for w in (2, 3)}
    return {1: [evaluate_splits(Ranks())], **together}


def embeddings_of(split: ImageSplit) -> list[tuple[int, ...]]:
    """Return the four pixels at the middle of 5 x 5; torchvision's CenterCrop rounds the margin of 1.5 to 2."""
    return [tuple(image.flatten().tolist()) for image in split.images.images[:, 0, 2:4, 2:4]]


def naive_metrics(split: ImageSplit) -> dict[str, float]:
    """Rank in plain integers, equal distances by index; leave out the Ks that cannot be had."""
    queries, labels = embeddings_of(split), split.labels.tolist()
    gallery = queries if split.gallery is None else embeddings_of(split.gallery)
    gallery_labels = labels if split.gallery is None else split.gallery.labels.tolist()
    recalls, average_precisions, r_precisions = {k: [] for k in (1, *RECALL_KS)}, [], []
    for i, query in enumerate(queries):
        others = [j for j in range(len(gallery)) if split.gallery is not None or j != i]
        others.sort(key=lambda j: (sum((a - b) ** 2 for a, b in zip(query, gallery[j], strict=True)), j))
        hits = [gallery_labels[j] == labels[i] for j in others]
        for k, found in recalls.items():
            if k <= len(others):
                found.append(any(hits[:k]))
        relevant = sum(hits)
        if relevant:
            average_precisions.append(sum(sum(hits[:r]) / r for r in range(1, relevant + 1) if hits[r - 1]) / relevant)
            r_precisions.append(sum(hits[:relevant]) / relevant)
    metrics = {f"recall_at_{k}": percent(found) for k, found in recalls.items() if found}
    return {**metrics, "map_at_r": percent(average_precisions), "r_precision": percent(r_precisions)}


def percent(values: list[Any]) -> float:
    return 100 * sum(values) / len(values) if values else math.nan


@pytest.mark.parametrize("world_size", [1, 2, 3])
@pytest.mark.parametrize("name", SPLITS)
def test_equals_a_naive_loop_with_ties(seen: dict[int, list[Any]], name: str, world_size: int) -> None:
    expected = naive_metrics(make_splits()[name])
    for rank in seen[world_size]:
        assert rank[name]["metrics"] == pytest.approx(expected, rel=1e-12, nan_ok=True)
        assert list(rank[name]["metrics"]) == list(expected)


@pytest.mark.parametrize("world_size", [1, 2, 3])
@pytest.mark.parametrize("name", SPLITS)
def test_every_image_is_read_once_by_one_rank(seen: dict[int, list[Any]], name: str, world_size: int) -> None:
    split = make_splits()[name]
    for part, images in enumerate([split] if split.gallery is None else [split, split.gallery]):
        read = [seen[world_size][rank][name]["read"][part] for rank in range(world_size)]
        assert list(itertools.chain(*read)) == list(range(len(images)))
        assert max(map(len, read)) - min(map(len, read)) <= 1


def test_the_ties_matter() -> None:
    """In the other order they give other numbers: the tests above would see a wrong one."""
    split = make_splits()["several batches"]
    turned = ImageSplit(type(split.images)(split.images.images.flip(0)), split.labels.flip(0))
    assert naive_metrics(turned)["recall_at_1"] != naive_metrics(split)["recall_at_1"]


def test_the_middle_of_the_images_is_what_counts() -> None:
    model, split = make_model(), make_split(40, seed=8)
    middle = ImageSplit(split.images.images[:, :, 2:4, 2:4], split.labels)
    whole = evaluate(model, middle, Ranks())
    assert whole == evaluate(model, split, Ranks(), image_size=IMAGE_SIZE)
    assert list(whole) == ["recall_at_1", "recall_at_2", "recall_at_4", "recall_at_8", "map_at_r", "r_precision"]
    with pytest.raises(ValueError, match="6 pixels"):
        evaluate(model, split, Ranks(), image_size=6)


def test_a_real_network_in_training_mode_is_evaluated_in_eval_mode() -> None:
    torch.manual_seed(0)
    split = load_dataset("glyphs").split("validation")
    part = ImageSplit(split.images[:300], split.labels[:300])
    model = EmbeddingModel(build_backbone("conv4"), 16, "l2")
    with torch.no_grad():
        model.eval()
        expected = torch.cat([model(part.images[:256]), model(part.images[256:])])
    model.train()
    embeddings = embed(model, part.images, Ranks())
    assert torch.equal(embeddings, expected)
    assert not embeddings.requires_grad
    assert model.training
    assert evaluate(model, part, Ranks(), (1, 4)) == retrieval_metrics(expected, part.labels, (1, 4))


def test_the_mode_comes_back_after_an_error() -> None:
    model = make_model().train()
    with pytest.raises(ValueError, match="pixels"):
        evaluate(model, make_split(3, seed=0), Ranks(), image_size=6)
    assert model.training


@pytest.mark.parametrize(
    ("split", "message"),
    [
        (make_split(1, seed=0), "has 1 images"),
        (make_split(0, seed=0), "has 0 images"),
        (make_split(2, seed=0, gallery=make_split(0, seed=0)), "2 queries and a gallery of 0"),
        (make_split(0, seed=0, gallery=make_split(2, seed=0)), "0 queries and a gallery of 2"),
    ],
)
def test_nothing_to_retrieve_is_an_error(split: ImageSplit, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        evaluate(make_model(), split, Ranks(), RECALL_KS, IMAGE_SIZE)
