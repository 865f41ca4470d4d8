"""What each rank of one, two and three makes of the same splits: the processes start once for all tests."""

from pathlib import Path
from typing import Any

import pytest
import torch

from mdr_tune.training import Ranks
from tests.ranks import run_ranks
from tests.training.evaluate_rank import evaluate_splits, examine_splits


@pytest.fixture(scope="session")
def by_ranks(tmp_path_factory: pytest.TempPathFactory) -> dict[int, list[Any]]:
    """By the number of ranks, for each of them: what `evaluate_splits` returned, and what `examine_splits`."""
    folder = tmp_path_factory.mktemp("ranks")
    for world_size in (2, 3):
        run_ranks(Path(__file__).with_name("evaluate_rank.py"), world_size, str(folder))
    together = {w: [torch.load(folder / f"{w}_ranks_{rank}.pt") for rank in range(w)] for w in (2, 3)}
    return {1: [(evaluate_splits(Ranks()), examine_splits(Ranks()))], **together}
