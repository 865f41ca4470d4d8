"""One rank of `test_gather`: gathers shards of the global batch and saves what it saw. Run as a script."""

import sys
from pathlib import Path

import torch
import torch.distributed as dist

from mdr_tune.metric import (
    MDRLoss,
    gather_in_rank_order,
    gather_without_gradient,
    retrieval_metrics,
    score_queries,
    shard_sizes,
    shard_slice,
)
from mdr_tune.metric.retrieval import metrics_from_sums


def main(rank, world_size, folder):
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=world_size)
    inputs = torch.load(folder / "inputs.pt")
    embeddings, labels = inputs["embeddings"], inputs["labels"]
    total = len(embeddings)
    sizes, own = shard_sizes(total, world_size), shard_slice(total, world_size, rank)
    local = embeddings[own].clone().requires_grad_()
    gathered = gather_in_rank_order(local, sizes)
    mdr = MDRLoss().double()
    loss = mdr(gathered)
    loss.backward()
    gathered_labels = gather_without_gradient(labels[own], sizes)
    sums = score_queries(gathered.detach(), gathered_labels, ks=(1, 2), rows=own)
    dist.all_reduce(sums)
    uneven = [0] * (world_size - 1) + [3]
    late = gather_without_gradient(torch.full((uneven[rank],), rank), uneven)
    results = {
        "gathered": gathered.detach(),
        "labels": gathered_labels,
        "loss": loss.detach(),
        "gradient": local.grad,
        "level_gradient": mdr.levels.grad,
        "metrics": metrics_from_sums(sums, ks=(1, 2)),
        "metrics_alone": retrieval_metrics(embeddings, labels, ks=(1, 2)),
        "late": late,
    }
    torch.save(results, folder / f"rank_{rank}.pt")
    dist.destroy_process_group()


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]))
