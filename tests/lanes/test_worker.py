"""What a worker takes for the loss of another one."""

import multiprocessing
import os
import signal
import threading
import time
from datetime import timedelta
from multiprocessing.connection import Connection

import pytest
import torch.distributed as dist

from mdr_tune.lanes.worker import _says_peer_lost


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
    assert _says_peer_lost(lost.value)


@pytest.mark.parametrize(
    ("error", "is_lost"),
    [
        (RuntimeError("Connection closed by peer [10.0.0.2]:1234"), True),
        (RuntimeError("NCCL error: remote process exited or there was a network error"), True),
        (RuntimeError("CUDA out of memory"), False),
        (ValueError("margin"), False),
    ],
)
def test_by_what_it_is_told(error: Exception, is_lost: bool) -> None:
    assert _says_peer_lost(error) == is_lost
