"""What Ray reads from the environment when it is imported, started or joined."""

import contextlib
import os
from collections.abc import Iterator

ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # Ray announces a change of default otherwise
    "RAY_AIR_NEW_OUTPUT": "0",  # the status line is ours
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",  # no CSV, JSON and TensorBoard files beside MLflow
    "TUNE_DISABLE_SIGINT_HANDLER": "1",  # ours ends a sweep in order, see `interrupts`
    "TUNE_GLOBAL_CHECKPOINT_S": "1000000",  # Tune's own state is not used: the journal is, see `records.journal`
    "TUNE_DISABLE_STRICT_METRIC_CHECKING": "1",  # a trial that failed has no metric
    "TUNE_MAX_PENDING_TRIALS_PG": "16",  # trials that start side by side; there are never more than lanes
    # Ray prints the traceback of a call whose result nobody takes, such as of a trial that is ended while it saves.
    "RAY_IGNORE_UNHANDLED_ERRORS": "1",
    "RAY_worker_maximum_startup_concurrency": "8",  # on few cores Ray warns of our few processes otherwise
    "RAY_gcs_server_port_wait_time_s": "180",  # instead of 30: a loaded machine starts slowly
    "RAY_raylet_start_wait_time_s": "180",
    "RAY_worker_register_timeout_seconds": "180",  # instead of 60
    "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S": "2592000",  # a lane waits for its nodes as long as the user does
}
LOCAL_ENVIRONMENT = {
    "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0",  # a process more; no provider takes this machine alone away
}
"""Besides, for a Ray of this machine alone."""


def prepare_environment() -> None:
    """Set what Ray reads from the environment when it is imported or started; call before importing it."""
    for key, value in ENVIRONMENT.items():
        os.environ.setdefault(key, value)


@contextlib.contextmanager
def local_environment() -> Iterator[None]:
    """Set what else Ray Train reads for a Ray of this machine alone, and take it back: the next may be a cluster."""
    added = {key: value for key, value in LOCAL_ENVIRONMENT.items() if key not in os.environ}
    os.environ.update(added)
    try:
        yield
    finally:
        for key in added:
            del os.environ[key]
