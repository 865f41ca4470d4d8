"""One rank of a trial on kept features, with a cache folder of its own, as on a node of a cluster.

python features_rank.py RANK WORLD_SIZE FOLDER
"""

import os
import sys
from pathlib import Path

import torch
import torch.distributed as dist

from mdr_tune.config.trial import TrialConfig
from mdr_tune.training import Ranks, TrialSession
from tests.training.test_frozen_features import FIXED, STEPS, part_of_letters


def main() -> None:
    rank, world_size, folder = int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3])
    letters = part_of_letters()
    os.environ["MDR_TUNE_CACHE"] = str(folder / f"node {rank} of {world_size}")
    torch.set_num_threads(1)
    store = f"file://{folder}/store{world_size}"
    dist.init_process_group("gloo", init_method=store, rank=rank, world_size=world_size)
    trial = TrialConfig.from_keys({**STEPS, "embedding": {"size": 8}, **FIXED["three views"]})
    session = TrialSession(trial, letters, Ranks.current(torch.device("cpu")), torch.float64)
    session.prepare_features()
    progress = session.progress
    metrics = [session.run_epoch() for _ in range(trial.epochs)]
    seen = {"metrics": metrics, "model": session.state_dict()["model"], "batches": progress}
    torch.save(seen, folder / f"{world_size}_ranks_{rank}.pt")
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
