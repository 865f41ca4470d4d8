"""What passes between a trial, the hub and the workers of a lane. Light: every process of a sweep imports it."""

from dataclasses import dataclass, field
from typing import Any, Literal

CommandKind = Literal["start", "epoch", "save", "test", "abort", "stop"]
"""`start` a trial, anew or from a checkpoint; train and validate one `epoch`; `save` a checkpoint; `test`:
evaluate on the test classes, which no search does.
`abort`: leave, the lane is about to be restarted; `stop`: leave, the sweep is over."""

COMMANDS_THAT_MAY_STALL = ("epoch", "test")
"""Those that must make steps. There is no limit for `start`, which may read a data set for the first time."""


@dataclass(frozen=True)
class Command:
    """What all workers of a lane are to do next.

    Attributes:
        number: Counts up over the lane's life.
        payload: Keyword arguments of the command.
        renew_group: Join in a new process group first. Set after a command that failed, when ranks may have run
            different numbers of collectives in the old one.
    """

    number: int
    kind: CommandKind
    payload: dict[str, Any] = field(default_factory=dict)
    renew_group: bool = False


@dataclass(frozen=True)
class Reply:
    """What became of a command on one worker.

    Attributes:
        value: The result, if it went well.
        failure: The text of the exception, if not: a traceback, or of a trial that diverged one sentence.
        diverged: The trial's numbers went wrong, not its code.
        peer_lost: The exception says that another worker went away, so that this one is not to blame.
    """

    value: Any = None
    failure: str | None = None
    diverged: bool = False
    peer_lost: bool = False


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


class LaneEnded(Exception):  # noqa: N818
    """The lane is gone for good; the text says why."""
