"""Messages between a trial, the hub and the workers of a lane. Every process of a sweep imports this small module."""

from dataclasses import dataclass, field
from typing import Any, Literal

FIRST_EPOCH = "steps of the first epoch"
"""Task in reports of the first lane on the steps of the first epoch that it trains, see `LaneHub.report_progress`."""

CommandKind = Literal["start", "epoch", "save", "test", "abort", "stop"]
"""Kinds of commands.

`start`: build a trial, from scratch or from a checkpoint. `epoch`: train and validate one epoch. `save`: make a
checkpoint and return a reference to its bytes. `test`: evaluate on the test classes; a search never sends it. `abort`:
end the worker, because the lane is restarted. `stop`: end the worker, because the sweep is over.
"""

FailureKind = Literal["diverged", "failed", "peer_lost", "device_lost"]
"""Kinds of failures of a worker.

`diverged`: the trial's numbers stopped being finite, or its embeddings collapsed. `failed`: the trial's code raised an
exception. `peer_lost`: another worker is gone, so this worker is not to blame. `device_lost`: this process can no
longer use its GPU.
"""


@dataclass(frozen=True)
class Command:
    """A command of some `kind` to all workers of a lane, with the keyword arguments `payload`.

    Attributes:
        number: Number of the command. Each command of a lane has a higher number than the one before.
        renew_group: Whether the workers first form a new process group. They must if the command before failed, since
            the ranks may have run different numbers of collectives. A trial that only diverged is no such failure.
    """

    number: int
    kind: CommandKind
    payload: dict[str, Any] = field(default_factory=dict)
    renew_group: bool = False


@dataclass(frozen=True)
class Failure:
    """The reason why a command failed on a worker, with the `kind` of failure.

    Attributes:
        text: Traceback of the exception, or one sentence if the trial diverged.
        ends_group: Whether the present workers of the lane must be replaced, because they can run no further command.
    """

    text: str
    kind: FailureKind = "failed"
    ends_group: bool = False


@dataclass(frozen=True)
class Reply:
    """The result of a command on one worker: a value that depends on the kind of command, or a failure."""

    value: Any = None
    failure: Failure | None = None


@dataclass(frozen=True)
class WorkerProcess:
    """Identity of a worker's process, by which another process can end it (see `processes`).

    `node` is Ray's id of the process's node, and `address` the node's IP address. `started` is the process's start
    time, which tells it from a later process with the same `pid`.
    """

    pid: int = 0
    node: str = ""
    started: str = ""
    address: str = ""


LOST_A_WORKER = "lost a worker"
"""Text of the `LaneLost` error that a trial gets when its lane restarts because a worker or a node died."""


class TrialFailed(Exception):  # noqa: N818 - an outcome of a trial
    """The trial's own code raised an exception on a worker; the text is the worker's traceback."""


class TrialFailedDiverging(TrialFailed):
    """The trial's numbers stopped being finite, or its embeddings collapsed; the text is the reason in one sentence."""


class LaneLost(Exception):  # noqa: N818
    """A trial lost its lane, for example because the lane restarts. The trial can go on from a checkpoint.

    The text is a phrase that messages put after the words "the lane", such as `lost a worker`.
    """


class DeviceLost(LaneLost):
    """A worker's process can no longer use its GPU, so the lane restarts; the text is the worker's traceback."""


class LaneEnded(Exception):  # noqa: N818
    """The lane has ended and will not be restarted; the text says why."""
