"""Every private name of Ray that mdr_tune uses, and every part of Ray that its documentation does not promise.

Each is behind a function or a small base class whose docstring says what it is used for, since which version of Ray it
is known to be so, and what tells that it changed. `tests/lanes/test_ray_seams.py` asks the installed Ray for each of
them, and `tests/test_layers.py` holds that no other file names one. To try a new version of Ray, run the former.

Imports neither Ray nor torch by itself: a plan is made without them, and a trial's process has to be there in a second.
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
POLL_S = 0.2
VITAL_PROCESSES = ("gcs_server", "raylet")
"""Processes without which Ray is lost, by Ray's names. Changed: `lost_process` finds none of them alive."""
HEAD_RESOURCE = "node:__internal_head__"
"""Resource that the head node alone has. Known since 2.58. Changed: trials wait for a node that has it, for ever."""
MONITORS = {"autoscaler/v2/monitor.py": True, "autoscaler/_private/monitor.py": False}
"""Ends of the paths of the autoscaler's scripts, and whether it is version 2. Known since 2.58. Changed: no autoscaler
is found on the head, and a plan counts on the nodes that are there."""
_ended_here = threading.Event()


# The Ray of this process


def _node() -> Any:
    """Return Ray's node object of this process, None before Ray is started or joined.

    Known since 2.58: `ray._private.worker._global_node`, with `is_head`, `dead_processes`, `kill_all_processes` and
    `get_session_dir_path`. Changed: an AttributeError where a launch starts Ray.
    """
    worker = sys.modules.get("ray._private.worker")
    return None if worker is None else worker._global_node


def owns_ray() -> bool:
    """Return whether this process started the Ray that it uses, whose autoscaler then has no nodes to add."""
    node = _node()
    return node is not None and bool(node.is_head())


def end_ray_at_once() -> None:
    """End the Ray that this process started, if it did, without waiting for anything in it."""
    _ended_here.set()
    if owns_ray():
        _node().kill_all_processes(check_alive=False, allow_graceful=False)


def close_session_folder() -> None:
    """Keep other users out of the folder of the Ray started here, which Ray makes writable for all of them."""
    os.chmod(_node().get_session_dir_path(), 0o700)


def lost_process() -> str | None:
    """Return the name of a process of the Ray started here that is gone, if Ray is lost without it.

    None if there is no such process, or if it was ended by `end_ray_at_once`.
    """
    node = _node()
    dead = [] if node is None or _ended_here.is_set() else [name for name, _ in node.dead_processes()]
    return next((name for name in dead if name in VITAL_PROCESSES), None)


def controllers() -> set[int]:
    """Return the processes of this driver's controllers of Ray Train, which are on its node.

    A lane that does not end is ended by its controller's process. Known since 2.58: the state's actors, as dictionaries
    with `Pid` and `ActorClassName`, and the class's name `TrainController`. Changed: a lane whose workers cannot be had
    is waited for, 30 s, at the end of a sweep.
    """
    import ray
    import ray._private.state

    job = ray.JobID.from_hex(ray.get_runtime_context().get_job_id())
    actors = ray._private.state.actors(job_id=job, actor_state_name="ALIVE").values()
    return {int(actor["Pid"]) for actor in actors if actor["ActorClassName"] == "TrainController"}


