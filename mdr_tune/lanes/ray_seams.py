"""Every private name of Ray that mdr_tune uses, and every other part of Ray that its documentation does not promise.

Each such place is a *seam*. It is hidden behind a function or a small base class, whose docstring says what it is used
for. "Seam" names the parts of Ray; all of them were found in version 2.58. "If changed" names the symptom that appears
if Ray changes the seam. `tests/lanes/test_ray_seams.py` checks each seam in the installed Ray: run it to try a new
version. `tests/test_layers.py` checks that no other file uses a seam.

Importing this module imports neither Ray nor torch: a plan is made without them, and a trial's process has to start
within a second.
"""

import atexit
import contextlib
import copy
import functools
import json
import logging
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from mdr_tune.lanes.processes import end_sessions
from mdr_tune.util.signals import interrupts_deferred

T = TypeVar("T")

NODE_TIMEOUT_S = 180.0
"""Seconds within which Ray's processes must start."""
POLL_S = 0.2
VITAL_PROCESSES = ("gcs_server", "raylet")
"""Processes that Ray cannot work without. If changed: `lost_process` never finds that one of them is gone."""
HEAD_RESOURCE = "node:__internal_head__"
"""Resource that only the head node has. If changed: trials wait for ever for a node that has it."""
MONITORS = {"autoscaler/v2/monitor.py": True, "autoscaler/_private/monitor.py": False}
"""Ends of the paths of the autoscaler's scripts. The value is True if the script is that of version 2.

If changed: no autoscaler is found on the head, and a plan counts only the nodes that are there.
"""
_ended_here = threading.Event()


# The Ray of this process


def _node() -> Any:
    """Return Ray's node object of this process; None before this process has started or joined Ray.

    Seam: `ray._private.worker._global_node`, with `is_head`, `dead_processes`, `kill_all_processes` and
    `get_session_dir_path`. If changed: an AttributeError when a launch starts Ray.
    """
    worker = sys.modules.get("ray._private.worker")
    return None if worker is None else worker._global_node


def owns_ray() -> bool:
    """Return whether this process started the Ray that it uses. Such a Ray has one node and gets no more."""
    node = _node()
    return node is not None and bool(node.is_head())


def end_ray_at_once() -> None:
    """If this process started Ray, end Ray's processes at once, without waiting for their work."""
    _ended_here.set()
    if owns_ray():
        _node().kill_all_processes(check_alive=False, allow_graceful=False)


def close_session_folder() -> None:
    """Let only this user access the session folder of the Ray that this process started. Ray opens it to everyone."""
    os.chmod(_node().get_session_dir_path(), 0o700)


def lost_process() -> str | None:
    """Return the name of the first of VITAL_PROCESSES that this process's Ray has lost.

    The result is None if none is lost, if this process has no Ray, or once `end_ray_at_once` was called.
    """
    node = _node()
    dead = [] if node is None or _ended_here.is_set() else [name for name, _ in node.dead_processes()]
    return next((name for name in dead if name in VITAL_PROCESSES), None)


def controllers() -> set[int]:
    """Return the process ids of the controllers of Ray Train that this driver started. They run on the driver's node.

    A lane that does not end by itself is ended by killing its controller.
    Seam: `state.actors`, whose values are dictionaries with `Pid` and `ActorClassName`, and the class name
    `TrainController`. If changed: the end of a sweep waits 30 s for a lane whose workers could not be started.
    """
    import ray
    import ray._private.state

    job = ray.JobID.from_hex(ray.get_runtime_context().get_job_id())
    actors = ray._private.state.actors(job_id=job, actor_state_name="ALIVE").values()
    return {int(actor["Pid"]) for actor in actors if actor["ActorClassName"] == "TrainController"}


def keep_node_reports_off_the_terminal() -> None:
    """Send the reports of Ray's nodes, for example that a worker died, to the logger `ray.node`.

    No setting of Ray stops it from printing them, and the lanes have messages of their own.
    Seam: `print_to_stdstream(data, ignore_prefix)`, with `data["lines"]`. If changed: Ray's lines appear on the
    terminal.
    """
    import ray._private.worker

    def log(data: dict[str, Any], ignore_prefix: bool) -> None:
        logging.getLogger("ray.node").warning("%s", data["lines"])

    ray._private.worker.print_to_stdstream = log


