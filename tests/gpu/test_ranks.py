"""Two ranks that share a GPU, over gloo (NCCL wants one for each), compute what one rank computes there."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.ranks import run_ranks
from tests.training import trial_rank
from tests.training.test_exact_ddp import TRIALS

NAMES = ("mdr-rescale", "proxies-adamw-cosine-clipped", "chunks-sgd", "library-loss-that-draws")

pytestmark = pytest.mark.gpu


@pytest.fixture(scope="module")
def seen(device: torch.device, tmp_path_factory: pytest.TempPathFactory) -> dict[int, list[Any]]:
    """What each rank saw, by the number of ranks."""
    folder = tmp_path_factory.mktemp("ranks")
    (folder / "trials.json").write_text(json.dumps({name: TRIALS[name] for name in NAMES}))
    for world_size in (1, 2):
        run_ranks(Path(trial_rank.__file__), world_size, str(folder), str(device))
    files = {w: [folder / f"{w}_ranks_{rank}.pt" for rank in range(w)] for w in (1, 2)}
    return {w: [torch.load(file, map_location="cpu") for file in files[w]] for w in files}


@pytest.mark.parametrize("trial", NAMES)
def test_two_ranks_compute_what_one_computes(seen: dict[int, list[Any]], trial: str) -> None:
    for step, (one, many) in enumerate(zip(seen[1][0][trial], seen[2][0][trial], strict=True)):
        # A GPU's sums differ from run to run; Adam's first steps have one size however near to 0 a gradient is.
        torch.testing.assert_close(many, one, rtol=1e-6, atol=1e-7, msg=lambda text, step=step: f"step {step}: {text}")


@pytest.mark.parametrize("trial", NAMES)
def test_what_the_ranks_share_is_equal_to_the_last_bit(seen: dict[int, list[Any]], trial: str) -> None:
    for one, other in zip(seen[2][0][trial], seen[2][1][trial], strict=True):
        torch.testing.assert_close(other["model"], one["model"], rtol=0, atol=0)
        torch.testing.assert_close(other["objective"], one["objective"], rtol=0, atol=0)


def test_evaluation_is_the_same(seen: dict[int, list[Any]]) -> None:
    for rank in seen[2]:
        assert rank["validation"] == pytest.approx(seen[1][0]["validation"], abs=1e-9)
