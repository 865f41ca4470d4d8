"""Bring the workers of a lane together: wait until all have their data, then test one collective operation."""

import threading
import uuid
from collections.abc import Callable
from datetime import timedelta

import torch.distributed as dist

from mdr_tune.lanes.failures import says_peer_lost
from mdr_tune.training import Ranks
from mdr_tune.util.errors import UserError

FIRST_COLLECTIVE_S = 120.0
"""Seconds in which the first collective operation must end. NCCL usually needs a few seconds to connect."""

_WHAT_TO_SET = {
    "nccl": "the GPUs do not reach each other. NCCL_DEBUG=INFO has its log say why. What often helps: more shared "
    "memory (docker run --shm-size=8g; on Kubernetes a volume of medium: Memory at /dev/shm), NCCL_P2P_DISABLE=1 where "
    "GPUs of a node cannot copy to each other, NCCL_SOCKET_IFNAME=NAME of the network between nodes",
    "gloo": "they do not reach each other. GLOO_SOCKET_IFNAME=NAME names the network to use, where there are several",
}


def meet(ranks: Ranks, data_timeout_s: float, give_up: Callable[[str], None]) -> str:
    """Wait until all workers of the lane are there, and return a unique name for this group of workers.

    Args:
        ranks: This worker's rank among the lane's workers, and its device.
        data_timeout_s: Seconds in which the other workers must have their images ready.
        give_up: Function that is called with the reason if the first collective does not end in time. The call comes
            from another thread, because `meet` itself then hangs.

    Raises:
        UserError: The first collective failed; the message says which setting may help.
        RuntimeError: Another worker is gone, or did not have its images ready in time.
    """
    name = [uuid.uuid4().hex]
    if ranks.world_size == 1:
        return name[0]
    store = dist.distributed_c10d._get_default_store()
    store.set(f"has_data/{ranks.rank}", "")
    store.wait([f"has_data/{rank}" for rank in range(ranks.world_size)], timedelta(seconds=data_timeout_s))
    backend = dist.get_backend()
    first, what_to_set = f"the first collective of its {ranks.world_size} workers", _WHAT_TO_SET.get(backend, backend)
    why = f"{first} did not end in {FIRST_COLLECTIVE_S:g} s: {what_to_set}"
    watch = threading.Timer(FIRST_COLLECTIVE_S, give_up, [why])
    watch.start()
    try:
        dist.broadcast_object_list(name, src=0)
    except RuntimeError as error:
        if says_peer_lost(error):
            raise
        raise UserError(f"{first} failed ({error}): {what_to_set}") from error
    finally:
        watch.cancel()
    return name[0]
