"""What is run, in order of worth, and for how long at most."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Part:
    """Something that is run in a process of its own.

    Attributes:
        key: Its name on the command line.
        what: What it shows.
        kind: `tests` are pytest's, of tests/gpu; a `benchmark` is a script beside gpu_check.py.
        arguments: Of pytest, or the script and its arguments.
        limit_s: When it is ended, in seconds.
        gpus: How many it needs.
        needs: Package without which it is skipped.
    """

    key: str
    what: str
    kind: Literal["tests", "benchmark"]
    arguments: tuple[str, ...]
    limit_s: int
    gpus: int = 1
    needs: str | None = None


def parts_for(on_cpu: bool) -> list[Part]:
    """Return all parts; on a CPU their sizes are small."""
    throughput = ("--small", "--backbones", "resnet18", "features") if on_cpu else ("--iterations", "60")
    rounds, sizes = (("--rounds", "2"), ("--sizes", "2000")) if on_cpu else (("--rounds", "9"), ())
    slower = 3 if on_cpu else 1
    found = [
        Part("steps", "a step of each loss, miner and precision is the CPU's", "tests", ("test_first_step.py",), 150),
        Part("failures", "what fails costs one trial, not the ones after it", "tests", ("test_failures.py",), 120),
        Part("training", "speed of a training step", "benchmark", ("training_throughput.py", *throughput), 200),
        Part(
            "trials",
            "checkpoints move, rankings are the CPU's, peaks of memory",
            "tests",
            ("test_checkpoints.py", "test_ranking.py", "test_memory.py", "test_export.py"),
            120,
        ),
        Part("ranks", "two ranks on one GPU compute what one does", "tests", ("test_ranks.py", "-k", "gloo"), 100),
        Part("loss", "speed of MDR and of the miner", "benchmark", ("regularizer.py", *rounds), 90),
        Part("evaluation", "speed of an evaluation", "benchmark", ("evaluation.py", *sizes), 90),
        Part(
            "nccl", "a rank for each GPU computes what one does", "tests", ("test_ranks.py", "-k", "nccl"), 120, gpus=2
        ),
        Part("lanes", "lanes on several GPUs, their failures", "tests", ("test_lanes.py",), 300, gpus=2, needs="ray"),
    ]
    return [Part(**{**vars(part), "limit_s": part.limit_s * slower}) for part in found]
