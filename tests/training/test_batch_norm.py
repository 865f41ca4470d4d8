"""BatchNorm over all ranks on a GPU. `test_exact_ddp` has it among real ranks, on CPUs, with shares that differ."""

import torch
from torch import nn

from mdr_tune.training import Ranks
from mdr_tune.training.batch_norm import GlobalBatchNorm2d, synchronize_batch_norm
from tests.pretended_gpu import pretended_gpu

IMAGES = torch.randn(5, 3, 4, 4, generator=torch.Generator().manual_seed(0))


class Twins(Ranks):
    """Two ranks that have the same images."""

    def all_gather(self, tensor: torch.Tensor) -> torch.Tensor:
        return torch.stack([tensor, tensor])


def test_it_is_that_of_the_whole_batch_and_waits_for_nothing() -> None:
    expected_layer, inputs = nn.BatchNorm2d(3), torch.cat([IMAGES, IMAGES]).requires_grad_()
    expected = expected_layer(inputs)
    (expected * torch.arange(4.0)).sum().backward()
    assert inputs.grad is not None
    with pretended_gpu() as gpu:
        network = nn.Sequential(nn.BatchNorm2d(3)).to(gpu.device)
        synchronize_batch_norm(network, Twins(rank=0, world_size=2, device=gpu.device), batch_size=10)
        assert type(network[0]) is GlobalBatchNorm2d
        ours, factors = IMAGES.to(gpu.device).requires_grad_(), torch.arange(4.0, device=gpu.device)
        gpu.forget()
        output = network(ours)
        (output * factors).sum().backward()
        assert (gpu.syncs.total(), gpu.copies) == (0, 0)
        assert ours.grad is not None
        torch.testing.assert_close(output.cpu(), expected[:5])
        torch.testing.assert_close(ours.grad.cpu(), inputs.grad[:5], rtol=1e-4, atol=1e-5)
        for name, buffer in expected_layer.named_buffers():
            torch.testing.assert_close(network[0].get_buffer(name).cpu(), buffer)