def keep_node_reports_off_the_terminal() -> None:
    """Send what Ray's nodes report to this process (a worker that died, for one) to the log `ray.node`.

    Ray prints it past its settings. What a user should know of it, the lanes tell in their own words. Known since 2.58:
    `print_to_stdstream(data, ignore_prefix)`, with `data["lines"]`. Changed: Ray's lines on the terminal.
    """
    import ray._private.worker

    def log(data: dict[str, Any], ignore_prefix: bool) -> None:
        logging.getLogger("ray.node").warning("%s", data["lines"])

    ray._private.worker.print_to_stdstream = log


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

    Known since 2.58: the five names that are replaced below, and `detect_fate_sharing_support`. Changed: an
    AttributeError, or, where a name is there and is not called any more, the tests of interrupted launches.
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
        arguments: Arguments of the question.
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
    """Goes before `TorchTrainer` among a class's bases; leaves out two processes that a lane has no use for.

    Each takes two seconds of a core until it is there. One hands out shards of Ray Datasets, of which a lane has none.
    The other asks the autoscaler for nodes; where this process started Ray there are none to add.

    Known since 2.58: `_create_default_callbacks`, with a `DatasetsCallback` in its list, and
    `_initialize_and_run_controller`, with `scaling_policy` among its arguments. Changed: the actors of the lanes' test
    are more than those that it lists.
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
    """Return a scaling policy of Ray Train with as many workers as asked for, and no requests to an autoscaler.

    Ray Train sends such requests by a process that the controller waits for before it starts workers. That process is
    started with the first request, and the controller's end would cancel the request: so all requests are left out.

    Known since 2.58: `FixedScalingPolicy`, its hook `after_controller_start`, which makes the client for requests, and
    `_maybe_send_resource_request`. Changed: as of `LeanTrainer`.
    """
    from ray.train.v2._internal.execution.scaling_policy import FixedScalingPolicy

    class FixedWorkers(FixedScalingPolicy):
        def after_controller_start(self, train_run_context: Any) -> None:
            """Make no client for requests; without one, there is nothing to cancel at the end."""

        def _maybe_send_resource_request(self) -> None:
            """Send none."""

    return FixedWorkers(scaling_config)


# Ray Tune: the process of a trial


class StoredTrainable:
    """Goes before `tune.Trainable` among a class's bases, for one that has a say in how its checkpoints are stored.

    Known since 2.58: `_report_class_trainable_checkpoint`, through which Tune copies a saved checkpoint; `_storage`,
    None outside of Tune, else with the four attributes used here; and `_last_result`. Changed: an AttributeError with
    a trial's first checkpoint, or, where the method is not called any more, trials that fail when a disk is full.
    """

    _storage: Any
    _last_result: Any

    def store(self, folder: Path, copy: Callable[[], Any]) -> Any:
        """Have a checkpoint copied into the storage.

        Args:
            folder: What was saved.
            copy: Copies it, and returns Tune's result, whose `checkpoint` is the copy. It raises OSError if there is no
                room; then the copy is gone, and may be made again.

        Returns:
            What `copy` returned.
        """
        return copy()

    @property
    def storage_folder(self) -> Path | None:
        """Folder of the trial's experiment; None if it is not on a disk of this machine."""
        is_local = self._storage is not None and self._storage.storage_filesystem.type_name == "local"
        return Path(self._storage.experiment_fs_path) if is_local else None

    def forget_last_result(self) -> None:
        """Let a checkpoint that is saved before the first step not be taken for one of the last trial's."""
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
    """Return the checkpoint and the metrics of what Tune gives to a trainable's `restore`.

    Known since 2.58: an object with both; by hand it may be a path, which has neither. Changed: a damaged checkpoint
    is answered by the one before it without a word about the epoch, and a folder that is gone fails the trial.
    """
    return getattr(restored, "checkpoint", None), getattr(restored, "metrics", {})


# Ray Tune: trials


def make_trial(spec: dict[str, Any], name: str, config: dict[str, Any]) -> Any:
    """Return a new trial of Tune's under a name of ours.

    Tune's own generator of trials makes up their names. Known since 2.58: `_create_trial_from_spec` and its parser.
    Changed: an ImportError or a TypeError before the first trial.

    Args:
        spec: Specification of Tune's experiment.
        name: Id of the trial, and its tag.
        config: Config of the trial.
    """
    from ray.tune.experiment.config_parser import _create_trial_from_spec, _make_parser

    return _create_trial_from_spec({**spec, "config": config}, _make_parser(), experiment_tag=name, trial_id=name)


def hand_on_checkpoints(lost: Any, trial: Any) -> None:
    """Let a trial that is made anew go on from the checkpoint of the one that Tune gave up.

    Known since 2.58: `run_metadata.checkpoint_manager`. Changed: an AttributeError, or the trial begins at the start.
    """
    trial.run_metadata.checkpoint_manager = lost.run_metadata.checkpoint_manager


def take_over(trial: Any, source: Any, config: dict[str, Any]) -> None:
    """Let a paused trial go on from the latest checkpoint of another, with a new config.

    It is the way of Tune's own PBT: a trial starts from the latest checkpoint that its manager knows. Known since 2.58:
    `_latest_checkpoint_result`, a `_TrainingResult`, and `invalidate_cache`. Changed: an ImportError when a population
    first exchanges states, or a trial that goes on from its own state.
    """
    from ray.train._internal.session import _TrainingResult

    trial.set_config(config)
    saved = source.latest_checkpoint_result
    assert saved is not None  # it is paused
    trial.run_metadata.checkpoint_manager._latest_checkpoint_result = _TrainingResult(
        checkpoint=copy.copy(saved.checkpoint), metrics={**saved.metrics, "trial_id": trial.trial_id}
    )
    trial.run_metadata.invalidate_cache()


