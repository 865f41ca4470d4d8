"""benchmarks/evaluation.py on few and short embeddings; a loop of the tests stands for the authors', which none has."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from rich.console import Console

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

from evaluation import main, measure
from evaluation_speed.authors import load_recall
from evaluation_speed.problems import CLASS_SIZES, Problem
from evaluation_speed.tables import Measured, print_table

CPU = torch.device("cpu")

QUERY_BY_QUERY = """
import torch

def recall(embeddings, labels, K):
    nearest = []
    for number, query in enumerate(embeddings):
        distances = (query.unsqueeze(0) - embeddings).abs().pow(2).sum(1)
        distances[number] = float("inf")
        nearest.append(distances.argsort()[:max(K)])
    hits = labels[torch.stack(nearest)] == labels.unsqueeze(1)
    assert len(hits) == len(labels)
    return [100 * hits[:, :k].any(1).double().mean().item() for k in K]
"""


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with a utils/common.py, as the authors' has one."""
    (tmp_path / "utils").mkdir()
    (tmp_path / "utils" / "common.py").write_text(QUERY_BY_QUERY)
    monkeypatch.setattr(sys, "path", list(sys.path))
    before = {name: sys.modules.pop(name) for name in ("utils", "utils.common") if name in sys.modules}
    yield tmp_path
    for name in ("utils", "utils.common"):
        sys.modules.pop(name, None)
    sys.modules.update(before)


def test_our_side_is_measured(capsys: pytest.CaptureFixture[str]) -> None:
    measured = measure(Problem(3000, (1, 4), dimensions=16), 3, CPU, recall=None, queries=1)
    assert measured.our_s == sorted(measured.ours)[1] > 0
    assert measured.theirs == []
    # More than the distances of one block, which are there at once, and less than two of them and their temporaries.
    assert 4 * 3000**2 < measured.peak - measured.base < 4 * 4 * 3000**2
    assert measured.metrics["recall_at_1"] < measured.metrics["recall_at_4"]
    print_table(Console(width=150), [measured])
    printed = capsys.readouterr().out
    assert "3,000 x 16, K = 1, 4" in printed
    assert "give a checkout of it with --authors DIR" in printed


def test_their_side_gets_some_of_many_queries(checkout: Path, capsys: pytest.CaptureFixture[str]) -> None:
    problem = Problem(1500, (1, 2), dimensions=4)
    measured = measure(problem, 1, CPU, load_recall(checkout), queries=300)
    assert measured.queries == 300
    assert measured.their_s == pytest.approx(measured.theirs[0] * 1500 / 300)
    assert measured.difference == pytest.approx(0, abs=1e-9)
    print_table(Console(width=150), [measured])
    assert "300 queries, a part" in capsys.readouterr().out


def test_a_difference_is_seen(checkout: Path) -> None:
    recall = load_recall(checkout)
    problem = Problem(50, (1, 2), dimensions=4)
    measured = measure(problem, 1, CPU, lambda *given: [value + 2 for value in recall(*given)], queries=300)
    assert measured.queries == 50
    assert measured.difference == pytest.approx(2)


def test_the_ratio_is_of_all_queries() -> None:
    measured = Measured(Problem(60_000, (1,)), [2.0, 3.0, 2.5], [5.0, 4.0, 6.0], 500, 0, 0, {}, 0.0)
    assert measured.their_s / measured.our_s == 240


def test_classes_are_small() -> None:
    embeddings, labels = Problem(1000, (1,), dimensions=8).make()
    sizes = torch.bincount(labels)
    assert (int(sizes[:-1].min()), int(sizes.max())) == CLASS_SIZES
    assert embeddings.norm(dim=1).sub(1).abs().max() < 1e-5
    assert torch.equal(embeddings, Problem(1000, (1,), dimensions=8).make()[0])


def test_a_folder_without_the_authors_code_is_refused(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["--authors", str(tmp_path)]) == 2
    assert "no checkout of AAAI2021_MDR" in capsys.readouterr().err
