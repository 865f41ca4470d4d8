"""Read ahead on a background thread, while the caller works on what was read before."""

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def prefetch(read: Callable[[Item], Result], items: Iterable[Item], depth: int = 2) -> Generator[Result, None, None]:
    """Yield `read(item)` for each item, in order, while up to `depth` further ones are read in the background.

    One thread reads, one item at a time, from the first `next` on; `items` themselves are iterated over by the caller's
    thread. When the last result was taken, an exception was raised or the generator was closed, the thread has ended
    before control comes back: it finishes the item that it is at, and reads no further one.

    Args:
        read: is called once for each item.
        items: may be endless.
        depth: results that are read or being read, and not yet asked for; 0 reads in the caller's thread as asked.

    Raises:
        ValueError: `depth` is negative (at the first `next`).
        Exception: what `read` raises, in place of that item's result; then the generator is at its end.

    Example:
        >>> list(prefetch(len, ["a", "bc", ""]))
        [1, 2, 0]
    """
    if depth < 0:
        raise ValueError(f"depth must not be negative, got {depth}")
    if depth == 0:
        yield from map(read, items)
        return
    remaining = iter(items)
    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="prefetch") as reader:
        ahead = deque(reader.submit(read, item) for item in islice(remaining, depth))
        try:
            while ahead:
                ahead.extend(reader.submit(read, item) for item in islice(remaining, 1))
                yield ahead.popleft().result()
        finally:
            for future in ahead:
                future.cancel()
