from collections import Counter

import pytest
import torch

from mdr_tune.data import BatchSampler

UNEVEN_LABELS = torch.tensor([5, 0, 5, 2, 2, 2, 2, 9, 0, 5, 5, 5, 2, 9, 9, 9, 7])  # class 7 has one image


def check_by_the_rule(batch: list[int], labels: list[int], batch_size: int, images_per_class: int) -> None:
    """Read a batch from the front, as the authors' loop fills it."""
    class_sizes = Counter(labels)
    assert len(batch) == batch_size
    assert len(set(batch)) == batch_size, "an image twice"
    position, seen = 0, set()
    while position < batch_size:
        label = labels[batch[position]]
        assert label not in seen, "a class twice"
        seen.add(label)
        take = min(images_per_class, class_sizes[label], batch_size - position)
        assert [labels[image] for image in batch[position : position + take]] == [label] * take
        position += take


@pytest.mark.parametrize(("batch_size", "images_per_class"), [(1, 2), (5, 2), (7, 2), (8, 3), (13, 4), (17, 9)])
def test_every_batch_follows_the_rule(batch_size: int, images_per_class: int) -> None:
    sampler = BatchSampler(UNEVEN_LABELS, batch_size, images_per_class, seed=3)
    for batch in sampler.epoch_batches(epoch=0, num_batches=100):
        check_by_the_rule(batch.tolist(), UNEVEN_LABELS.tolist(), batch_size, images_per_class)


def test_every_image_and_every_class_comes_equally_often() -> None:
    labels = torch.arange(6).repeat_interleave(5)
    batches = BatchSampler(labels, batch_size=8, images_per_class=4, seed=0).epoch_batches(0, 3000)
    counts = torch.bincount(batches.flatten(), minlength=len(labels)).float()
    expected = batches.numel() / len(labels)  # 800; the standard deviation is about 24
    assert (counts - expected).abs().max() < 5 * 24


def test_pairs_within_a_class_come_equally_often() -> None:
    labels = torch.zeros(4, dtype=torch.int64)
    batches = BatchSampler(labels, batch_size=2, images_per_class=2, seed=0).epoch_batches(0, 6000)
    counts = Counter(tuple(sorted(batch)) for batch in batches.tolist())
    assert len(counts) == 6
    assert all(abs(count - 1000) < 5 * 29 for count in counts.values())


def test_batches_depend_on_seed_and_epoch_only() -> None:
    def draw(seed: int, epoch: int, num_batches: int = 4) -> torch.Tensor:
        return BatchSampler(UNEVEN_LABELS, 8, 3, seed).epoch_batches(epoch, num_batches)

    used = BatchSampler(UNEVEN_LABELS, 8, 3, seed=1)
    used.epoch_batches(0, 7)
    assert torch.equal(used.epoch_batches(2, 4), draw(1, 2))
    assert torch.equal(draw(1, 2, num_batches=2), draw(1, 2)[:2])
    assert not torch.equal(draw(1, 2), draw(1, 3))
    assert not torch.equal(draw(1, 2), draw(2, 2))


def test_global_random_state_is_left_alone() -> None:
    state = torch.get_rng_state()
    BatchSampler(UNEVEN_LABELS, 8, 3, seed=1).epoch_batches(0, 3)
    assert torch.equal(torch.get_rng_state(), state)


def test_no_batches_is_an_empty_tensor() -> None:
    batches = BatchSampler(UNEVEN_LABELS, 8, 3, seed=0).epoch_batches(0, 0)
    assert (batches.shape, batches.dtype) == ((0, 8), torch.int64)


@pytest.mark.parametrize(
    ("labels", "batch_size", "images_per_class", "message"),
    [
        (UNEVEN_LABELS, 10, 2, "cannot fill a batch of 10: lower batch.size, or raise batch.images_per_class where"),
        (UNEVEN_LABELS, 8, 1, "images_per_class must be at least 2"),
        (UNEVEN_LABELS, 0, 2, "batch_size must be positive"),
        (UNEVEN_LABELS[None], 8, 2, "labels must be"),
        (UNEVEN_LABELS.float(), 8, 2, "labels must be"),
        (UNEVEN_LABELS[:0], 8, 2, "0 classes"),
    ],
)
def test_what_cannot_work_is_an_error(
    labels: torch.Tensor, batch_size: int, images_per_class: int, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        BatchSampler(labels, batch_size, images_per_class, seed=0)


def test_negative_epoch_is_an_error() -> None:
    with pytest.raises(ValueError, match="must not be negative"):
        BatchSampler(UNEVEN_LABELS, 8, 3, seed=0).epoch_batches(-1, 1)
