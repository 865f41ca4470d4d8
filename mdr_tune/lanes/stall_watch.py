"""How far the workers of a lane are in a command, and whether they have stalled. Without a clock of its own."""


class StallWatch:
    """Finds out that no rank has got any further for too long.

    Args:
        limit_s: How long that is.
        now: Seconds, when the command was given.
    """

    def __init__(self, limit_s: float, now: float) -> None:
        self._limit_s = limit_s
        self._moved_at = now
        self._counts: dict[int, int] = {}

    def beat(self, rank: int, count: int, now: float) -> None:
        """Take a rank's count of steps; that it differs from the last one is what matters."""
        if self._counts.get(rank) != count:
            self._counts[rank], self._moved_at = count, now

    def has_stalled(self, now: float) -> bool:
        """Return whether no rank's count has changed within the limit."""
        return now - self._moved_at > self._limit_s
