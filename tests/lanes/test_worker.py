"""Workers of a lane whose trials fail, again and again: nothing is left of those trials."""

import json
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

import pytest
import torch

from mdr_tune.lanes import worker
from mdr_tune.lanes.messages import FIRST_EPOCH
from mdr_tune.training import Ranks
from mdr_tune.util.cpus import threads_to_start
from tests.lanes.worker_rank import TIMEOUT_S, TRIAL, Lane
from tests.ranks import run_ranks

SCRIPT = Path(__file__).with_name("worker_rank.py")


@pytest.mark.parametrize("times", [20, pytest.param(200, marks=pytest.mark.slow)])
def test_of_trials_that_fail_no_thread_descriptor_or_tensor_is_left(
    tmp_path: Path, glyph_cache: Path, times: int
) -> None:
    run_ranks(SCRIPT, 2, str(tmp_path), str(times))
    for rank in range(2):
        seen = json.loads((tmp_path / f"rank_{rank}.json").read_text())
        assert seen["kinds"] == ["diverged"] * times + ["failed"] * 10
        assert seen["diverged"][0] == seen["diverged"][1]
        assert seen["failed"][0] == seen["failed"][1]
        assert seen["losses"][0] == seen["losses"][1]


def test_the_steps_of_the_first_epoch_are_reported_and_no_others(glyph_cache: Path) -> None:
    reports: list[tuple[str, int, int]] = []
    lane = Lane(worker.LaneWorker(Ranks(), TIMEOUT_S, lambda *report: reports.append(report), reports_steps=True))
    assert "train/loss" in lane.run(TRIAL)
    lane("epoch")
    lane.run(TRIAL)
    assert reports == [(FIRST_EPOCH, 1, 2), (FIRST_EPOCH, 2, 2)]


def test_a_first_collective_that_does_not_end_is_given_up_with_what_to_set(tmp_path: Path) -> None:
    run_ranks(SCRIPT, 2, str(tmp_path), "0")
    why = (tmp_path / "why_0.txt").read_text()
    assert why.startswith("the first collective of its 2 workers did not end in 0.5 s: ")
    assert "GLOO_SOCKET_IFNAME" in why


def test_a_first_collective_that_fails_says_what_to_set_and_is_watched_no_more(tmp_path: Path) -> None:
    run_ranks(SCRIPT, 2, str(tmp_path), "-1")
    (told,) = json.loads((tmp_path / "told_0.json").read_text())
    assert told.startswith(
        "the first collective of its 2 workers failed (Call to posix_fallocate failed: No space left"
    )
    assert "GLOO_SOCKET_IFNAME" in told


def test_a_worker_shares_the_cpus_of_its_node_once_the_node_is_prepared(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[str, int]] = []

    def meet(*_: Any) -> str:
        seen.append(("meets", threads_to_start()))
        raise InterruptedError("as far as this test goes")

    for name, value in (("_processes", 1), ("_fewest_threads", 1), ("usable_cpus", lambda: 48)):
        monkeypatch.setattr(f"mdr_tune.util.cpus.{name}", value)
    monkeypatch.setattr("ray.train.torch.get_device", lambda: torch.device("cpu"))
    monkeypatch.setattr(worker, "ray", MagicMock())
    monkeypatch.setattr(worker, "meet", meet)
    monkeypatch.setattr("torch.set_num_threads", lambda threads: seen.append(("computes", threads)))
    config = {"cpus_per_worker": 2, "workers_on_a_node": 4, "collective_timeout_s": 60.0}
    prepare = lambda: seen.append(("prepares", threads_to_start()))  # noqa: E731
    with pytest.raises(InterruptedError):
        worker.run_worker({"hub": MagicMock(), "lane": 0, "prepare": prepare, **config})
    assert seen == [("computes", 2), ("prepares", 48), ("meets", 12)]
