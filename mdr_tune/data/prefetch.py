"""Read the next items on a background thread while the caller works on the current one."""

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def prefetch(read: Callable[[Item], Result], items: Iterable[Item], depth: int = 2) -> Generator[Result, None, None]:
    """Yield `read(item)` for each of `items`, in order, while up to `depth` further items are read in the background.

    Reading begins at the first `next`. One background thread calls `read` for one item at a time, and the caller's
    thread iterates over `items`, which may be infinite. If `read` raises an error, the generator raises the error in
    place of the result and ends. When the generator ends or is closed, the background thread finishes its current item
    and ends, too. With `depth` 0 there is no background thread: the caller's thread reads each item when it is needed.

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
