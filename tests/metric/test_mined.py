import pytest
import torch
from pytorch_metric_learning.utils import loss_and_miner_utils as lmu

from mdr_tune.metric import Pairs, Triplets
from mdr_tune.metric.mined import draw_negatives, mined_triplets

LABELS = torch.tensor([0, 1, 0, 2, 1, 0, 1, 3])


def equal(ours, theirs):
    return all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True))


@pytest.mark.parametrize("labels", [LABELS, torch.zeros(4), torch.arange(4), torch.zeros(0)])
def test_all_triplets_are_the_library_s(labels):
    assert equal(mined_triplets(None, labels), lmu.convert_to_triplets(None, labels, t_per_anchor="all"))


def test_triplets_of_pairs_are_the_library_s():
    pairs = tuple(indices[::2] for indices in lmu.get_all_pairs_indices(LABELS))
    assert equal(mined_triplets(Pairs(*pairs), LABELS), lmu.convert_to_triplets(pairs, LABELS))


def test_triplets_stay():
    triplets = Triplets(*torch.arange(9).view(3, 3), torch.zeros(()))
    assert equal(mined_triplets(triplets, LABELS), triplets[:3])


def test_negatives_are_drawn_by_the_row_of_the_anchor():
    weights = torch.tensor([[0, 1, 3, 0], [9, 9, 9, 9], [0, 0, 0, 0.5], [1, 0, 0, 0]])
    anchors = torch.tensor([0, 0, 0, 2, 3, 3])  # 1 is none, 0 is the most frequent
    generator = torch.Generator().manual_seed(0)
    drawn = torch.stack([draw_negatives(weights, anchors, generator) for _ in range(4000)])
    assert (drawn[:, 3:] == torch.tensor([3, 0, 0])).all()
    assert set(drawn[:, :3].flatten().tolist()) == {1, 2}
    shares = (drawn[:, :3] == 2).double().mean(dim=0)
    torch.testing.assert_close(shares, torch.full((3,), 0.75, dtype=torch.float64), rtol=0, atol=0.03)
    both = (drawn[:, 0] == 2) & (drawn[:, 1] == 2)
    assert abs(both.double().mean().item() - 0.75**2) < 0.03  # independently
