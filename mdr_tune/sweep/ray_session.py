"""Start Ray for a sweep or connect to a cluster, without printing Ray's messages, and undo that afterwards."""

import contextlib
import logging
from collections.abc import Iterator

from mdr_tune.cluster.auth_token import guard_token
from mdr_tune.cluster.ray_environment import local_environment, prepare_environment
from mdr_tune.cluster.ray_start import start_failure
from mdr_tune.lanes.ray_seams import (
    close_session_folder,
    end_ray_at_once,
    keep_node_reports_off_the_terminal,
    our_start_of_ray,
    owns_ray,
)
from mdr_tune.sweep.interrupts import ends_at_once_if_interrupted
from mdr_tune.sweep.ray_watch import ended_if_ray_is_lost
from mdr_tune.util.errors import UserError
from mdr_tune.util.signals import interrupts_answered


@contextlib.contextmanager
def ray_session(address: str | None, num_cpus: int) -> Iterator[None]:
    """Start Ray on this machine, or connect to the cluster at `address` if it is not None; undo that after the block.

    If this process already uses Ray, that Ray is used, and it keeps running after the block. `num_cpus` is the number
    of CPUs that Ray may use if it is started here.

    Raises:
        UserError: Ray does not start, or there is no cluster at the address.
    """
    prepare_environment()
    import ray

    keep_node_reports_off_the_terminal()
    started_here = not ray.is_initialized()
    is_local = started_here and address is None
    if is_local:
        guard_token()
        try:
            with our_start_of_ray() as end_it, interrupts_answered(end_it):
                ray.init(
                    address="local",
                    num_cpus=num_cpus,
                    include_dashboard=True,  # Ray Train asks it whether a controller lives, to free what it held
                    dashboard_host="127.0.0.1",
                    log_to_driver=False,
                    logging_level=logging.ERROR,
                )
        except Exception as error:
            raise UserError(start_failure(error)) from error
        close_session_folder()
    elif started_here and address is not None:
        from mdr_tune.cluster.joined import connect

        connect(address)
    for name in ("ray", "ray.train", "ray.data"):
        logging.getLogger(name).setLevel(logging.ERROR)
    logging.getLogger("ray.tune").setLevel(logging.CRITICAL)  # failed trials are told by our own listeners
    head = None if owns_ray() else ray.get_runtime_context().gcs_address
    try:
        with (
            local_environment() if is_local else contextlib.nullcontext(),  # is read when a lane's trainer is made
            ended_if_ray_is_lost(head),
        ):
            yield
    finally:
        if started_here:
            with ends_at_once_if_interrupted(end_ray_at_once):
                ray.shutdown()
