"""The Ray session of a sweep: started or joined, quiet, and ended with the sweep."""

import contextlib
import logging
import os
from collections.abc import Iterator
from typing import Any

from mdr_tune.signals import interrupt_on_sigterm, interrupts_deferred

ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # Ray announces a change of default otherwise
    "RAY_AIR_NEW_OUTPUT": "0",  # the status line is ours
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",  # no CSV, JSON and TensorBoard files beside MLflow
    "TUNE_DISABLE_SIGINT_HANDLER": "1",  # ours ends a sweep in order, see `interrupts`
    "TUNE_GLOBAL_CHECKPOINT_S": "1000000",  # Tune's own state is not used: the journal is, see `resume`
    "TUNE_DISABLE_STRICT_METRIC_CHECKING": "1",  # a trial that failed has no metric
    "TUNE_MAX_PENDING_TRIALS_PG": "16",  # trials that start side by side; there are never more than lanes
    "RAY_worker_maximum_startup_concurrency": "8",  # on few cores Ray warns of our few processes otherwise
    "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S": "2592000",  # a lane waits for its nodes as long as the user does
}


def prepare_environment() -> None:
    """Set what Ray reads from the environment when it is imported or started; call before importing it."""
    for key, value in ENVIRONMENT.items():
        os.environ.setdefault(key, value)


@contextlib.contextmanager
def _ended_if_interrupted() -> Iterator[None]:
    import ray

    try:
        yield
    except KeyboardInterrupt:
        ray.shutdown()
        raise


def _keep_off_the_terminal() -> None:
    """Send what Ray's nodes report to this process (a worker that died, for one) to a log, as all else of Ray's.

    Ray prints it past its settings. What a user should know of it, the lanes tell in their own words.
    """
    import ray._private.worker

    def log(data: dict[str, Any], ignore_prefix: bool) -> None:
        logging.getLogger("ray.node").warning("%s", data["lines"])

    ray._private.worker.print_to_stdstream = log


@contextlib.contextmanager
def ray_session(address: str | None, num_cpus: int) -> Iterator[None]:
    """Connect to the cluster at `address`, or start Ray on this machine; disconnect, or end it, at the end.

    A session that this process has already is used as it is and left as it is.
    """
    prepare_environment()
    import ray

    _keep_off_the_terminal()
    started_here = not ray.is_initialized()
    if started_here and address is None:
        # In the middle of its start Ray may never come back; an interrupt that came then is raised after it.
        with _ended_if_interrupted(), interrupts_deferred():
            ray.init(
                address="local",
                num_cpus=num_cpus,
                include_dashboard=True,
                dashboard_host="127.0.0.1",
                log_to_driver=False,
                logging_level=logging.ERROR,
            )
    elif started_here and address is not None:
        from mdr_tune.sweep.cluster import connect

        connect(address)
    for name in ("ray", "ray.train", "ray.data"):
        logging.getLogger(name).setLevel(logging.ERROR)
    logging.getLogger("ray.tune").setLevel(logging.CRITICAL)  # failed trials are told by our own listeners
    interrupt_on_sigterm()  # Ray's own handler, which this replaces, exits in the middle of whatever runs
    try:
        yield
    finally:
        if started_here:
            ray.shutdown()
