"""Detect that the workers of a lane make no progress in a command. Callers give the time."""


class StallWatch:
    """Watches the progress of all ranks in one command.

    Args:
        limit_s: Longest time without progress of any rank, in seconds.
        now: Time at which the command was given, in seconds of any clock.
    """

    def __init__(self, limit_s: float, now: float) -> None:
        self._limit_s = limit_s
        self._moved_at = now
        self._counts: dict[int, int] = {}

    def beat(self, rank: int, count: int, now: float) -> None:
        """Note a rank's count of steps at time `now`; a count other than the rank's last one is progress."""
        if self._counts.get(rank) != count:
            self._counts[rank], self._moved_at = count, now

    def has_stalled(self, now: float) -> bool:
        """Return whether no rank has made progress within the limit."""
        return now - self._moved_at > self._limit_s
