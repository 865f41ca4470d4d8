"""What passes between a trial, the hub and the workers of a lane. Light: every process of a sweep imports it."""

from dataclasses import dataclass, field
from typing import Any, Literal

CommandKind = Literal["start", "epoch", "save", "test", "abort", "stop"]
"""`start` a trial, anew or from a checkpoint; train and validate one `epoch`; `save` a checkpoint; `test`:
evaluate on the test classes, which no search does.
`abort`: leave, the lane is about to be restarted; `stop`: leave, the sweep is over."""


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
        traceback: The text of the exception, if not.
        peer_lost: The exception says that another worker went away, so that this one is not to blame.
    """

    value: Any = None
    traceback: str | None = None
    peer_lost: bool = False


class TrialFailed(Exception):  # noqa: N818 - an outcome of a trial
    """The trial's own code raised on a worker; the text is the worker's traceback."""


class LaneLost(Exception):  # noqa: N818
    """The lane lost a worker in the middle of a command; it restarts, and the trial can go on from a checkpoint."""


class LaneEnded(Exception):  # noqa: N818
    """The lane is gone for good; the text says why."""