@contextlib.contextmanager
def our_start_of_ray() -> Iterator[Callable[[], None]]:
    """Make `ray.init` in the block start Ray as a launch needs it. Yield a function that kills Ray's processes.

    - On Linux, Ray's processes get sessions of their own. Otherwise Ctrl-C in a terminal, `timeout` or a `kill` of the
      process group would end them before this process. The kernel kills them when this process dies. On other systems,
      they stay in the process group of this process, which Ray's own reaper ends.
    - Ray's two handlers of SIGTERM, in Python and in C++, are not installed. They would end this process anywhere.
    - Ray's node has NODE_TIMEOUT_S to start, not 30 s. If the start fails, all of Ray's processes are killed.
    - Python code waits for Ray's first process. Ray's own wait would block other threads and signal handlers.

    Seam: the five names that are replaced below, and `detect_fate_sharing_support`. If changed: an AttributeError. If
    Ray keeps a name but does not call it, the tests of interrupted launches fail.
    """
    import ray._private.node
    import ray._private.ray_constants
    import ray._private.services
    import ray._private.utils

    services, utils, constants = ray._private.services, ray._private.utils, ray._private.ray_constants
    node = ray._private.node
    before = services.ConsolePopen, services.get_node, utils.set_sigterm_handler, node.wait_for_persisted_port
    handles_failures = constants.RAY_DISABLE_FAILURE_SIGNAL_HANDLER
    started: list[subprocess.Popen[bytes]] = []

    def start(*arguments: Any, **options: Any) -> Any:
        own_session = utils.detect_fate_sharing_support()
        with interrupts_deferred():  # a process that is missing in the list would not be ended
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
            atexit.register(os._exit, 1)  # Ray's threads in this process may wait for ever, or crash
        raise
    finally:
        services.ConsolePopen, services.get_node, utils.set_sigterm_handler, node.wait_for_persisted_port = before
        constants.RAY_DISABLE_FAILURE_SIGNAL_HANDLER = handles_failures


def patient(ask: Callable[..., T], may_come: Callable[[], bool], *arguments: Any) -> T:
    """Call `ask(*arguments)` every POLL_S seconds until it does not raise RuntimeError, and return its result.

    The last error is raised after NODE_TIMEOUT_S seconds, or as soon as `may_come()` is False: no result can come.
    """
    end = time.monotonic() + NODE_TIMEOUT_S
    while True:
        try:
            return ask(*arguments)
        except RuntimeError:
            if time.monotonic() > end or not may_come():
                raise
        time.sleep(POLL_S)


# Ray Train


class LeanTrainer:
    """Base class to list before `TorchTrainer`. It leaves out two processes, each of which takes two seconds to start.

    The first distributes shards of Ray Datasets, which lanes do not use. The second asks the autoscaler for nodes. It
    is left out only if this process started Ray, which then gets no nodes.
    Seam: `_create_default_callbacks`, with a `DatasetsCallback` in its list, and `_initialize_and_run_controller`, with
    `scaling_policy` among its arguments. If changed: the lanes' test finds more actors than it lists.
    """

    scaling_config: Any

    def _create_default_callbacks(self) -> list[Any]:
        from ray.train.v2._internal.callbacks.datasets import DatasetsCallback

        callbacks = super()._create_default_callbacks()  # type: ignore[misc]
        return [callback for callback in callbacks if not isinstance(callback, DatasetsCallback)]

    def _initialize_and_run_controller(self, **arguments: Any) -> Any:
        if owns_ray():
            arguments["scaling_policy"] = fixed_workers(self.scaling_config)
        return super()._initialize_and_run_controller(**arguments)  # type: ignore[misc]


def fixed_workers(scaling_config: Any) -> Any:
    """Return a scaling policy of Ray Train for `scaling_config` that never asks the autoscaler for nodes.

    Ray Train's own policy asks through a separate process, and the controller starts workers only when this process is
    up. Both the first request and the cancelling of requests at the controller's end would start the process.
    Seam: `FixedScalingPolicy`, its hook `after_controller_start`, which makes the client for requests, and
    `_maybe_send_resource_request`. If changed: the same symptom as for `LeanTrainer`.
    """
    from ray.train.v2._internal.execution.scaling_policy import FixedScalingPolicy

    class FixedWorkers(FixedScalingPolicy):
        def after_controller_start(self, train_run_context: Any) -> None:
            """Do nothing. Ray makes its client for requests here; without it, the end cancels no requests."""

        def _maybe_send_resource_request(self) -> None:
            """Do nothing. Ray would send a request to the autoscaler here."""

    return FixedWorkers(scaling_config)


# Ray Tune: the process of a trial


