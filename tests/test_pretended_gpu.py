"""The pretended GPU keeps the rules of CUDA and counts what a GPU would cost."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torch import nn

from mdr_tune.data.prefetch import prefetch
from tests.pretended_gpu import PretendedGPU, pretended_gpu


@pytest.fixture
def gpu() -> Iterator[PretendedGPU]:
    with pretended_gpu() as gpu:
        yield gpu


def test_tensors_say_where_they_are_and_hold_their_values(gpu: PretendedGPU) -> None:
    there = torch.arange(6.0).reshape(2, 3).to(gpu.device)
    for tensor in (there, torch.ones(2, device="cuda"), torch.tensor([1.0], device=gpu.device), there.new_zeros(3)):
        assert tensor.device == torch.device("cuda:0")
        assert tensor.is_cuda
    assert (there @ there.t()).cpu().tolist() == [[5.0, 14.0], [14.0, 50.0]]
    there[0, 1:] = -1
    there.t()[0].add_(5)
    assert there.tolist() == [[5.0, -1.0, -1.0], [8.0, 4.0, 5.0]]
    assert there.cpu().device.type == "cpu"


@pytest.mark.parametrize(
    "mix",
    [
        lambda there, here: there + here,
        lambda there, here: there @ here,
        lambda there, here: torch.cat([there, here]),
        lambda there, here: torch.where(here > 0, there, there),
        lambda there, here: there.index_select(0, torch.tensor([0])),
        lambda there, here: here[torch.ones(2, dtype=torch.int64, device="cuda")],
        lambda there, here: torch.stack([there.sum(), here.sum()]),
        lambda there, here: nn.functional.linear(there, here),
    ],
)
def test_devices_do_not_mix(gpu: PretendedGPU, mix: Callable[..., torch.Tensor]) -> None:
    with pytest.raises(RuntimeError, match="Expected all tensors to be on the same device"):
        mix(torch.ones(3, 3).cuda(), torch.ones(3, 3))


def test_numbers_and_indices_on_the_cpu_are_taken_where_cuda_takes_them(gpu: PretendedGPU) -> None:
    there = torch.arange(3.0, device="cuda")
    assert (there + torch.tensor(2.0)).tolist() == [2.0, 3.0, 4.0]
    assert (torch.tensor(2.0) * there).is_cuda
    assert gpu.copies == 0
    assert there[torch.tensor([2, 0])].tolist() == [2.0, 0.0]
    assert gpu.copies == 1  # of the indices


def test_a_generator_draws_on_its_own_device(gpu: PretendedGPU) -> None:
    on_cpu, on_gpu = torch.Generator(), torch.Generator("cuda")
    assert torch.rand(2, device="cuda", generator=on_gpu.manual_seed(3)).is_cuda
    with pytest.raises(RuntimeError, match="Expected a 'cuda' device type for generator"):
        torch.rand(2, device="cuda", generator=on_cpu)
    with pytest.raises(RuntimeError, match="Expected a 'cpu' device type for generator"):
        torch.rand(2, generator=on_gpu)


@pytest.mark.parametrize(
    ("waits", "times"),
    [
        (lambda x: x.sum().item(), 1),
        (lambda x: bool(x.sum() > 0), 1),
        (lambda x: float(x[0]), 1),
        (lambda x: x.tolist(), 1),
        (lambda x: x.cpu(), 1),
        (lambda x: x.nonzero(), 1),
        (lambda x: x[x > 1], 1),
        (lambda x: x.unique(), 1),
        (lambda x: x.long().bincount(), 2),
        (lambda x: torch.equal(x, x + 1), 1),
        (lambda x: x.masked_fill(x > 1, x.max()), 1),
        (lambda x: x.repeat_interleave(x.long()), 1),
        (lambda x: x.repeat_interleave(x.long(), output_size=6), 0),
        (lambda x: torch.nonzero_static(x, size=3), 0),
        (lambda x: x.masked_fill(x > 1, 5.0), 0),
        (lambda x: x.index_put_((x > 1,), x.new_zeros(())), 0),
        (lambda x: x.to("cpu", non_blocking=True), 0),
        (lambda x: torch.cuda.synchronize(), 1),
    ],
)
def test_what_waits_for_the_gpu_is_counted(gpu: PretendedGPU, waits: Callable[..., object], times: int) -> None:
    numbers = torch.arange(4.0).cuda()
    gpu.forget()
    waits(numbers)
    assert gpu.syncs.total() == times


def test_copies_that_are_not_out_of_pinned_memory_are_counted(gpu: PretendedGPU) -> None:
    here = torch.ones(4)
    pinned = here.pin_memory()
    assert (pinned.is_pinned(), here.is_pinned()) == (True, False)
    assert pinned[1:].is_pinned()
    assert torch.empty(3, pin_memory=True).is_pinned()
    pinned.to(gpu.device, non_blocking=True)
    torch.empty(3, device=gpu.device).copy_(pinned[1:], non_blocking=True)
    assert gpu.copies == 0
    pinned.to(gpu.device)
    here.to(gpu.device, non_blocking=True)
    torch.empty(4, device=gpu.device).copy_(here)
    torch.tensor([1.0], device=gpu.device)
    assert gpu.copies == 4


def test_views_start_nothing(gpu: PretendedGPU) -> None:
    there = torch.ones(2, 3, device="cuda")
    gpu.forget()
    there.t().reshape(6)[1:].unsqueeze(0).detach()
    assert gpu.operations == {"clone": 1}  # of the reshape
    torch.relu(there) + 1
    assert gpu.operations == {"clone": 1, "relu": 1, "add": 1}


def test_a_network_trains_as_on_the_cpu(gpu: PretendedGPU) -> None:
    def train(device: torch.device | str) -> list[float]:
        torch.manual_seed(0)
        network = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(64, 2))
        images = torch.rand(5, 1, 6, 6)
        network.to(device)
        optimizer = torch.optim.Adam(network.parameters(), lr=0.1)
        losses = []
        for _ in range(3):
            optimizer.zero_grad()
            loss = network(images.to(device)).pow(2).mean()
            loss.backward()
            nn.utils.clip_grad_norm_(network.parameters(), 1.0)
            optimizer.step()
            losses.append(float(loss.detach()))
        assert all(parameter.device.type == torch.device(device).type for parameter in network.parameters())
        return losses

    assert train(gpu.device) == pytest.approx(train("cpu"), rel=1e-5)
    assert gpu.operations["_foreach_lerp_"] == 3  # as on a GPU, where the optimizer takes all parameters together


def test_autocast_is_that_of_the_gpu(gpu: PretendedGPU) -> None:
    layer = nn.Linear(3, 2).cuda()
    with torch.autocast("cuda", torch.bfloat16):
        output = layer(torch.ones(4, 3, device="cuda"))
        again = layer(output.new_ones(4, 3))
        assert (output.dtype, again.dtype) == (torch.bfloat16, torch.bfloat16)
        assert output.softmax(1).dtype == torch.float32
        with torch.autocast("cuda", enabled=False):
            assert layer(torch.ones(4, 3, device="cuda")).dtype == torch.float32
    output.float().sum().backward()
    assert layer.weight.grad is not None
    assert layer.weight.grad.dtype == torch.float32


def test_threads_of_prefetch_know_it(gpu: PretendedGPU) -> None:
    read = prefetch(lambda n: torch.full((2,), n).pin_memory(), [1.0, 2.0])
    assert [batch.to(gpu.device, non_blocking=True).tolist() for batch in read] == [[1.0, 1.0], [2.0, 2.0]]
    assert gpu.copies == 0


def test_all_is_as_before_afterwards() -> None:
    with pretended_gpu() as gpu:
        there = torch.ones(2, device=gpu.device)
    assert not torch.cuda.is_available()
    assert torch.Generator().device.type == "cpu"
    assert ThreadPoolExecutor.__module__ == "concurrent.futures.thread"
    with pytest.raises(RuntimeError, match="outside of"):
        there + 1


def test_lists_are_indices_forward_and_backward() -> None:
    with pretended_gpu() as gpu:
        there = torch.ones(3, 3).to(gpu.device).requires_grad_()
        changed = there.clone()
        changed[[0, 1, 2], [0, 1, 2]] = 0
        (changed.sum() + there[[0]].sum()).backward()
        gradient, value = there.grad.cpu(), changed.detach().cpu()
    off_diagonal = 1 - torch.eye(3)
    assert torch.equal(value, off_diagonal)
    assert torch.equal(gradient, off_diagonal + torch.tensor([1.0, 0, 0])[:, None])


@pytest.mark.parametrize(("waits", "records"), [(True, True), (True, False), (False, True)])
def test_what_one_stream_writes_and_another_uses(gpu: PretendedGPU, waits: bool, records: bool) -> None:
    here, copies = torch.cuda.current_stream(gpu.device), torch.cuda.Stream(gpu.device)
    with torch.cuda.stream(copies):
        there = torch.ones(3).pin_memory().to(gpu.device, non_blocking=True)
    if waits:
        here.wait_stream(copies)
    if records:
        there.record_stream(here)
    assert there[1:].sum().item() == 2
    del there
    expected = [] if records else ["memory was used on a stream that record_stream did not name"]
    expected += [] if waits else ["sum does not wait for the stream that writes what it uses"]
    assert gpu.streams.mistakes == expected
