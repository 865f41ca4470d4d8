import pytest
import torch
from pytorch_metric_learning.utils import loss_and_miner_utils as lmu

from mdr_tune.metric import BatchLabels, DistanceWeightedMiner, Pairs, Triplets
from mdr_tune.metric.mined import draw_by_cpu, draw_negatives, mined_triplets
from tests.pretended_gpu import pretended_gpu

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
    labels = BatchLabels.of(torch.tensor([0, 9, 0, 1, 0, 1]))  # the second is no anchor
    weights = torch.zeros(6, 6)
    weights[0, 1], weights[0, 3] = 1, 3
    weights[1] = 9
    weights[2, 5] = weights[4, 1] = weights[3, 0] = weights[5, 2] = 0.5
    generator = torch.Generator().manual_seed(0)
    drawn = torch.stack([draw_negatives(weights, labels, generator) for _ in range(4000)])
    assert labels.anchors.tolist() == [0, 0, 2, 2, 3, 4, 4, 5]
    assert (drawn[:, 2:] == torch.tensor([5, 5, 0, 1, 1, 2])).all()
    assert set(drawn[:, :2].flatten().tolist()) == {1, 3}
    shares = (drawn[:, :2] == 3).double().mean(dim=0)
    torch.testing.assert_close(shares, torch.full((2,), 0.75, dtype=torch.float64), rtol=0, atol=0.03)
    both = (drawn[:, 0] == 3) & (drawn[:, 1] == 3)
    assert abs(both.double().mean().item() - 0.75**2) < 0.03  # independently


@pytest.mark.parametrize("draws", [1, 2, 7])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_gpu_draws_what_the_cpu_draws(draws, dtype):
    ours, theirs = torch.Generator().manual_seed(3), torch.Generator().manual_seed(3)
    weights = torch.rand(200, 90, generator=torch.Generator().manual_seed(0), dtype=dtype).pow(8)
    weights[:, ::3] = 0
    for _ in range(5):
        drawn = draw_by_cpu(weights, draws, ours)
        assert torch.equal(drawn, torch.multinomial(weights, draws, replacement=True, generator=theirs))
        assert weights.gather(1, drawn).min() > 0
        assert torch.equal(ours.get_state(), theirs.get_state())


@pytest.mark.parametrize("draws", [1, 2])
def test_a_row_that_is_not_finite_gives_some_column(draws):
    weights = torch.full((3, 5), torch.nan)
    weights[1, 2:] = 1.0
    drawn = draw_by_cpu(weights, draws, torch.Generator())
    assert drawn.shape == (3, draws)
    assert 0 <= drawn.min() <= drawn.max() < 5


def test_a_gpu_is_not_asked_for_what_the_labels_say():
    with pretended_gpu() as gpu:
        embeddings = torch.rand(8, 3, generator=torch.Generator().manual_seed(0)).to(gpu.device)
        gpu.forget()
        triplets = DistanceWeightedMiner()(embeddings, LABELS, torch.Generator().manual_seed(0))
        every = mined_triplets(None, BatchLabels.of(LABELS).map(lambda tensor: tensor.pin_memory().to(gpu.device)))
        assert (gpu.syncs.total(), every[0].is_cuda, triplets.negatives.is_cuda) == (0, True, True)
        on_gpu = [indices.tolist() for indices in (*triplets[:3], *every)]
        embeddings = embeddings.cpu()
    triplets = DistanceWeightedMiner()(embeddings, LABELS, torch.Generator().manual_seed(0))
    assert on_gpu == [indices.tolist() for indices in (*triplets[:3], *mined_triplets(None, LABELS))]