class StoredTrainable:
    """Base class to list before `tune.Trainable`. It lets a trainable control how its checkpoints are stored.

    Seam: `_report_class_trainable_checkpoint`, by which Tune copies a saved checkpoint into its storage; `_storage`,
    which is None outside of Tune, with the four attributes used here; and `_last_result`. If changed: an AttributeError
    at a trial's first checkpoint. If Ray does not call the method, trials fail when a disk is full.
    """

    _storage: Any
    _last_result: Any

    def store(self, folder: Path, copy: Callable[[], Any]) -> Any:
        """Store the checkpoint in `folder` by calling `copy`, and return what `copy` returns.

        A subclass may override this, to wait for room or to try again. `copy` returns Tune's result, whose `checkpoint`
        is the copy. If `copy` fails, for example on a full disk, it removes the files that it has copied and raises
        OSError. It may then be called again.
        """
        return copy()

    @property
    def storage_folder(self) -> Path | None:
        """Folder in which Tune stores the trial's experiment; None if it is not on a disk of this machine."""
        is_local = self._storage is not None and self._storage.storage_filesystem.type_name == "local"
        return Path(self._storage.experiment_fs_path) if is_local else None

    def forget_last_result(self) -> None:
        """Forget the last reported metrics, perhaps another trial's. Tune would store them with the next checkpoint."""
        self._last_result = None

    def _report_class_trainable_checkpoint(self, checkpoint_dir: str, checkpoint_dict_or_path: Any) -> Any:
        storage, is_local = self._storage, self.storage_folder is not None
        index = storage.current_checkpoint_index if storage else None
        report = super()._report_class_trainable_checkpoint  # type: ignore[misc]

        def copied() -> Any:
            try:
                return report(checkpoint_dir, checkpoint_dict_or_path)
            except OSError:
                if is_local and storage.current_checkpoint_index != index:
                    with contextlib.suppress(OSError):
                        shutil.rmtree(storage.checkpoint_fs_path)
                    storage.current_checkpoint_index = index
                raise

        return self.store(Path(checkpoint_dir), copied)


def saved_result(restored: Any) -> tuple[Any | None, dict[str, Any]]:
    """Return the checkpoint and the metrics in `restored`, the argument that Tune passes to a trainable's `restore`.

    If `restored` is a path, the result is None and an empty dictionary.
    Seam: the argument is an object with a `checkpoint` and `metrics`. If changed: a trial with a damaged
    checkpoint.json goes on from the epoch of an earlier checkpoint, and a trial whose checkpoint's folder is missing
    fails.
    """
    return getattr(restored, "checkpoint", None), getattr(restored, "metrics", {})


# Ray Tune: trials


def make_trial(spec: dict[str, Any], name: str, config: dict[str, Any]) -> Any:
    """Return a new trial of Tune with the given `name`, which is also its id and tag, and with Tune's `config`.

    `spec` is the specification of Tune's experiment. Tune's own generator of trials would invent a name.
    Seam: `_create_trial_from_spec` and its parser. If changed: an ImportError or a TypeError before the first trial.
    """
    from ray.tune.experiment.config_parser import _create_trial_from_spec, _make_parser

    return _create_trial_from_spec({**spec, "config": config}, _make_parser(), experiment_tag=name, trial_id=name)


def hand_on_checkpoints(lost: Any, trial: Any) -> None:
    """Let `trial` go on from the last checkpoint of the trial `lost`, which Tune gave up and `trial` replaces.

    Seam: `run_metadata.checkpoint_manager`. If changed: an AttributeError, or the trial begins at the start.
    """
    trial.run_metadata.checkpoint_manager = lost.run_metadata.checkpoint_manager


def take_over(trial: Any, source: Any, config: dict[str, Any]) -> None:
    """Let the paused `trial` go on from the latest checkpoint of the paused trial `source`, with the new `config`.

    A trial starts from the latest checkpoint that its checkpoint manager knows. This function replaces that checkpoint,
    as Tune's own population based training does.
    Seam: `_latest_checkpoint_result`, a `_TrainingResult`, and `invalidate_cache`. If changed: an ImportError when
    trials of a population first exchange states; or the trial goes on from its own state, not from the source's.
    """
    from ray.train._internal.session import _TrainingResult

    trial.set_config(config)
    saved = source.latest_checkpoint_result
    assert saved is not None  # `source` is paused, so it was saved
    trial.run_metadata.checkpoint_manager._latest_checkpoint_result = _TrainingResult(
        checkpoint=copy.copy(saved.checkpoint), metrics={**saved.metrics, "trial_id": trial.trial_id}
    )
    trial.run_metadata.invalidate_cache()


def free_reports(trial: Any) -> None:
    """Free the memory that Tune uses for the reports of a `trial` that has ended: 0.1 MB for each trial.

    Tune keeps the trial's whole config with each report.
    Seam: `metric_analysis`, `metric_n_steps`, and the checkpoint manager's `_checkpoint_results`, none of which holds
    the latest checkpoint. If changed: an AttributeError at the end of a trial, or memory that grows with the trials.
    """
    kept = trial.run_metadata
    kept.metric_analysis.clear()
    kept.metric_n_steps.clear()
    kept.checkpoint_manager._checkpoint_results.clear()


