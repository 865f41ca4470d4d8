"""benchmarks/evaluation.py on few and short embeddings."""

import sys
from pathlib import Path

import pytest
import torch
from rich.console import Console

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

from evaluation import measure
from evaluation_speed.others import product_and_topk, recall_by_loop
from evaluation_speed.problems import CLASS_SIZES, Problem
from evaluation_speed.tables import Measured, print_table, rows

CPU = torch.device("cpu")


def test_all_sides_are_measured_and_agree(capsys: pytest.CaptureFixture[str]) -> None:
    measured = measure(Problem(3000, (1, 4), dimensions=16), 3, CPU, queries=300)
    assert measured.our_s == sorted(measured.ours)[1] > 0
    assert measured.their_s == sorted(measured.theirs)[1] * 10
    assert measured.product_s == sorted(measured.products)[1] > 0
    assert measured.difference < 1e-6
    # More than the distances of one block, which are there at once, and less than two of them and their temporaries.
    assert 4 * 3000**2 < measured.peak - measured.base < 4 * 4 * 3000**2
    assert measured.metrics["recall_at_1"] < measured.metrics["recall_at_4"]
    assert measured.metrics["tar_at_far_0.001"] < measured.metrics["tar_at_far_0.01"]
    assert measured.verify_s == sorted(measured.verified)[1] > 0
    assert measured.verify_base < measured.verify_peak
    print_table(Console(width=150), [measured])
    printed = capsys.readouterr().out
    assert "3,000 x 16, K = 1, 4" in printed
    assert "300 queries, a part" in printed


def test_the_loop_counts_hits() -> None:
    embeddings = torch.tensor([[0.0], [1.0], [2.5], [2.6], [9.0]])
    labels = torch.tensor([0, 1, 0, 1, 1])
    assert recall_by_loop(embeddings, labels, (1, 2), queries=4) == [0.0, 50.0]


def test_the_product_has_each_row_s_largest() -> None:
    embeddings = torch.randn(2100, 3, generator=torch.Generator().manual_seed(0))
    assert torch.equal(product_and_topk(embeddings, 2)[:, 0], (embeddings @ embeddings.t()).amax(dim=1))


def test_the_lines_of_make_bench() -> None:
    small = Measured(Problem(6000, (1, 2, 4, 8)), [2.0, 3.0, 2.5], [4.0, 4.0, 6.0], [2.0] * 3, 500, 0, 0, {}, 0.0)
    large = Measured(Problem(60_000, (1, 2, 4, 8)), [2.0], [4.0], [2.0], 500, 0, 2**30, {}, 0.0, [5.0], 0, 2**31 - 1)
    ratio, limit, _, memory, verification, its_memory = rows([small, large])
    assert (verification.ours, verification.is_met, its_memory.is_met) == (2.5, False, True)
    assert (ratio.ratio, ratio.is_met) == (4 * 12 / 2.5, False)
    assert (limit.ours, limit.is_met) == (1.25, True)
    assert (memory.ours, memory.is_met) == (1.0, True)
    assert memory.theirs == pytest.approx(13.4, abs=0.02)


def test_classes_are_small() -> None:
    embeddings, labels = Problem(1000, (1,), dimensions=8).make()
    sizes = torch.bincount(labels)
    assert (int(sizes[:-1].min()), int(sizes.max())) == CLASS_SIZES
    assert embeddings.norm(dim=1).sub(1).abs().max() < 1e-5
    assert torch.equal(embeddings, Problem(1000, (1,), dimensions=8).make()[0])
