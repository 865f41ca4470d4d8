"""What Ray tells about itself, and lets be done with it, by private names only."""

import atexit
import contextlib
import functools
import os
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import ray
import ray._private.node
import ray._private.ray_constants
import ray._private.services
import ray._private.state
import ray._private.utils
import ray._private.worker

from mdr_tune.lanes.processes import end_sessions
from mdr_tune.util.signals import interrupts_deferred

T = TypeVar("T")

NODE_TIMEOUT_S = 180.0
POLL_S = 0.2
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
def our_start_of_ray() -> Iterator[Callable[[], None]]:
    """Have `ray.init` in the block start Ray as a launch needs it; yields what ends its processes at once.

    - Its processes get sessions of their own: else Ctrl-C in a terminal, `timeout` or `kill -TERM -- -GROUP` would end
      Ray under this process. They end with it all the same, since the kernel kills them when it dies. Where the kernel
      cannot, off Linux, they stay in the group, which Ray's own reaper ends.
    - Ray's handlers of SIGTERM, one in Python and one in C++, are not installed: they would end this process in the
      middle of anything.
    - Its node has NODE_TIMEOUT_S to appear, not 30 s. If the start fails, none of its processes is left.
    - Its first process is waited for in Python: while Ray itself waits, no thread of this process runs, and no handler
      of a signal.
    """
    services, utils, constants = ray._private.services, ray._private.utils, ray._private.ray_constants
    node = ray._private.node
    before = services.ConsolePopen, services.get_node, utils.set_sigterm_handler, node.wait_for_persisted_port
    handles_failures = constants.RAY_DISABLE_FAILURE_SIGNAL_HANDLER
    started: list[subprocess.Popen[bytes]] = []

    def start(*arguments: Any, **options: Any) -> Any:
        own_session = utils.detect_fate_sharing_support()
        with interrupts_deferred():  # a process that is not in the list would stay
            started.append(before[0](*arguments, **options, start_new_session=own_session))
        return started[-1]

    def may_come() -> bool:
        return all(process.poll() is None for process in started)

    def wait_for_port(folder: str, node_id: str, port: str, timeout_ms: int) -> Any:
        return patient(functools.partial(before[3], folder, node_id, port, timeout_ms=0), may_come)

    def end_all() -> None:
        end_sessions([process.pid for process in started])

    services.ConsolePopen = start
    services.get_node = functools.partial(patient, before[1], may_come)
    node.wait_for_persisted_port = wait_for_port
    utils.set_sigterm_handler = lambda handler: None
    constants.RAY_DISABLE_FAILURE_SIGNAL_HANDLER = True
    try:
        yield end_all
    except BaseException as error:
        end_all()
        for process in started:
            process.wait()
        if isinstance(error, KeyboardInterrupt):
            atexit.register(os._exit, 1)  # what is left of Ray in this process may wait for ever, or crash
        raise
    finally:
        services.ConsolePopen, services.get_node, utils.set_sigterm_handler, node.wait_for_persisted_port = before
        constants.RAY_DISABLE_FAILURE_SIGNAL_HANDLER = handles_failures


def patient(ask: Callable[..., T], may_come: Callable[[], bool], *arguments: Any) -> T:
    """Return the answer to a question that raises RuntimeError as long as there is none.

    Args:
        ask: The question.
        may_come: Whether an answer may still come.
        arguments: Of the question.
    """
    end = time.monotonic() + NODE_TIMEOUT_S
    while True:
        try:
            return ask(*arguments)
        except RuntimeError:
            if time.monotonic() > end or not may_come():
                raise
        time.sleep(POLL_S)


def close_session_folder() -> None:
    """Keep other users out of the folder of the Ray started here, which Ray makes writable for all of them."""
    os.chmod(ray._private.worker._global_node.get_session_dir_path(), 0o700)


def lost_process() -> str | None:
    """Return the name of a process of the Ray started here that is gone, if Ray is lost without it.

    None if there is no such process, or if it was ended by `end_ray_at_once`.
    """
    node = ray._private.worker._global_node
    dead = [] if node is None or _ended_here.is_set() else [name for name, _ in node.dead_processes()]
    return next((name for name in dead if name in VITAL_PROCESSES), None)