def exception_of(trial: Any) -> Exception:
    """Return the exception because of which Tune lost or gave up `trial`.

    If Tune recorded no exception, the result is a RuntimeError with Tune's description of the failure.
    Seam: `pickled_error_file`, which Tune in this process has just written, and `get_error`. If changed: the messages
    about lost trials do not give the reason.
    """
    from ray import cloudpickle

    file = trial.pickled_error_file
    if file is None or not Path(file).exists():
        return RuntimeError(str(trial.get_error() or "the trial ended without an exception being recorded"))
    error: Exception = cloudpickle.loads(Path(file).read_bytes())
    return error


# Ray Tune: schedulers and searchers


def live_trials(tune_controller: Any) -> list[Any]:
    """Return the trials that have not ended, from the `tune_controller` that Tune passes to a scheduler.

    Seam: `get_live_trials`. If changed: an AttributeError before the first trial.
    """
    trials: list[Any] = tune_controller.get_live_trials()
    return trials


def stop_trial(tune_controller: Any, trial: Any) -> None:
    """End the paused `trial`, so that `tune_controller`, Tune's controller, does not run it again.

    Seam: `stop_trial`. If changed: an AttributeError at HyperBand's first rung.
    """
    tune_controller.stop_trial(trial)


def one_bracket_asha(**options: Any) -> Any:
    """Return Tune's `ASHAScheduler(**options)` with one bracket, changed so that it draws no random numbers.

    Tune's class draws each trial's bracket from numpy's global generator, even if there is only one bracket.
    Seam: the scheduler's `_trial_info` and `_brackets`. The scheduler's methods, and those of `MedianStoppingRule`,
    also accept None as the controller, and any object with a `trial_id` as a trial. If changed: an AttributeError at
    the first trial, or different random draws.
    """
    from ray.tune.schedulers import ASHAScheduler

    class OneBracket(ASHAScheduler):
        def on_trial_add(self, tune_controller: Any, trial: Any) -> None:
            self._trial_info[trial.trial_id] = self._brackets[0]

    return OneBracket(**options)


def study_of(search: Any) -> Any:
    """Return the Optuna study of an `OptunaSearch`, `search`, which must have been made with a search space.

    Seam: `_ot_study`. If changed: an AttributeError when a search is opened.
    """
    return search._ot_study


# GPUs


def nvidia_driver() -> Any:
    """Return the module that asks NVIDIA's driver about GPUs: Ray's copy of NVIDIA's `pynvml`.

    Seam: `ray._private.thirdparty.pynvml`. If changed: an ImportError when a lane with GPUs starts.
    """
    import ray._private.thirdparty.pynvml as driver

    return driver


# The autoscaler


def autoscaler_status(gcs_address: str) -> Any:
    """Return the state of the autoscaler (version 2) of the cluster whose head node is at `gcs_address` (HOST:PORT).

    The state has `pending_launches`, `pending_nodes` and `failed_launches`.
    Seam: `ray.autoscaler.v2.sdk.get_cluster_status`. If changed: an error while a sweep waits for lanes.
    """
    from ray.autoscaler.v2.sdk import get_cluster_status

    return get_cluster_status(gcs_address)


def autoscaler_report() -> dict[str, Any]:
    """Return the last report of the cluster's autoscaler (version 1); empty before its first report.

    Seam: the key DEBUG_AUTOSCALING_STATUS of Ray's internal store. Its value is a JSON text, whose `autoscaler_report`
    has `pending_launches` and `pending_nodes`. If changed: the message "still waiting" does not name the nodes that are
    waited for.
    """
    from ray._private.ray_constants import DEBUG_AUTOSCALING_STATUS
    from ray.experimental.internal_kv import _internal_kv_get

    status = _internal_kv_get(DEBUG_AUTOSCALING_STATUS)
    report: dict[str, Any] = json.loads(status).get("autoscaler_report", {}) if status else {}
    return report


def prepare_config(tree: dict[str, Any]) -> dict[str, Any]:
    """Return the contents `tree` of a cluster file with Ray's defaults for missing keys, as `ray up` uses them.

    Ray may change `tree` itself.
    Seam: Ray's function of this name. If changed: `mdr-tune cluster check` refuses a cluster file that this project
    ships.
    """
    from ray.autoscaler._private.util import prepare_config as prepare

    prepared: dict[str, Any] = prepare(tree)
    return prepared


def validate_config(prepared: dict[str, Any]) -> None:
    """Raise Ray's error if `prepared`, the result of `prepare_config`, is not a valid cluster file.

    Seam: Ray's function of this name. If changed: the same symptom as for `prepare_config`.
    """
    from ray.autoscaler._private.util import validate_config as validate

    validate(prepared)
