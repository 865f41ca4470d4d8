"""Find out from a worker's exception whether the trial, another worker or the device is to blame."""

import traceback

import torch
import torch.distributed as dist

from mdr_tune.lanes.messages import Failure, FailureKind
from mdr_tune.training import Ranks, TrialDiverged

_PEER_LOST_SIGNS = (
    "connection closed by peer",
    "connection reset",
    "broken pipe",
    "connection refused",
    "remote process exited",  # this text and the next two are NCCL's for ncclRemoteError
    "remote process exiting",
    "remote peer",
    "communicator was aborted",
)


def failure_of(error: Exception, ranks: Ranks) -> Failure:
    """Return the `Failure` that this worker, described by `ranks`, reports after a command raised `error`.

    The lane keeps its workers if the trial diverged, or if its code failed on CPUs or on a single GPU. Otherwise all
    workers are replaced. With several GPUs, one worker's collective operation may still wait for the others, and NCCL
    runs no further collective before that one has ended.
    """
    kind = _kind_of(error, ranks)
    if kind == "diverged":
        return Failure(str(error), kind)
    may_be_stuck = ranks.world_size > 1 and ranks.device.type == "cuda"
    text = "".join(traceback.format_exception(error))
    return Failure(text, kind, ends_group=kind != "failed" or may_be_stuck)


def _kind_of(error: Exception, ranks: Ranks) -> FailureKind:
    if isinstance(error, TrialDiverged):
        return "diverged"
    if says_peer_lost(error):
        return "peer_lost"
    return "device_lost" if _is_device_lost(error, ranks.device, ranks.world_size) else "failed"


def says_peer_lost(error: Exception) -> bool:
    """Return whether `error`, for example of a failed collective operation, says that another worker is gone."""
    is_of_network = isinstance(error, dist.DistNetworkError)  # rank 0, which hosts torch's store, is gone
    return is_of_network or any(sign in str(error).lower() for sign in _PEER_LOST_SIGNS)


def _is_device_lost(error: Exception, device: torch.device, world_size: int) -> bool:
    """Return whether this process, one of `world_size` ranks, can no longer use its GPU `device` after `error`.

    After a failed assertion in a kernel, an illegal memory access or a hardware error, every further operation of the
    process on the GPU fails. If the type of `error` does not show this, the function tries to use the GPU.
    """
    if isinstance(error, torch.OutOfMemoryError):
        return False
    if isinstance(error, torch.AcceleratorError) and "out of memory" not in str(error):
        return True
    if device.type != "cuda":
        return False
    try:
        # With several ranks, do not synchronize: a collective may wait for a rank that will not come.
        torch.cuda.synchronize(device) if world_size == 1 else torch.cuda.current_stream(device).query()
    except Exception:
        return True
    return False
