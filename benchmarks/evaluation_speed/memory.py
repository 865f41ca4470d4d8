"""How much memory an evaluation takes, in a process of its own: python memory.py EMBEDDINGS.pt THREADS [K ...].

Without a K it is a verification over all pairs.

Prints two numbers, in bytes: what the process held with torch, the embeddings and a small evaluation done, and the most
that it held during the evaluation.
"""

import subprocess
import sys
import tempfile
from pathlib import Path

import torch

from mdr_tune.metric import retrieval_metrics
from mdr_tune.metric.verification import verify

FARS = (1e-2, 1e-3, 1e-4)


def measure_peak(embeddings: torch.Tensor, labels: torch.Tensor, ks: tuple[int, ...]) -> tuple[int, int]:
    """Return the bytes before and at the peak; of a GPU where the embeddings are on one, else of a new process."""
    if embeddings.device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(embeddings.device)
        base = torch.cuda.memory_allocated(embeddings.device)
        evaluate(embeddings, labels, ks)
        return base, torch.cuda.max_memory_allocated(embeddings.device)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "embeddings.pt"
        torch.save((embeddings, labels), file)
        command = [sys.executable, __file__, str(file), str(torch.get_num_threads()), *map(str, ks)]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    base, peak = map(int, done.stdout.split())
    return base, peak


def evaluate(embeddings: torch.Tensor, labels: torch.Tensor, ks: tuple[int, ...]) -> None:
    """Measure Recall@K, or without `ks` TAR at FAR."""
    if ks:
        retrieval_metrics(embeddings, labels, ks)
    else:
        verify(embeddings, labels, FARS)


def held(field: str) -> int:
    """Return the bytes of this process that are resident: VmRSS now, VmHWM at most so far.

    Not `ru_maxrss`, which counts what the parent held.
    """
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) * 1024
    raise OSError(f"/proc/self/status has no {field}: the peak memory is measured on Linux only")


def main() -> None:
    torch.set_num_threads(int(sys.argv[2]))
    embeddings, labels = torch.load(sys.argv[1])
    ks = tuple(map(int, sys.argv[3:]))
    small = max(ks, default=100) + 1
    evaluate(embeddings[:small], labels[:small], ks)  # threads and libraries have their memory now
    base = held("VmRSS")
    evaluate(embeddings, labels, ks)
    print(base, held("VmHWM"))


if __name__ == "__main__":
    main()
