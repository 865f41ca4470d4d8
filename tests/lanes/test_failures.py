"""What a worker takes for the loss of another one."""

import multiprocessing
import os
import signal
import threading
import time
from datetime import timedelta
from multiprocessing.connection import Connection
from unittest import mock

import pytest
import torch
import torch.distributed as dist

from mdr_tune.lanes.failures import failure_of, says_peer_lost
from mdr_tune.training import Ranks, TrialDiverged


def own_a_store(say: Connection) -> None:
    store = dist.TCPStore("127.0.0.1", 0, is_master=True)
    say.send(store.port)
    time.sleep(60)


def test_the_loss_of_the_rank_that_has_the_store_is_no_failure_of_the_trial() -> None:
    here, there = multiprocessing.get_context("spawn").Pipe()
    owner = multiprocessing.get_context("spawn").Process(target=own_a_store, args=(there,))
    owner.start()
    try:
        store = dist.TCPStore("127.0.0.1", here.recv(), is_master=False)
        store.set_timeout(timedelta(seconds=30))
        assert owner.pid is not None
        threading.Timer(0.5, os.kill, (owner.pid, signal.SIGKILL)).start()
        with pytest.raises(RuntimeError) as lost:
            store.get("never")
    finally:
        owner.kill()
        owner.join()
    assert says_peer_lost(lost.value)


@pytest.mark.parametrize(
    ("error", "is_lost"),
    [
        (RuntimeError("Connection closed by peer [10.0.0.2]:1234"), True),
        (RuntimeError("NCCL error: remote process exited or there was a network error"), True),
        (RuntimeError("ncclRemoteError: A call failed possibly due to a remote process exiting prematurely."), True),
        (RuntimeError("NCCL communicator was aborted on rank 1."), True),
        (RuntimeError("socketProgress: Connection closed by remote peer"), True),
        (RuntimeError("CUDA out of memory"), False),
        (ValueError("margin"), False),
    ],
)
def test_by_what_it_is_told(error: Exception, is_lost: bool) -> None:
    assert says_peer_lost(error) == is_lost


def kind_of(error: Exception, device: str = "cpu", world_size: int = 1) -> tuple[str, bool]:
    failure = failure_of(error, Ranks(0, world_size, torch.device(device)))
    return failure.kind, failure.ends_group


def test_an_error_of_the_accelerator_ends_the_worker() -> None:
    assert kind_of(torch.AcceleratorError("CUDA error: device-side assert triggered")) == ("device_lost", True)
    assert kind_of(torch.AcceleratorError("CUDA error: out of memory")) == ("failed", False)
    assert kind_of(torch.OutOfMemoryError("CUDA out of memory")) == ("failed", False)


def test_so_does_a_gpu_that_fails_when_it_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(device: torch.device) -> None:
        raise RuntimeError("CUDA error: unspecified launch failure")

    monkeypatch.setattr(torch.cuda, "synchronize", fails)
    assert kind_of(ValueError("an index of a user's loss"), "cuda") == ("device_lost", True)
    assert kind_of(torch.OutOfMemoryError("CUDA out of memory"), "cuda") == ("failed", False)
    assert kind_of(ValueError("an index of a user's loss"), "cpu") == ("failed", False)


def test_several_ranks_on_gpus_are_not_used_again_after_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    monkeypatch.setattr(torch.cuda, "synchronize", lambda device: asked.append("synchronize"))
    stream = mock.Mock(**{"query.side_effect": lambda: asked.append("query")})
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: stream)
    assert kind_of(ValueError("margin"), "cuda", 2) == ("failed", True)
    assert asked == ["query"]  # which does not wait for a collective that another rank never joins
    assert kind_of(ValueError("margin"), "cuda", 1) == ("failed", False)
    stream.query.side_effect = RuntimeError("CUDA error: unspecified launch failure")
    assert kind_of(ValueError("margin"), "cuda", 2) == ("device_lost", True)
    assert kind_of(ValueError("margin"), "cpu", 2) == ("failed", False)
    assert kind_of(TrialDiverged("the loss is not finite"), "cuda", 2) == ("diverged", False)


def test_the_text_is_the_traceback_or_one_sentence_of_a_trial_that_diverged() -> None:
    try:
        raise ValueError("margin")
    except ValueError as error:
        text = failure_of(error, Ranks()).text
    assert text.startswith("Traceback (most recent call last)")
    assert text.endswith("ValueError: margin\n")
    assert failure_of(TrialDiverged("the loss is not finite"), Ranks()).text == "the loss is not finite"
