"""Detect that the workers of a lane make no progress in a command. The caller passes the current time to each call."""


class StallWatch:
    """Remembers when any rank of a lane last made progress in a command.

    Args:
        limit_s: Time after which the command has stalled if no rank makes progress, in seconds.
        now: Time at which the command was given, in seconds. All calls must use the same clock.
    """

    def __init__(self, limit_s: float, now: float) -> None:
        self._limit_s = limit_s
        self._moved_at = now
        self._counts: dict[int, int] = {}

    def beat(self, rank: int, count: int, now: float) -> None:
        """Take a rank's count of steps at time `now`. The rank made progress if its count has changed."""
        if self._counts.get(rank) != count:
            self._counts[rank], self._moved_at = count, now

    def has_stalled(self, now: float) -> bool:
        """Return whether no rank has made progress for longer than `limit_s`."""
        return now - self._moved_at > self._limit_s
