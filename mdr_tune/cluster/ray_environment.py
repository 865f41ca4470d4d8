"""Set the environment variables that Ray reads when it is imported, started or joined."""

import contextlib
import os
from collections.abc import Iterator

ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # otherwise Ray announces a change of its default
    "RAY_AIR_NEW_OUTPUT": "0",  # this project prints its own status line
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",  # no CSV, JSON and TensorBoard files beside MLflow
    "TUNE_DISABLE_SIGINT_HANDLER": "1",  # this project's handler ends a sweep in order
    "TUNE_GLOBAL_CHECKPOINT_S": "1000000",  # a sweep resumes from `records.journal`, not from Tune's state
    "TUNE_DISABLE_STRICT_METRIC_CHECKING": "1",  # a trial that failed has no metric
    "TUNE_MAX_PENDING_TRIALS_PG": "16",  # trials that start side by side; there are never more than lanes
    # Otherwise Ray prints tracebacks of calls whose result nobody takes, as of a trial that is ended while it saves.
    "RAY_IGNORE_UNHANDLED_ERRORS": "1",
    "RAY_worker_maximum_startup_concurrency": "8",  # otherwise Ray warns of the number of processes on few cores
    "RAY_gcs_server_port_wait_time_s": "180",  # instead of 30: a loaded machine starts slowly
    "RAY_raylet_start_wait_time_s": "180",
    "RAY_DASHBOARD_STARTUP_TIMEOUT_S": "180",  # instead of 60; before 2.59 it has nine processes that import Ray
    "RAY_DASHBOARD_SUBPROCESS_MODULE_WAIT_READY_TIMEOUT": "180",
    "RAY_worker_register_timeout_seconds": "180",  # instead of 60
    "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S": "2592000",  # a lane waits for its nodes as long as the user does
}
LOCAL_ENVIRONMENT = {
    "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0",  # it takes a process, and nobody preempts a single machine
}
"""Variables that are set too if Ray runs on this machine alone, and not in a cluster."""


def prepare_environment() -> None:
    """Set the variables of ENVIRONMENT, unless they are set already. Call this before Ray is imported."""
    for key, value in ENVIRONMENT.items():
        os.environ.setdefault(key, value)


@contextlib.contextmanager
def local_environment() -> Iterator[None]:
    """Set those variables of LOCAL_ENVIRONMENT that are not set yet, and unset them after the block.

    The process may join a cluster next, for which these variables would be wrong.
    """
    added = {key: value for key, value in LOCAL_ENVIRONMENT.items() if key not in os.environ}
    os.environ.update(added)
    try:
        yield
    finally:
        for key in added:
            del os.environ[key]
