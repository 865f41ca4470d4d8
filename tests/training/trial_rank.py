"""One rank of the exactness tests: trains trials and saves what it saw after each step. Run as a script.

python trial_rank.py RANK WORLD_SIZE FOLDER [DEVICE]

DEVICE is what all ranks compute on, the CPU if it is not given; `each` is a GPU for each rank, over NCCL.
"""

import copy
import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from mdr_tune.backbones import build_backbone
from mdr_tune.config.datasets import GlyphsDataConfig
from mdr_tune.config.trial import TrialConfig
from mdr_tune.data import ImageSplit, load_dataset
from mdr_tune.training import EmbeddingModel, Ranks, TrialSession
from mdr_tune.training.evaluate import evaluate


def train(trial: dict[str, Any], ranks: Ranks) -> list[dict[str, Any]]:
    """Train a trial whose epochs are one step long; returns losses, MDR's state and the weights after each."""
    few = trial.pop("classes", None)
    config = TrialConfig.model_validate({**trial, "iterations_per_epoch": 1})
    dtype = torch.float64 if config.precision == "fp32" else torch.float32
    dataset = load_dataset(GlyphsDataConfig())
    if few is not None:
        whole = dataset.split("train")
        part = ImageSplit(whole.images[: 12 * few], whole.labels[: 12 * few])
        dataset = replace(
            dataset, splits={**dataset.splits, "train": part}, content=f"{dataset.content}, {few} classes"
        )
    session = TrialSession(config, dataset, ranks, dtype)
    steps = []
    for _ in range(config.epochs):
        metrics = session.train_epoch()
        state = session.state_dict()
        steps.append(copy.deepcopy({"metrics": metrics, "objective": state["objective"], "model": state["model"]}))
    return steps


def main() -> None:
    rank, world_size, folder = int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3])
    torch.set_num_threads(1)
    device = sys.argv[4] if len(sys.argv) > 4 else "cpu"
    backend, device = ("nccl", f"cuda:{rank}") if device == "each" else ("gloo", device)
    if device.startswith("cuda"):
        torch.cuda.set_device(device)  # as a lane's worker has it
    store = f"file://{folder}/store{world_size}"
    dist.init_process_group(backend, init_method=store, rank=rank, world_size=world_size)
    ranks = Ranks.current(torch.device(device))
    trials = json.loads((folder / "trials.json").read_text())
    seen = {name: train(trial, ranks) for name, trial in trials.items()}
    split = load_dataset(GlyphsDataConfig()).split("validation")
    part = ImageSplit(split.images[torch.arange(601)], split.labels[:601])  # a number that neither 2 nor 3 divides
    torch.manual_seed(0)
    model = EmbeddingModel(build_backbone("conv4"), 16, "rescale").to(ranks.device, torch.float64)
    seen["validation"] = evaluate(model, part, ranks, (1, 2, 4, 8))
    torch.save(seen, folder / f"{world_size}_ranks_{rank}.pt")
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