def free_reports(trial: Any) -> None:
    """Free what Tune keeps of each report of a trial that is over, its whole config in each: 0.1 MB a trial.

    Known since 2.58: `metric_analysis`, `metric_n_steps` and the manager's `_checkpoint_results`; the latest checkpoint
    is kept beside them. Changed: an AttributeError at the end of a trial, or memory that grows with the trials.
    """
    kept = trial.run_metadata
    kept.metric_analysis.clear()
    kept.metric_n_steps.clear()
    kept.checkpoint_manager._checkpoint_results.clear()


def exception_of(trial: Any) -> Exception:
    """Return what was raised around a trial that Tune lost or gave up; else what Tune kept of the failure in words.

    Known since 2.58: `pickled_error_file`, which the driver's Tune has just written, and `get_error`. Changed: notes of
    lost trials without their reason.
    """
    from ray import cloudpickle

    file = trial.pickled_error_file
    if file is None or not Path(file).exists():
        return RuntimeError(str(trial.get_error() or "the trial ended without an exception being recorded"))
    error: Exception = cloudpickle.loads(Path(file).read_bytes())
    return error


# Ray Tune: schedulers and searchers


def live_trials(tune_controller: Any) -> list[Any]:
    """Return the trials that have not ended, of the controller that Tune passes to a scheduler. Known since 2.58.

    Changed: an AttributeError before the first trial.
    """
    trials: list[Any] = tune_controller.get_live_trials()
    return trials


def stop_trial(tune_controller: Any, trial: Any) -> None:
    """End a paused trial, of the controller that Tune passes to a scheduler. Known since 2.58.

    Changed: an AttributeError at HyperBand's first rung.
    """
    tune_controller.stop_trial(trial)


def one_bracket_asha(**options: Any) -> Any:
    """Return Tune's ASHA with one bracket; `options` are those of `ASHAScheduler`.

    Tune draws the bracket of each trial, even the only one, from numpy's global generator. Known since 2.58:
    `_trial_info` and `_brackets`; and, as of `MedianStoppingRule`, that a rule takes None for a controller, and for a
    trial anything with a `trial_id`. Changed: an AttributeError with the first trial, or draws that differ.
    """
    from ray.tune.schedulers import ASHAScheduler

    class OneBracket(ASHAScheduler):
        def on_trial_add(self, tune_controller: Any, trial: Any) -> None:
            self._trial_info[trial.trial_id] = self._brackets[0]

    return OneBracket(**options)


def study_of(search: Any) -> Any:
    """Return the study behind an `OptunaSearch` that was given a space. Known since 2.58.

    Changed: an AttributeError when a search is opened.
    """
    return search._ot_study


# The autoscaler


def autoscaler_status(gcs_address: str) -> Any:
    """Return the state of an autoscaler of version 2, with `pending_launches`, `pending_nodes` and `failed_launches`.

    Known since 2.58: `ray.autoscaler.v2.sdk.get_cluster_status`. Changed: an error while lanes are waited for.
    """
    from ray.autoscaler.v2.sdk import get_cluster_status

    return get_cluster_status(gcs_address)


def autoscaler_report() -> dict[str, Any]:
    """Return the last report of an autoscaler of version 1; {} before its first.

    Known since 2.58: the key DEBUG_AUTOSCALING_STATUS of the internal store, a JSON text with `autoscaler_report`, in
    which are `pending_launches` and `pending_nodes`. Changed: "still waiting" does not say for what.
    """
    from ray._private.ray_constants import DEBUG_AUTOSCALING_STATUS
    from ray.experimental.internal_kv import _internal_kv_get

    status = _internal_kv_get(DEBUG_AUTOSCALING_STATUS)
    report: dict[str, Any] = json.loads(status).get("autoscaler_report", {}) if status else {}
    return report


def prepare_config(tree: dict[str, Any]) -> dict[str, Any]:
    """Return the contents of a cluster file with Ray's defaults, as `ray up` completes it; changes `tree`.

    Known since 2.58. Changed: a cluster file that this project ships is refused by `mdr-tune cluster check`.
    """
    from ray.autoscaler._private.util import prepare_config as prepare

    prepared: dict[str, Any] = prepare(tree)
    return prepared


def validate_config(prepared: dict[str, Any]) -> None:
    """Raise what Ray has against a completed cluster file. Known since 2.58; changed: as of `prepare_config`."""
    from ray.autoscaler._private.util import validate_config as validate

    validate(prepared)
