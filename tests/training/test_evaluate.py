import itertools
from typing import Any

import pytest
import torch

from mdr_tune.backbones import build_backbone
from mdr_tune.config.datasets import GlyphsDataConfig
from mdr_tune.data import ImageSplit, load_dataset
from mdr_tune.metric import retrieval_metrics
from mdr_tune.training import EmbeddingModel, Ranks
from mdr_tune.training.evaluate import embed, evaluate
from tests.training.evaluate_rank import IMAGE_SIZE, RECALL_KS, make_model, make_split, make_splits
from tests.training.naive_retrieval import naive_metrics

SPLITS = list(make_splits())


@pytest.mark.parametrize("world_size", [1, 2, 3])
@pytest.mark.parametrize("name", SPLITS)
def test_equals_a_naive_loop_with_ties(by_ranks: dict[int, list[Any]], name: str, world_size: int) -> None:
    expected = naive_metrics(make_splits()[name])
    for evaluated, _ in by_ranks[world_size]:
        assert evaluated[name]["metrics"] == pytest.approx(expected, rel=1e-12, nan_ok=True)
        assert list(evaluated[name]["metrics"]) == list(expected)


@pytest.mark.parametrize("world_size", [1, 2, 3])
@pytest.mark.parametrize("name", SPLITS)
def test_every_image_is_read_once_by_one_rank(by_ranks: dict[int, list[Any]], name: str, world_size: int) -> None:
    split = make_splits()[name]
    for part, images in enumerate([split] if split.gallery is None else [split, split.gallery]):
        read = [evaluated[name]["read"][part] for evaluated, _ in by_ranks[world_size]]
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
    split = load_dataset(GlyphsDataConfig()).split("validation")
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


def test_a_batch_that_there_is_no_room_for_is_halved(monkeypatch: pytest.MonkeyPatch) -> None:
    model, split, sizes = make_model(), make_split(90, seed=2), []
    expected = evaluate(model, split, Ranks(), image_size=IMAGE_SIZE)
    forward = model.forward

    def with_little_room(images: torch.Tensor) -> torch.Tensor:
        sizes.append(len(images))
        if len(images) > 12:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return forward(images)

    monkeypatch.setattr(model, "forward", with_little_room)
    found = evaluate(model, split, Ranks(), image_size=IMAGE_SIZE, batch_size=64)
    assert found == pytest.approx(expected)
    assert sizes == [64, 32, 16, 8, *[8] * 7, 8, 8, 8, 2]


def test_the_network_computes_in_full_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    model, seen = make_model(), []
    forward = model.forward

    def look(images: torch.Tensor) -> torch.Tensor:
        seen.append((torch.backends.cudnn.conv.fp32_precision, torch.is_autocast_enabled("cpu")))
        return forward(images)

    monkeypatch.setattr(model, "forward", look)
    with torch.autocast("cpu", torch.bfloat16):
        evaluate(model, make_split(20, seed=2), Ranks(), image_size=IMAGE_SIZE)
    assert seen == [("ieee", False)]


def test_one_image_that_there_is_no_room_for_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def without_room(images: torch.Tensor) -> torch.Tensor:
        raise torch.OutOfMemoryError("CUDA out of memory")

    model = make_model()
    monkeypatch.setattr(model, "forward", without_room)
    with pytest.raises(torch.OutOfMemoryError):
        evaluate(model, make_split(90, seed=2), Ranks(), image_size=IMAGE_SIZE, batch_size=64)
