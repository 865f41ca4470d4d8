"""benchmarks/regularizer.py on few embeddings."""

import sys
from pathlib import Path

import pytest
import torch
from rich.console import Console

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

from regularizer_speed.measure import measure, memory_of
from regularizer_speed.steps import Problem, our_loss, their_loss
from regularizer_speed.tables import print_table, rows
from regularizer_speed.textbook import textbook_triplets

from mdr_tune.metric import negative_weights

CPU = torch.device("cpu")


def test_both_sides_compute_the_same_over_several_steps() -> None:
    problem = Problem(40)
    ours, theirs = our_loss(problem, CPU), their_loss(problem, CPU)
    embeddings = problem.embeddings(CPU)
    for _ in range(3):  # the moving averages go on
        embeddings.grad = None
        ours(embeddings).backward()
        gradient, embeddings.grad = embeddings.grad, None
        theirs(embeddings).backward()
        torch.testing.assert_close(gradient, embeddings.grad, rtol=1e-4, atol=1e-6)
        with torch.no_grad():
            embeddings.mul_(1.3)


def test_the_other_side_draws_by_the_same_weights() -> None:
    problem = Problem(12)
    embeddings, labels = 3 * problem.embeddings(CPU).detach()[:, :3], problem.labels()
    weights, _ = negative_weights(embeddings, labels)
    torch.manual_seed(0)
    drawn = torch.zeros_like(weights)
    for _ in range(2000):
        anchors, positives, negatives = textbook_triplets(embeddings, labels)
        drawn.index_put_((anchors, negatives), torch.ones(len(anchors)), accumulate=True)
    assert (labels[anchors] == labels[positives]).all()
    torch.testing.assert_close(drawn / drawn.sum(dim=1, keepdim=True), weights, rtol=0, atol=0.03)


def test_memory_is_counted_by_phase() -> None:
    embeddings = torch.ones(100, 10, requires_grad=True)  # 4,000 bytes, as its gradient

    def loss(given: torch.Tensor) -> torch.Tensor:
        large = torch.empty(5000)  # gone before the gradient comes
        return (given * 2).sum() + large.new_zeros(())

    found = memory_of(loss, embeddings)
    assert 24_000 <= found.extra == found.whole < 26_000
    assert 4_000 <= memory_of(lambda given: given.sum(), embeddings).whole < 9_000
    assert memory_of(lambda given: given.sum(), embeddings).extra < 1_000


def test_all_is_measured(capsys: pytest.CaptureFixture[str]) -> None:
    results = [measure(Problem(16), 2, CPU), measure(Problem(16, with_triplets=True), 2, CPU)]
    assert results[0].gradients_differ_by is not None
    assert results[0].gradients_differ_by < 1e-5
    assert all(min(seconds) > 0 for result in results for seconds in (*result.rounds, result.products))
    # Ours holds the gradient, and little more.
    ours, theirs = results[0].memory
    assert 16 * 512 * 4 <= ours.whole < 2 * 16 * 512 * 4
    assert theirs.whole > ours.whole
    print_table(Console(width=200), results)
    assert "MDR, forward and backward, N = 16, D = 512" in capsys.readouterr().out
    assert len(rows(results)) == 3
