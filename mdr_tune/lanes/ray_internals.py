"""What Ray tells about itself, and lets be done with it, by private names only."""

import contextlib
import functools
import threading
from collections.abc import Iterator

import ray
import ray._private.ray_constants
import ray._private.services
import ray._private.state
import ray._private.utils
import ray._private.worker

VITAL_PROCESSES = ("gcs_server", "raylet")
"""Processes without which Ray is lost, by Ray's names."""
_ended_here = threading.Event()


def controllers() -> set[int]:
    """Return the processes of this driver's controllers of Ray Train; they are on its node."""
    job = ray.JobID.from_hex(ray.get_runtime_context().get_job_id())
    actors = ray._private.state.actors(job_id=job, actor_state_name="ALIVE").values()
    return {int(actor["Pid"]) for actor in actors if actor["ActorClassName"] == "TrainController"}


def owns_ray() -> bool:
    """Return whether this process started the Ray that it uses, whose autoscaler then has no nodes to add."""
    node = ray._private.worker._global_node
    return node is not None and bool(node.is_head())


def end_ray_at_once() -> None:
    """End the Ray that this process started, if it did, without waiting for anything in it."""
    _ended_here.set()
    if owns_ray():
        ray._private.worker._global_node.kill_all_processes(check_alive=False, allow_graceful=False)


@contextlib.contextmanager
def apart_from_signals() -> Iterator[None]:
    """Keep the signals of this process's group from what `ray.init` starts in the block, and Ray from taking SIGTERM.

    Ray's processes get sessions of their own: else Ctrl-C in a terminal, `timeout` or `kill -TERM -- -GROUP` would end
    Ray under this process. They end with it all the same, since the kernel kills them when it dies. Where the kernel
    cannot, off Linux, they stay in the group, which Ray's own reaper ends. Ray's handlers of SIGTERM, one in Python and
    one in C++, would end this process in the middle of anything.
    """
    services, utils, constants = ray._private.services, ray._private.utils, ray._private.ray_constants
    before = services.ConsolePopen, utils.set_sigterm_handler, constants.RAY_DISABLE_FAILURE_SIGNAL_HANDLER
    if utils.detect_fate_sharing_support():
        services.ConsolePopen = functools.partial(services.ConsolePopen, start_new_session=True)
    utils.set_sigterm_handler = lambda handler: None
    constants.RAY_DISABLE_FAILURE_SIGNAL_HANDLER = True
    try:
        yield
    finally:
        services.ConsolePopen, utils.set_sigterm_handler, constants.RAY_DISABLE_FAILURE_SIGNAL_HANDLER = before


def lost_process() -> str | None:
    """Return the name of a process of the Ray started here that is gone, if Ray is lost without it.

    None if there is no such process, or if it was ended by `end_ray_at_once`.
    """
    node = ray._private.worker._global_node
    dead = [] if node is None or _ended_here.is_set() else [name for name, _ in node.dead_processes()]
    return next((name for name in dead if name in VITAL_PROCESSES), None)
