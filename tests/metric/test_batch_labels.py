import pytest
import torch

from mdr_tune.metric import BatchLabels
from mdr_tune.metric.batch_labels import class_ids, known_labels

LABELS = torch.tensor([0, 1, 0, 2, 1, 0, 1, 3])


@pytest.mark.parametrize(
    "labels",
    [
        LABELS,
        torch.zeros(4),  # one class, of floats
        torch.arange(4),  # no pairs
        torch.zeros(0, dtype=torch.int64),
        torch.tensor([7]),
        torch.randint(9, (60,), generator=torch.Generator().manual_seed(0)),
        torch.arange(40) // 2,
    ],
)
def test_it_is_what_a_naive_loop_finds(labels: torch.Tensor) -> None:
    ids = labels.tolist()
    pairs = [(a, p) for a in range(len(ids)) for p in range(len(ids)) if a != p and ids[a] == ids[p]]
    anchors = [a for a, _ in pairs]
    known = BatchLabels.of(labels)
    assert list(zip(known.anchors.tolist(), known.positives.tolist(), strict=True)) == pairs
    assert known.rows.tolist() == sorted(set(anchors))
    assert known.draws == max((anchors.count(a) for a in anchors), default=0)
    assert known.num_triplets == sum(other != ids[a] for a in anchors for other in ids)
    assert len(known) == len(ids)
    assert torch.equal(known.values, labels)


def test_each_pair_has_a_draw_of_its_anchor_to_itself() -> None:
    known = BatchLabels.of(LABELS)
    draws = torch.arange(len(known.rows) * known.draws).view(len(known.rows), known.draws)
    chosen = draws.flatten()[known.slots]
    assert len(set(chosen.tolist())) == len(known.anchors)
    assert torch.equal(known.rows[chosen // known.draws], known.anchors)


def test_a_tensor_and_what_is_known_of_it_are_both_taken() -> None:
    known = BatchLabels.of(LABELS)
    assert known_labels(known, LABELS.device) is known
    assert torch.equal(known_labels(LABELS, LABELS.device).slots, known.slots)
    assert class_ids(known) is class_ids(LABELS)


def test_what_stays_on_the_cpu_is_not_changed() -> None:
    changed = BatchLabels.of(LABELS).map(lambda tensor: tensor + 1)
    assert torch.equal(changed.on_cpu, LABELS)
    assert torch.equal(changed.values, LABELS + 1)
    assert changed.rows.tolist() == [1, 2, 3, 5, 6, 7]
