"""The streams of a pretended GPU, and the mistakes that show on a real one as wrong numbers, now and then.

What a stream was told runs in that order; two streams run side by side. So a stream that uses what another one wrote
has to wait for it. And memory goes back to the stream that it was allocated on, which gives it away again at once:
whoever uses it on another stream has to say so by `Tensor.record_stream`.
"""

import contextlib
import threading
from collections.abc import Iterable, Iterator


class Stream:
    """Stands for `torch.cuda.Stream`.

    Attributes:
        clock: Number of operations that it was told.
        seen: For each stream that it waits for, the operations that are done by then.
    """

    def __init__(self) -> None:
        self.clock = 0
        self.seen: dict[Stream, int] = {}

    def wait_stream(self, other: "Stream") -> None:
        """Let what comes next on this stream wait for all that the other one was told."""
        for stream, clock in ({**other.seen, other: other.clock}).items():
            self.seen[stream] = max(clock, self.seen.get(stream, 0))

    def has_seen(self, stream: "Stream", clock: int) -> bool:
        """Return whether this stream waits until `stream` has done so many operations."""
        return stream is self or self.seen.get(stream, 0) >= clock


class Memory:
    """Memory of one tensor and its views.

    Attributes:
        recorded: Streams that `record_stream` named.
    """

    def __init__(self, streams: "Streams") -> None:
        self.recorded: set[Stream] = set()
        self._streams, self._allocated_on = streams, streams.current()
        self._used_on: set[Stream] = set()
        self.wrote()

    def wrote(self) -> None:
        """Note that the current stream's last operation wrote into it."""
        self._writer = self._streams.current(), self._streams.current().clock

    def use(self, name: str) -> None:
        """Note that the current stream uses it, in an operation of this name."""
        here = self._streams.current()
        self._used_on.add(here)
        if not here.has_seen(*self._writer):
            self._streams.mistakes.append(f"{name} does not wait for the stream that writes what it uses")

    def __del__(self) -> None:
        if self._used_on - self.recorded - {self._allocated_on}:
            self._streams.mistakes.append("memory was used on a stream that record_stream did not name")


class Streams:
    """All streams of a GPU.

    Attributes:
        mistakes: A sentence for each.
    """

    def __init__(self) -> None:
        self.mistakes: list[str] = []
        self._default = Stream()
        self._of_thread = threading.local()

    def current(self) -> Stream:
        """Return the stream that this thread tells its operations."""
        stream: Stream = getattr(self._of_thread, "current", self._default)
        return stream

    @contextlib.contextmanager
    def use(self, stream: Stream) -> Iterator[None]:
        """Let this thread tell another stream, within the block."""
        before, self._of_thread.current = self.current(), stream
        try:
            yield
        finally:
            self._of_thread.current = before

    def operate(self, name: str, used: Iterable[Memory]) -> None:
        """Tell the current stream an operation on memory."""
        self.current().clock += 1
        for memory in used:
            memory.use(name)
