"""What passes between a trial, the hub and the workers of a lane. Light: every process of a sweep imports it."""

from dataclasses import dataclass, field
from typing import Any, Literal

CommandKind = Literal["start", "epoch", "save", "test", "abort", "stop"]
"""`start` a trial, anew or from a checkpoint; train and validate one `epoch`; `save` a checkpoint; `test`:
evaluate on the test classes, which no search does.
`abort`: leave, the lane is about to be restarted; `stop`: leave, the sweep is over."""

FailureKind = Literal["diverged", "failed", "peer_lost", "device_lost"]
"""`diverged`: the trial's numbers went wrong, not its code. `failed`: its code raised. `peer_lost`: another worker went
away, so that this one is not to blame. `device_lost`: the GPU computes nothing more in this process."""


@dataclass(frozen=True)
class Command:
    """What all workers of a lane are to do next.

    Attributes:
        number: Counts up over the lane's life.
        payload: Keyword arguments of the command.
        renew_group: Join in a new process group first. Set after a command that failed, but did not diverge: ranks
            may have run different numbers of collectives in the old one.
    """

    number: int
    kind: CommandKind
    payload: dict[str, Any] = field(default_factory=dict)
    renew_group: bool = False


@dataclass(frozen=True)
class Failure:
    """Why a worker could not do what it was told.

    Attributes:
        text: A traceback; one sentence for a trial that diverged.
        kind: Who is to blame.
        ends_group: No command can be run by these workers any more.
    """

    text: str
    kind: FailureKind = "failed"
    ends_group: bool = False


@dataclass(frozen=True)
class Reply:
    """What became of a command on one worker: a value, or a failure."""

    value: Any = None
    failure: Failure | None = None


@dataclass(frozen=True)
class WorkerProcess:
    """Where a worker runs: process id, Ray's id of the node, when it was started, and the node's IP address. See
    `processes`."""

    pid: int = 0
    node: str = ""
    started: str = ""
    address: str = ""


LOST_A_WORKER = "lost a worker"
"""What a lane did, as `LaneLost` says it, that restarts since a worker or its node is gone."""


class TrialFailed(Exception):  # noqa: N818 - an outcome of a trial
    """The trial's own code raised on a worker; the text is the worker's traceback."""


class TrialFailedDiverging(TrialFailed):
    """The trial's numbers stopped being finite, or its embeddings collapsed; the text is the reason, one sentence."""


class LaneLost(Exception):  # noqa: N818
    """The lane restarts in the middle of a command; the trial can go on from a checkpoint.

    The text says what the lane did, to be read after "the lane": `lost a worker`.
    """


class DeviceLost(LaneLost):
    """A GPU stopped computing in a worker's process, so that the lane restarts; the text is the worker's traceback."""


class LaneEnded(Exception):  # noqa: N818
    """The lane is gone for good; the text says why."""
