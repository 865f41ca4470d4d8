import pytest
import torch
from pytorch_metric_learning.utils import loss_and_miner_utils as lmu

from mdr_tune.metric import Pairs, Triplets
from mdr_tune.metric.mined import mined_triplets

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
