"""One worker of a lane without Ray: fails as it is told to, and saves what that left behind. Run as a script."""

import gc
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from mdr_tune.config.trial import TrialConfig
from mdr_tune.lanes import meeting
from mdr_tune.lanes.messages import Command
from mdr_tune.lanes.worker import LaneWorker
from mdr_tune.training import Ranks, TrialSession
from mdr_tune.util.errors import UserError

TRIAL = TrialConfig.from_keys(
    {
        "batch": {"size": 8, "images_per_class": 2},
        "embedding": {"size": 8},
        "epochs": 3,
        "iterations_per_epoch": 2,
        "protocol": "paper",
    }
).model_dump()
DIVERGING = {**TRIAL, "optimizer": {**TRIAL["optimizer"], "learning_rate": 1e30}}
FAILING = {**TRIAL, "seed": 13}
TIMEOUT_S = 600.0


def held(expected: dict[str, int] | None = None) -> dict[str, int]:
    """Return what the process holds; if something is expected, once it is that, or does not become it."""
    for _ in range(200):
        gc.unfreeze()
        gc.collect()
        found = {
            "threads": len(os.listdir("/proc/self/task")),
            "descriptors": len(os.listdir("/proc/self/fd")),
            "tensors": sum(isinstance(thing, torch.Tensor) for thing in gc.get_objects()),
        }
        if expected in (None, found):
            break
        time.sleep(0.05)  # a thread that read images may be about to end
    return found


class Lane:
    """Gives a worker the commands that its mailbox would."""

    def __init__(self, worker: LaneWorker) -> None:
        self.worker, self.number, self.renew_group = worker, 0, False

    def __call__(self, kind: Any, **payload: Any) -> Any:
        self.number += 1
        reply = self.worker.handle(Command(self.number, kind, payload, self.renew_group))
        self.renew_group = reply.failure is not None and reply.failure.kind != "diverged"
        return reply.value if reply.failure is None else reply.failure

    def run(self, trial: dict[str, Any]) -> Any:
        started = self("start", trial=trial, checkpoint=None)
        assert started == 0, started
        return self("epoch")


def train(self: TrialSession, original: Any = TrialSession.run_epoch) -> dict[str, float]:
    """Fail if the seed says so, on rank 0 in the middle of a collective that the other ranks have not begun."""
    if self.config.seed != FAILING["seed"]:
        return original(self)  # type: ignore[no-any-return]
    if self.ranks.rank == 0:
        dist.all_reduce(torch.ones(3), group=self.ranks.group, async_op=True)
    raise ValueError("an error of a user's loss")


def fail_often(ranks: Ranks, times: int) -> dict[str, Any]:
    TrialSession.run_epoch = train  # type: ignore[method-assign]
    lane = Lane(LaneWorker(ranks, TIMEOUT_S))
    first = lane.run(TRIAL)
    lane.run(DIVERGING)
    before = held()
    kinds = [lane.run(DIVERGING).kind for _ in range(times)]
    after_diverged = held(before)
    lane.run(FAILING)
    lane.run(FAILING)  # the first in a process group of its own
    before_failed = held()
    kinds += [lane.run(FAILING).kind for _ in range(10)]
    after_failed = held(before_failed)
    last = lane.run(TRIAL)
    losses = [{key: value for key, value in epoch.items() if key.startswith("train/")} for epoch in (first, last)]
    return {
        "kinds": kinds,
        "diverged": [before, after_diverged],
        "failed": [before_failed, after_failed],
        "losses": losses,
    }


def wait_for_one_that_does_not_come(ranks: Ranks, folder: Path) -> None:
    meeting.FIRST_COLLECTIVE_S = 0.5

    def give_up(why: str) -> None:
        (folder / f"why_{ranks.rank}.txt").write_text(why)
        os._exit(0)

    if ranks.rank == 1:  # says that it has its data, and hangs
        dist.broadcast_object_list = lambda *arguments, **options: meeting.threading.Event().wait(TIMEOUT_S)
    meeting.meet(ranks, TIMEOUT_S, give_up)


def meet_over_broken_sockets(ranks: Ranks, folder: Path) -> None:
    """The first collective raises, and the watch over it ends with it."""
    meeting.FIRST_COLLECTIVE_S = 0.2

    def fails(*_arguments: object, **_options: object) -> None:
        raise RuntimeError("Call to posix_fallocate failed: No space left on device")

    dist.broadcast_object_list = fails
    told: list[str] = []
    try:
        meeting.meet(ranks, TIMEOUT_S, told.append)
    except UserError as error:
        told.append(str(error))
    meeting.threading.Event().wait(1)
    (folder / f"told_{ranks.rank}.json").write_text(json.dumps(told))
    os._exit(0)


def main() -> None:
    rank, world_size, folder, times = int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]), int(sys.argv[4])
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=world_size)
    ranks = Ranks.current(torch.device("cpu"))
    if times == 0:
        wait_for_one_that_does_not_come(ranks, folder)
    if times < 0:
        meet_over_broken_sockets(ranks, folder)
    assert meeting.meet(ranks, TIMEOUT_S, lambda why: None)
    seen = fail_often(ranks, times)
    (folder / f"rank_{rank}.json").write_text(json.dumps(seen))
    os._exit(0)  # the collectives that were left open would be waited for


if __name__ == "__main__":
    main()
