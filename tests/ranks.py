"""Run a script as W ranks of a gloo group, one process each, and wait for them.

The processes are forked off one that has imported what scripts need: an import of torch takes seconds.
"""

import multiprocessing
import os
import runpy
import sys
import tempfile
from pathlib import Path

from tests.waiting import HANG_S

# None of them asks for a GPU when it is imported: CUDA could not be used in a fork then.
_IMPORTED = ["torch._dynamo", "torchvision.models", "mdr_tune.training", "mdr_tune.metric.library_loss"]
_processes = multiprocessing.get_context("forkserver")
_processes.set_forkserver_preload(_IMPORTED)


def run_ranks(script: Path, world_size: int, *arguments: str) -> None:
    """Run `python script RANK WORLD_SIZE arguments...` for each rank; fail with the output of the first that fails."""
    with tempfile.TemporaryDirectory() as folder:
        outputs = [Path(folder, str(rank)) for rank in range(world_size)]
        ranks = [
            _processes.Process(
                target=_run, args=(script, [str(rank), str(world_size), *arguments], dict(os.environ), output)
            )
            for rank, output in enumerate(outputs)
        ]
        for process, output in zip(ranks, outputs, strict=True):
            output.touch()
            process.start()
        try:
            for process, output in zip(ranks, outputs, strict=True):
                process.join(HANG_S)
                assert process.exitcode == 0, output.read_text()
        finally:
            for process in ranks:
                process.kill()


def _run(script: Path, arguments: list[str], environment: dict[str, str], output: Path) -> None:
    os.environ.clear()
    os.environ.update(environment)
    with output.open("w") as file:
        os.dup2(file.fileno(), sys.stderr.fileno())
    sys.argv = [str(script), *arguments]
    runpy.run_path(str(script), run_name="__main__")
