from pathlib import Path

import pytest
import torch

from mdr_tune.metric import (
    MDRLoss,
    gather_in_rank_order,
    gather_without_gradient,
    shard_sizes,
    shard_slice,
)
from tests.ranks import run_ranks


@pytest.mark.parametrize(("total", "world_size"), [(8, 1), (8, 2), (8, 3), (7, 4), (2, 3), (0, 2)])
def test_shards_split_as_torch_does(total, world_size):
    items = torch.arange(total)
    expected = torch.tensor_split(items, world_size)
    assert shard_sizes(total, world_size) == [len(shard) for shard in expected]
    for rank, shard in enumerate(expected):
        assert torch.equal(items[shard_slice(total, world_size, rank)], shard)


def test_impossible_shards_are_refused():
    with pytest.raises(ValueError, match="world_size >= 1"):
        shard_sizes(4, 0)
    with pytest.raises(ValueError, match="total >= 0"):
        shard_sizes(-1, 2)
    with pytest.raises(ValueError, match="rank must be"):
        shard_slice(4, 2, 2)


@pytest.mark.parametrize("gather", [gather_in_rank_order, gather_without_gradient])
def test_one_process_gets_its_input_back(gather):
    local = torch.rand(3, 2)
    assert gather(local, [3]) is local
    with pytest.raises(ValueError, match="one entry for each"):
        gather(local, [3, 3])
    with pytest.raises(ValueError, match="holds 3 rows"):
        gather(local, [4])


@pytest.mark.parametrize("world_size", [1, 2, 3])
def test_ranks_compute_what_one_process_does(tmp_path, world_size):
    generator = torch.Generator().manual_seed(world_size)
    embeddings = torch.rand(11, 4, generator=generator, dtype=torch.float64)  # does not divide by 2 or 3
    labels = torch.arange(11) % 3
    torch.save({"embeddings": embeddings, "labels": labels}, tmp_path / "inputs.pt")
    run_ranks(Path(__file__).with_name("gather_worker.py"), world_size, str(tmp_path))

    alone = embeddings.clone().requires_grad_()
    mdr = MDRLoss().double()
    loss = mdr(alone)
    loss.backward()
    for rank in range(world_size):
        seen = torch.load(tmp_path / f"rank_{rank}.pt")
        assert torch.equal(seen["gathered"], embeddings)
        assert torch.equal(seen["labels"], labels)
        assert seen["late"].tolist() == [world_size - 1] * 3
        torch.testing.assert_close(seen["loss"], loss.detach(), rtol=1e-14, atol=0)
        torch.testing.assert_close(seen["level_gradient"], mdr.levels.grad, rtol=1e-14, atol=0)
        own = alone.grad[shard_slice(11, world_size, rank)]
        torch.testing.assert_close(seen["gradient"], world_size * own, rtol=1e-12, atol=1e-15)
        assert seen["metrics"] == pytest.approx(seen["metrics_alone"], rel=1e-12)
