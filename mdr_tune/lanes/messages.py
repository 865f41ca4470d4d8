"""Messages between a trial, the hub and the workers of a lane. Imports little: every process of a sweep imports it."""

from dataclasses import dataclass, field
from typing import Any, Literal

CommandKind = Literal["start", "epoch", "save", "test", "abort", "stop"]
"""Kinds of commands. `start`: build a trial, from scratch or from a checkpoint. `epoch`: train and validate one epoch.
`save`: make a checkpoint and return a reference to its bytes. `test`: evaluate on the test classes, which no search
does. `abort`: leave, because the lane is restarted. `stop`: leave, because the sweep is over."""

FailureKind = Literal["diverged", "failed", "peer_lost", "device_lost"]
"""Kinds of failures of a worker. `diverged`: the trial's numbers went wrong, not its code. `failed`: its code raised an
exception. `peer_lost`: another worker is gone, so this one is not to blame. `device_lost`: the GPU can no longer be
used by this process."""


@dataclass(frozen=True)
class Command:
    """A command to all workers of a lane.

    Attributes:
        number: Number of the command, counted up over the lane's life.
        kind: Kind of the command.
        payload: Keyword arguments of the command.
        renew_group: Whether the workers form a new process group first. Set after a command that failed for another
            reason than divergence, since ranks may then have run different numbers of collectives in the old group.
    """

    number: int
    kind: CommandKind
    payload: dict[str, Any] = field(default_factory=dict)
    renew_group: bool = False


@dataclass(frozen=True)
class Failure:
    """The reason why a worker could not run a command.

    Attributes:
        text: Traceback; for a trial that diverged, one sentence instead.
        kind: Kind of the failure, which says who is to blame.
        ends_group: Whether the lane's present workers can run no further command.
    """

    text: str
    kind: FailureKind = "failed"
    ends_group: bool = False


@dataclass(frozen=True)
class Reply:
    """The result of a command on one worker: a value, or a failure."""

    value: Any = None
    failure: Failure | None = None


@dataclass(frozen=True)
class WorkerProcess:
    """A worker's process (see `processes`).

    Attributes:
        pid: Process id.
        node: Ray's id of the node.
        started: When the process was started; tells it from a later process with the same id.
        address: IP address of the node.
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
    """The lane restarts in the middle of a command; the trial can go on from a checkpoint.

    The text is a verb phrase that follows "the lane", such as `lost a worker`.
    """


class DeviceLost(LaneLost):
    """A worker's process can no longer use its GPU, so the lane restarts; the text is the worker's traceback."""


class LaneEnded(Exception):  # noqa: N818
    """The lane is gone for good; the text says why."""
