"""Ranks on GPUs compute what one rank computes: two over gloo that share a GPU, and one for each GPU over NCCL."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.ranks import run_ranks
from tests.training import trial_rank
from tests.training.test_exact_ddp import TRIALS as ALL_TRIALS

NAMES = ("mdr-rescale", "proxies-adamw-cosine-clipped", "chunks-sgd", "library-loss-that-draws")
TRIALS = {
    **{name: ALL_TRIALS[name] for name in NAMES},
    "shares-that-differ": {**ALL_TRIALS["mdr-rescale"], "batch": {"size": 21, "images_per_class": 3}},
}
MOST_RANKS = 4

pytestmark = pytest.mark.gpu


@pytest.fixture(scope="module", params=["gloo", "nccl"])
def seen(
    request: pytest.FixtureRequest, device: torch.device, tmp_path_factory: pytest.TempPathFactory
) -> list[list[dict[str, Any]]]:
    """What each rank saw: of one rank alone, then of all."""
    world_size = 2
    if request.param == "nccl":
        world_size = min(torch.cuda.device_count(), MOST_RANKS)
        if device.type == "cpu" or world_size < 2:
            pytest.skip("needs two GPUs")
    folder = tmp_path_factory.mktemp("ranks")
    (folder / "trials.json").write_text(json.dumps(TRIALS))
    run_ranks(Path(trial_rank.__file__), 1, str(folder), str(device))
    run_ranks(Path(trial_rank.__file__), world_size, str(folder), "each" if request.param == "nccl" else str(device))
    files = [[folder / f"{count}_ranks_{rank}.pt" for rank in range(count)] for count in (1, world_size)]
    return [[torch.load(file, map_location="cpu") for file in some] for some in files]


@pytest.mark.parametrize("trial", TRIALS)
def test_ranks_compute_what_one_computes(seen: list[list[dict[str, Any]]], trial: str) -> None:
    (alone,), (first, *_) = seen
    for step, (one, many) in enumerate(zip(alone[trial], first[trial], strict=True)):
        # A GPU's sums differ from run to run; Adam's first steps have one size however near to 0 a gradient is.
        torch.testing.assert_close(many, one, rtol=1e-6, atol=1e-7, msg=lambda text, step=step: f"step {step}: {text}")


@pytest.mark.parametrize("trial", TRIALS)
def test_what_the_ranks_share_is_equal_to_the_last_bit(seen: list[list[dict[str, Any]]], trial: str) -> None:
    _, (first, *others) = seen
    for rank in others:
        for one, other in zip(first[trial], rank[trial], strict=True):
            torch.testing.assert_close(other["model"], one["model"], rtol=0, atol=0)
            torch.testing.assert_close(other["objective"], one["objective"], rtol=0, atol=0)


def test_evaluation_is_the_same(seen: list[list[dict[str, Any]]]) -> None:
    (alone,), together = seen
    for rank in together:
        assert rank["validation"] == pytest.approx(alone["validation"], abs=1e-9)
