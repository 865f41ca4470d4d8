"""The contract with Ray: whether the installed version still has what `ray_seams` uses, and as it is used.

One test or more for each seam, in the seams' order. To try another version of Ray, run these first: what it changed
fails here by name.
"""

import ast
import asyncio
import dataclasses
import importlib
import inspect
import logging
import math
import os
import re
import signal
import subprocess
import sys
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import ray
import ray._private.worker
import yaml
from ray import cloudpickle
from ray._private import node, services
from ray.exceptions import RayTaskError
from ray.train import RunConfig, ScalingConfig
from ray.train.torch import TorchTrainer
from ray.tune import Checkpoint
from ray.tune.experiment import Experiment, Trial

from mdr_tune.cluster.ray_environment import ENVIRONMENT, LOCAL_ENVIRONMENT
from mdr_tune.lanes import ray_seams
from tests.test_layers import classes_of_ray
from tests.waiting import wait_for

NODE = "ab" * 28
"""An id as Ray gives a node."""
STARTED_HERE = SimpleNamespace(is_head=lambda: True)
JOINED = SimpleNamespace(is_head=lambda: False)
RAY = Path(ray.__file__).parent


def parameters(function: Any) -> list[str]:
    return list(inspect.signature(function).parameters)


def saved(folder: Path, epoch: int) -> Any:
    """What Tune knows of a checkpoint that it stored."""
    from ray.train._internal.session import _TrainingResult

    return _TrainingResult(Checkpoint(str(folder)), {"epoch": epoch})


def stub(name: str, **config: Any) -> Trial:
    return Trial("any", config=config, trial_id=name, stub=True)


# The Ray of this process


def test_nothing_of_ray_is_imported_for_its_seams() -> None:
    code = "import sys, mdr_tune.lanes.ray_seams; sys.exit(' '.join({'ray', 'torch'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stderr.strip() == ""


def test_the_node_object_can_be_asked_and_ended() -> None:
    assert hasattr(ray._private.worker, "_global_node")
    assert parameters(node.Node.is_head) == parameters(node.Node.dead_processes) == ["self"]
    assert parameters(node.Node.get_session_dir_path) == ["self"]
    assert {"check_alive", "allow_graceful"} <= set(parameters(node.Node.kill_all_processes))


@pytest.mark.parametrize(("found", "owns"), [(None, False), (JOINED, False), (STARTED_HERE, True)])
def test_a_process_owns_the_ray_that_it_started(found: Any, owns: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray._private.worker, "_global_node", found)
    assert ray_seams.owns_ray() is owns


@pytest.mark.ray
def test_of_a_running_ray_the_vital_processes_the_head_and_the_actors_are_known(hub: Any) -> None:
    import ray._private.state

    running = ray._private.worker._global_node
    assert set(ray_seams.VITAL_PROCESSES) <= {name for name, _ in running.live_processes()}
    assert ray_seams.lost_process() is None
    ray_seams.close_session_folder()
    assert Path(running.get_session_dir_path()).stat().st_mode & 0o777 == 0o700
    assert [entry["Resources"][ray_seams.HEAD_RESOURCE] for entry in ray.nodes()] == [1.0]

    def names() -> set[str]:
        actors = ray._private.state.actors(actor_state_name="ALIVE").values()
        return {actor["ActorClassName"] for actor in actors if actor["Pid"] > 0}

    wait_for(lambda: "LaneHub" in names(), "Ray names the hub, which has just been started")


def test_the_controller_of_a_lane_is_an_actor_of_this_name() -> None:
    from ray.train.v2._internal.execution.controller import TrainController

    assert TrainController.__name__ == "TrainController"


