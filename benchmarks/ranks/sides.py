"""The ranks of a side: processes that wait for the next round."""

import subprocess
import sys
import tempfile
from contextlib import ExitStack

from summary.process import BENCHMARKS

from ranks.rank import BATCH_SIZE, ITERATIONS


class RanksSide:
    """Ranks that train together; a context manager.

    Args:
        world_size: How many.
        threads: That each computes with.
    """

    def __init__(self, world_size: int, threads: int) -> None:
        self.name = f"{world_size} rank{'s' if world_size > 1 else ''} x {threads} thread{'s' if threads > 1 else ''}"
        self.speeds: list[float] = []
        self.losses: list[float] = []
        self._world_size, self._threads = world_size, threads
        self._exit = ExitStack()

    def __enter__(self) -> "RanksSide":
        folder = self._exit.enter_context(tempfile.TemporaryDirectory(prefix="ranks-"))
        self._processes = [self._exit.enter_context(self._start(rank, folder)) for rank in range(self._world_size)]
        return self

    def __exit__(self, *_: object) -> None:
        for process in self._processes:
            assert process.stdin is not None
            process.stdin.close()
        self._exit.close()

    def run_round(self) -> None:
        """Train a round, and note images a second and the loss."""
        for process in self._processes:
            assert process.stdin is not None
            process.stdin.write("go\n")
            process.stdin.flush()
        said = []
        for process in self._processes:
            assert process.stdout is not None
            line = process.stdout.readline()
            if not line:
                raise RuntimeError(f"a rank of {self.name} ended with {process.wait()}")
            said.append([float(word) for word in line.split()])
        self.speeds.append(BATCH_SIZE * ITERATIONS / max(seconds for seconds, _ in said))
        self.losses.append(said[0][1])

    def _start(self, rank: int, folder: str) -> "subprocess.Popen[str]":
        numbers = map(str, (rank, self._world_size, self._threads))
        command = [sys.executable, "-m", "ranks.rank", *numbers, f"{folder}/store"]
        return subprocess.Popen(command, cwd=BENCHMARKS, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
