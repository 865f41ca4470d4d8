"""One rank, `python -m ranks.rank RANK WORLD THREADS STORE`: trains a round for each line that comes in; times it."""

import sys
import time

import torch
import torch.distributed as dist

from mdr_tune.config.datasets import GlyphsDataConfig
from mdr_tune.config.trial import TrialConfig
from mdr_tune.data import load_dataset
from mdr_tune.training import Ranks, TrialSession

BATCH_SIZE = 64
ITERATIONS = 30
"""Steps of a round."""


def main() -> None:
    rank, world_size, threads = map(int, sys.argv[1:4])
    torch.set_num_threads(threads)
    if world_size > 1:
        dist.init_process_group("gloo", init_method=f"file://{sys.argv[4]}", rank=rank, world_size=world_size)
    config = TrialConfig.model_validate(
        {
            "batch": {"size": BATCH_SIZE, "images_per_class": 4},
            "mdr": {"weight": 0.1},
            "iterations_per_epoch": ITERATIONS,
        }
    )
    session = TrialSession(config, load_dataset(GlyphsDataConfig()), Ranks.current(torch.device("cpu")))
    for _ in sys.stdin:
        start = time.perf_counter()
        loss = session.train_epoch()["train/loss"]
        print(time.perf_counter() - start, loss, flush=True)
    if world_size > 1:
        dist.destroy_process_group()


if __name__ == "__main__":
    main()