def test_what_nodes_report_is_printed_by_one_function(monkeypatch: pytest.MonkeyPatch) -> None:
    before, heard = ray._private.worker.print_to_stdstream, []
    monkeypatch.setattr(ray._private.worker, "print_to_stdstream", before)  # put back
    monkeypatch.setattr(logging.getLogger("ray.node"), "warning", lambda text, lines: heard.append(lines))
    assert parameters(before) == ["data", "ignore_prefix"]
    assert "partial(print_to_stdstream, " in inspect.getsource(ray._private.worker)
    ray_seams.keep_node_reports_off_the_terminal()
    ray._private.worker.print_to_stdstream({"lines": ["a worker died"]}, ignore_prefix=False)
    assert heard == [["a worker died"]]


def test_ray_starts_its_processes_by_the_names_that_are_replaced() -> None:
    import ray._private.ray_constants
    import ray._private.utils

    assert isinstance(ray._private.ray_constants.RAY_DISABLE_FAILURE_SIGNAL_HANDLER, bool)
    assert isinstance(ray._private.utils.detect_fate_sharing_support(), bool)
    assert parameters(ray._private.utils.set_sigterm_handler) == ["sigterm_handler"]
    assert "ConsolePopen(" in inspect.getsource(services.start_ray_process)
    uses = {"services.get_node(", "wait_for_persisted_port("}
    assert {name for name in uses if name in inspect.getsource(node)} == uses
    assert "utils.set_sigterm_handler(" in inspect.getsource(ray._private.worker)
    assert b"RAY_DISABLE_FAILURE_SIGNAL_HANDLER" in (RAY / "_raylet.so").read_bytes()


def test_a_node_that_comes_late_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray_seams, "POLL_S", 0.0)
    answers = iter([None, None, "the node"])

    def ask(address: str) -> str:
        answer = next(answers)
        if answer is None:
            raise RuntimeError("no node yet")
        return f"{answer} at {address}"

    assert ray_seams.patient(ask, lambda: True, "here") == "the node at here"


@pytest.mark.parametrize(("timeout_s", "lives"), [(180.0, False), (0.0, True)])
def test_a_node_that_cannot_come_is_not(monkeypatch: pytest.MonkeyPatch, timeout_s: float, lives: bool) -> None:
    monkeypatch.setattr(ray_seams, "NODE_TIMEOUT_S", timeout_s)
    monkeypatch.setattr(ray_seams, "POLL_S", 0.0)

    def ask() -> str:
        raise RuntimeError("no node yet")

    with pytest.raises(RuntimeError, match="no node yet"):
        ray_seams.patient(ask, lambda: lives)


def test_a_start_of_ray_that_fails_leaves_no_process() -> None:
    before = services.ConsolePopen, services.get_node
    started = []

    def start() -> None:
        with ray_seams.our_start_of_ray():
            started.append(services.ConsolePopen(["sleep", "600"]))
            assert os.getsid(started[0].pid) == started[0].pid
            raise OSError("no room")

    with pytest.raises(OSError, match="no room"):
        start()
    assert started[0].returncode == -signal.SIGKILL
    assert (services.ConsolePopen, services.get_node) == before


def test_the_port_of_ray_s_first_process_is_waited_for_while_other_threads_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ray_seams, "POLL_S", 0.01)
    before = node.wait_for_persisted_port
    write = threading.Timer(0.1, lambda: (tmp_path / f"gcs_server_port_{NODE}").write_text("4711"))
    with ray_seams.our_start_of_ray():
        write.start()  # in a thread, which Ray's own wait would keep from running
        assert node.wait_for_persisted_port(str(tmp_path), NODE, "gcs_server_port", timeout_ms=0) == 4711
    assert node.wait_for_persisted_port is before


def test_no_port_is_waited_for_once_ray_s_process_has_ended(tmp_path: Path) -> None:
    with ray_seams.our_start_of_ray():
        services.ConsolePopen(["true"]).wait()
        with pytest.raises(RuntimeError, match="Timed out waiting for file"):
            node.wait_for_persisted_port(str(tmp_path), NODE, "gcs_server_port", timeout_ms=0)


