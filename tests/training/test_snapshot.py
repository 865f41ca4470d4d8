"""Normalised distances, shares of the levels and histograms, beside loops over pairs."""

import itertools

import pytest
import torch

from mdr_tune.config.datasets import GlyphsDataConfig
from mdr_tune.config.trial import TrialConfig
from mdr_tune.data import load_dataset
from mdr_tune.metric import MDRLoss, apply_embedding_mode
from mdr_tune.records.distance_snapshot import BINS, HIGH, LOW, DistanceSnapshot
from mdr_tune.training import TrialSession
from mdr_tune.training.snapshot import held_shares, normalized_distances, snapshot_epochs, take_snapshot


def batch() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(12, 5, generator=generator), torch.arange(12) % 4


@pytest.mark.parametrize("mode", ["rescale", "l2", "none"])
def test_without_mdr_the_batch_normalises(mode: str) -> None:
    embeddings, labels = batch()
    z, same = normalized_distances(embeddings, labels, mode, None)  # type: ignore[arg-type]
    seen = apply_embedding_mode(embeddings, mode).double()  # type: ignore[arg-type]
    matrix = torch.tensor([[float((a - b).norm()) for b in seen] for a in seen], dtype=torch.float64)
    pairs = list(itertools.combinations(range(12), 2))
    wanted = [(float(matrix[i, j]) - float(matrix.mean())) / float(matrix.std()) for i, j in pairs]
    torch.testing.assert_close(z, torch.tensor(wanted, dtype=torch.float64))
    assert same.tolist() == [int(labels[i]) == int(labels[j]) for i, j in pairs]


def test_with_mdr_its_moving_averages_normalise_and_its_loss_is_the_mean_distance_to_the_nearest_level() -> None:
    embeddings, labels = batch()
    mdr = MDRLoss((-1.0, 0.5, 2.0)).double()
    loss = mdr(apply_embedding_mode(embeddings.double(), "rescale"))
    z, _ = normalized_distances(embeddings.double(), labels, "rescale", mdr)
    nearest = (z[:, None] - mdr.levels.detach()).abs().amin(dim=1)
    torch.testing.assert_close(nearest.mean(), loss.detach())


def test_a_pair_is_held_by_the_nearest_level_in_whatever_order_they_are() -> None:
    z = torch.tensor([-5.0, -1.6, -1.4, 0.0, 1.4, 9.0], dtype=torch.float64)
    assert held_shares(z, torch.tensor([3.0, -3.0, 0.0])) == pytest.approx([1 / 6, 2 / 6, 3 / 6])
    assert held_shares(z, torch.tensor([0.7])) == [1.0]


def test_histograms_count_each_pair_once_and_what_lies_beyond_in_the_outermost_bins() -> None:
    z = torch.tensor([LOW - 3, LOW, 0.0, HIGH - 1e-9, HIGH + 7], dtype=torch.float64)
    same = torch.tensor([True, False, False, True, False])
    found = take_snapshot(4, z, same, None)
    assert (found.epoch, found.levels, found.held) == (4, None, None)
    assert [(i, n) for i, n in enumerate(found.same) if n] == [(0, 1), (BINS - 1, 1)]
    assert [(i, n) for i, n in enumerate(found.different) if n] == [(0, 1), (BINS // 2, 1), (BINS - 1, 1)]
    assert DistanceSnapshot.from_dict(found.as_dict()) == found


@pytest.mark.parametrize(("epochs", "wanted"), [(1, (1,)), (2, (1, 2)), (5, (1, 3, 5)), (100, (1, 50, 100))])
def test_it_is_taken_early_mid_and_at_the_end(epochs: int, wanted: tuple[int, ...]) -> None:
    assert snapshot_epochs(epochs) == wanted


@pytest.mark.parametrize("mdr", [None, {"weight": 0.1, "levels": [-3, 0, 3]}])
def test_a_session_takes_it_at_these_epochs(mdr: object) -> None:
    tree = {"batch": {"size": 16}, "iterations_per_epoch": 1, "epochs": 4, "mdr": mdr}
    session = TrialSession(TrialConfig.model_validate(tree), load_dataset(GlyphsDataConfig()))
    taken = []
    for _ in range(4):
        metrics = session.train_epoch()
        held = [value for key, value in metrics.items() if key.startswith("mdr/held_")]
        assert sum(held) == pytest.approx(0.0 if mdr is None else 1.0)
        if session.snapshot is not None:
            assert sum(session.snapshot.same) + sum(session.snapshot.different) == 16 * 15 / 2
            assert (session.snapshot.held or []) == held
            taken.append(session.snapshot.epoch)
    assert taken == [1, 2, 4]
