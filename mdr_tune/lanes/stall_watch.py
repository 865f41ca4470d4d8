"""Detect that the workers of a lane make no progress in a command. The caller passes the current time to each call."""


class StallWatch:
    """Remembers when a rank of a lane last made progress in the command that began at the time `now`.

    The command has stalled after `limit_s` seconds without progress of any rank. All times are of the same clock.
    """

    def __init__(self, limit_s: float, now: float) -> None:
        self._limit_s = limit_s
        self._moved_at = now
        self._counts: dict[int, int] = {}

    def beat(self, rank: int, count: int, now: float) -> None:
        """Record that `rank` has made `count` steps at time `now`. The rank made progress if the count has changed."""
        if self._counts.get(rank) != count:
            self._counts[rank], self._moved_at = count, now

    def has_stalled(self, now: float) -> bool:
        """Return whether, at time `now`, no rank has made progress for longer than `limit_s`."""
        return now - self._moved_at > self._limit_s