def test_ray_knows_each_variable_that_it_is_given() -> None:
    """A name that it does not know, it would pass over without a word."""
    files = [
        file
        for folder in ("_private", "_common", "tune", "train", "dashboard")
        for file in RAY.glob(f"{folder}/**/*.py")
    ]
    sources = [file.read_bytes() for file in (*files, RAY / "_raylet.so", RAY / "core/src/ray/raylet/raylet")]
    for name in (*ENVIRONMENT, *LOCAL_ENVIRONMENT):
        spelled = name.encode(), name.removeprefix("RAY_").encode()  # settings of the C++ part are named without
        assert any(word in source for source in sources for word in spelled), name


# Ray Train


class Lean(ray_seams.LeanTrainer, TorchTrainer):
    pass


@pytest.fixture
def lean(tmp_path: Path) -> TorchTrainer:
    scaling = ScalingConfig(num_workers=3, resources_per_worker={"CPU": 2})
    return Lean(lambda: None, scaling_config=scaling, run_config=RunConfig(name="lane", storage_path=str(tmp_path)))


def test_a_lean_trainer_has_all_default_callbacks_but_the_one_for_data_sets(lean: TorchTrainer) -> None:
    from ray.train.v2._internal.callbacks.datasets import DatasetsCallback

    theirs = [type(callback) for callback in TorchTrainer._create_default_callbacks(lean)]
    assert [type(callback) for callback in lean._create_default_callbacks()] == [
        kind for kind in theirs if kind is not DatasetsCallback
    ]
    assert DatasetsCallback in theirs


@pytest.mark.parametrize(("found", "policy"), [(JOINED, "FixedScalingPolicy"), (STARTED_HERE, "FixedWorkers")])
def test_nodes_are_asked_for_where_there_may_be_some(
    lean: TorchTrainer, found: Any, policy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ray.train.v2._internal.execution.scaling_policy import FixedScalingPolicy

    used: dict[str, Any] = {}
    monkeypatch.setattr(ray._private.worker, "_global_node", found)
    monkeypatch.setattr(TorchTrainer, "_initialize_and_run_controller", lambda self, **given: used.update(given))
    given = FixedScalingPolicy(lean.scaling_config)
    lean._initialize_and_run_controller(scaling_policy=given, other=1)
    assert type(used["scaling_policy"]).__name__ == policy
    assert used["scaling_policy"].scaling_config is lean.scaling_config
    assert used["other"] == 1
    assert "scaling_policy=" in inspect.getsource(TorchTrainer.fit).partition("_initialize_and_run_controller(")[2]


def test_the_workers_are_those_asked_for_and_nothing_is_requested_or_cancelled() -> None:
    """A request, and its cancelling too, would start the process that is to be done without."""
    from ray.train.v2._internal.execution.scaling_policy import ResizeDecision

    policy = ray_seams.fixed_workers(ScalingConfig(num_workers=3, resources_per_worker={"CPU": 2}))
    policy = cloudpickle.loads(cloudpickle.dumps(policy))  # it goes to the controller's process
    policy.after_controller_start(None)
    assert policy.make_decision_for_non_running_worker_group() == ResizeDecision(3, {"CPU": 2})
    asyncio.run(policy.before_controller_shutdown())
    policy.before_controller_abort()
    assert policy._coordinator_client is None


# Ray Tune: the process of a trial


class Stored(ray_seams.StoredTrainable, ray.tune.Trainable):
    failures = 0

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        Path(checkpoint_dir, "state").write_text("trained")

    def load_checkpoint(self, checkpoint_dir: str) -> None:
        self.state = Path(checkpoint_dir, "state").read_text()

    def store(self, folder: Path, copy: Any) -> Any:
        with pytest.raises(OSError, match="no room"):
            copy()
        assert list(self.storage_folder.glob("*/checkpoint_*")) == []  # type: ignore[union-attr]
        return copy()

    def restore(self, checkpoint_path: Any) -> None:
        self.restored = ray_seams.saved_result(checkpoint_path)
        super().restore(checkpoint_path)


@pytest.mark.ray
def test_a_checkpoint_that_found_no_room_is_copied_again_under_the_same_number(
    hub: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ray.train._internal.storage import StorageContext

    monkeypatch.setenv("RAY_CHDIR_TO_TRIAL_DIR", "0")
    storage = StorageContext(str(tmp_path), "mdr", trial_dir_name="mdr-001")
    persist, tries = StorageContext.persist_current_checkpoint, []

    def fails_once(self: Any, checkpoint: Any) -> Any:
        tries.append(self.current_checkpoint_index)
        done = persist(self, checkpoint)
        if len(tries) == 1:
            raise OSError("no room")
        return done

    monkeypatch.setattr(StorageContext, "persist_current_checkpoint", fails_once)
    trial = Stored(config={}, storage=storage)
    assert trial.storage_folder == tmp_path / "mdr"
    result = trial.save()
    assert tries == [0, 0]
    assert (Path(result.checkpoint.path) / "state").read_text() == "trained"
    trial.restore(result)
    assert (trial.restored, trial.state) == ((result.checkpoint, result.metrics), "trained")


def test_a_trainable_has_no_storage_outside_of_tune_and_a_last_result_that_can_be_forgotten() -> None:
    trial = Stored(config={})
    assert trial.storage_folder is None
    assert "_last_result" in vars(trial)
    trial._last_result = {"epoch": 3}
    trial.forget_last_result()
    assert trial.get_state()["last_result"] is None


# Ray Tune: trials


@pytest.mark.ray
def test_a_trial_is_made_under_a_name_of_ours(hub: Any, tmp_path: Path) -> None:
    spec = Experiment("mdr", Stored, storage_path=str(tmp_path)).spec
    trial = ray_seams.make_trial(spec, "mdr-001", {"epochs": 3})
    assert (trial.trial_id, trial.experiment_tag, trial.config, trial.status) == (
        *("mdr-001", "mdr-001"),
        *({"epochs": 3}, Trial.PENDING),
    )


def test_a_trial_that_is_made_anew_goes_on_from_the_lost_one_s_checkpoint(tmp_path: Path) -> None:
    lost, trial = stub("mdr-001"), stub("mdr-001")
    lost.run_metadata.checkpoint_manager.register_checkpoint(saved(tmp_path, 2))
    ray_seams.hand_on_checkpoints(lost, trial)
    assert trial.latest_checkpoint_result is lost.latest_checkpoint_result
    assert trial.latest_checkpoint_result.metrics == {"epoch": 2}


def test_a_trial_takes_over_another_s_checkpoint(tmp_path: Path) -> None:
    trial, source = stub("mdr-001", weight=1), stub("mdr-002", weight=2)
    for number, one in enumerate((trial, source)):
        one.run_metadata.checkpoint_manager.register_checkpoint(saved(tmp_path / str(number), number))
    ray_seams.take_over(trial, source, {"weight": 3})
    taken = trial.latest_checkpoint_result
    assert (taken.checkpoint.path, taken.metrics) == (str(tmp_path / "1"), {"epoch": 1, "trial_id": "mdr-001"})
    assert type(taken) is type(source.latest_checkpoint_result)
    assert (trial.config, source.config) == ({"weight": 3}, {"weight": 2})
    assert source.latest_checkpoint_result.metrics == {"epoch": 1}


def test_of_a_trial_that_is_over_tune_keeps_the_latest_checkpoint_alone(tmp_path: Path) -> None:
    trial = stub("mdr-001")
    kept = trial.run_metadata
    for epoch in (1, 2, 3):
        kept.update_metric("val/recall_at_1", float(epoch), step=epoch)
        kept.checkpoint_manager.register_checkpoint(saved(tmp_path, epoch))
    assert len(kept.checkpoint_manager.best_checkpoint_results) == 3
    ray_seams.free_reports(trial)
    assert kept.checkpoint_manager.best_checkpoint_results == []
    assert kept.checkpoint_manager.latest_checkpoint_result.metrics == {"epoch": 3}
    assert kept.metric_analysis == kept.metric_n_steps == {}


@pytest.mark.ray
def test_what_was_raised_around_a_trial_is_in_the_files_that_tune_writes(hub: Any, tmp_path: Path) -> None:
    from ray.train._internal.storage import StorageContext

    storage = StorageContext(str(tmp_path), "mdr", trial_dir_name="mdr-001")
    trial = Trial("any", trial_id="mdr-001", stub=True, storage=storage)
    assert str(ray_seams.exception_of(trial)) == "the trial ended without an exception being recorded"
    Path(trial.local_path).mkdir(parents=True, exist_ok=True)
    trial.handle_error(RayTaskError("train", "Traceback of the actor\nKeyError: in the actor", KeyError("x")))
    assert "KeyError: in the actor" in str(ray_seams.exception_of(trial))


# Ray Tune: schedulers and searchers


def test_tune_s_controller_tells_the_live_trials_and_stops_one() -> None:
    from ray.tune.execution.tune_controller import TuneController

    assert parameters(TuneController.get_live_trials) == ["self"]
    assert parameters(TuneController.stop_trial)[:2] == ["self", "trial"]
    assert "choose_trial_to_run(self._wrapped())" in inspect.getsource(TuneController)  # which a scheduler is given
    assert parameters(TuneController._wrapped) == ["self"]


@dataclasses.dataclass(frozen=True)
class Named:
    """All that a rule of Tune's asks a trial for: equal by name."""

    trial_id: str


def test_asha_has_its_one_bracket_and_draws_nothing() -> None:
    import numpy as np

    rule = ray_seams.one_bracket_asha(
        time_attr="epoch", metric="value", mode="max", max_t=4, grace_period=1, reduction_factor=2
    )
    before = np.random.get_state()[1].copy()  # type: ignore[index,union-attr]
    named = [Named("one"), Named("other")]
    for trial in named:
        rule.on_trial_add(None, trial)
    answers = [rule.on_trial_result(None, t, {"epoch": 1, "value": v}) for t, v in zip(named, (2.0, 1.0), strict=True)]
    rule.on_trial_complete(None, named[0], {"epoch": 2, "value": 1.0})
    assert answers == [rule.CONTINUE, rule.STOP]
    assert (np.random.get_state()[1] == before).all()  # type: ignore[index]


def test_median_stopping_takes_whatever_has_a_trial_id() -> None:
    from ray.tune.schedulers import MedianStoppingRule

    options = {"grace_period": 0, "min_samples_required": 1, "min_time_slice": math.inf, "hard_stop": True}
    rule = MedianStoppingRule(time_attr="epoch", metric="value", mode="max", **options)
    for name in ("one", "other"):
        rule.on_trial_add(None, Named(name))
    assert rule.on_trial_result(None, Named("one"), {"epoch": 1, "value": 2.0}) == rule.CONTINUE
    assert rule.on_trial_result(None, Named("other"), {"epoch": 1, "value": 1.0}) == rule.STOP


def test_a_searcher_with_a_space_has_a_study() -> None:
    import optuna
    from ray.tune.search.optuna import OptunaSearch

    search = OptunaSearch(lambda trial: None, metric="value", mode="max", study_name="letters-mdr")
    study = ray_seams.study_of(search)
    assert isinstance(study, optuna.Study)
    assert (study.study_name, study.direction.name) == ("letters-mdr", "MAXIMIZE")


@pytest.mark.parametrize("ours", classes_of_ray(), ids=lambda ours: ours[1])
def test_no_class_of_ours_meets_a_private_name_of_its_ray_base(ours: tuple[str, str]) -> None:
    """By intent or by accident: an attribute `self._x` or a method `_x` that Ray's class has too."""
    module, name = ours
    of_ray, own = [], []
    for base in getattr(importlib.import_module(module), name).__mro__[:-1]:
        owner = base.__module__
        (of_ray if owner.startswith("ray.") else own if owner.startswith("mdr_tune.") else []).append(base)
    assert of_ray
    private = set().union(*map(private_names, of_ray))
    met = {base.__name__: private_names(base) & private for base in own if base.__module__ != ray_seams.__name__}
    assert {base: names for base, names in met.items() if names} == {}


def private_names(kind: type) -> set[str]:
    """Return the names with an underscore that a class's source gives to methods or to attributes of `self`."""
    file = inspect.getsourcefile(sys.modules[kind.__module__])
    if file is None or kind.__module__ not in sys.modules:
        return set()
    tree = ast.parse(Path(file).read_text())
    nodes = [one for one in ast.walk(tree) if isinstance(one, ast.ClassDef) and one.name == kind.__qualname__]
    return set(re.findall(r"(?:\bself\.|\bdef )(_(?!_)\w+)", " ".join(map(ast.unparse, nodes))))


# The autoscaler


def test_the_autoscaler_s_scripts_lie_where_they_are_looked_for() -> None:
    for script in ray_seams.MONITORS:
        assert (RAY / script).is_file(), script
        assert {"--gcs-address", "--autoscaling-config"} <= set(
            re.findall(r'"(--[a-z-]+)"', (RAY / script).read_text())
        )


def test_the_state_of_an_autoscaler_has_what_is_told_of_it() -> None:
    from ray.autoscaler.v2.schema import ClusterStatus, LaunchRequest, NodeInfo
    from ray.autoscaler.v2.sdk import get_cluster_status

    assert parameters(get_cluster_status)[0] == "gcs_address"
    assert {"pending_launches", "pending_nodes", "failed_launches"} <= set(ClusterStatus.__dataclass_fields__)
    kinds = {"instance_type_name", "ray_node_type_name"}
    assert kinds | {"count", "request_ts_s", "details"} <= set(LaunchRequest.__dataclass_fields__)
    assert kinds <= set(NodeInfo.__dataclass_fields__)


def test_the_report_of_an_autoscaler_is_a_json_text_in_the_internal_store(monkeypatch: pytest.MonkeyPatch) -> None:
    from ray._private.ray_constants import DEBUG_AUTOSCALING_STATUS
    from ray.autoscaler._private.autoscaler import AutoscalerSummary
    from ray.experimental import internal_kv

    stored: dict[str, bytes] = {}
    monkeypatch.setattr(internal_kv, "_internal_kv_get", stored.get)
    assert ray_seams.autoscaler_report() == {}
    stored[DEBUG_AUTOSCALING_STATUS] = b'{"autoscaler_report": {"pending_launches": {"a10": 2}}}'
    assert ray_seams.autoscaler_report() == {"pending_launches": {"a10": 2}}
    assert {"pending_launches", "pending_nodes"} <= set(AutoscalerSummary.__dataclass_fields__)
    assert '"autoscaler_report"' in (RAY / "autoscaler/_private/monitor.py").read_text()


def test_a_cluster_file_is_completed_and_validated() -> None:
    tree = {
        "cluster_name": "mdr",
        "provider": {"type": "local", "head_ip": "10.0.0.1", "worker_ips": ["10.0.0.2"]},
        "auth": {"ssh_user": "ubuntu"},
    }
    prepared = ray_seams.prepare_config(yaml.safe_load(yaml.safe_dump(tree)))
    assert prepared["max_workers"] == 1
    ray_seams.validate_config(prepared)
    with pytest.raises(Exception, match="max_workers"):
        ray_seams.validate_config({**prepared, "max_workers": "many"})
