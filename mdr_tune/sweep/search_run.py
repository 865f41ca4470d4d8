"""Run one arm: a Ray Tune experiment whose trials lease the sweep's lanes."""

from collections.abc import Sequence
from typing import Any

import ray
from ray import tune
from ray.tune import CheckpointConfig, FailureConfig, RunConfig, Stopper, TuneConfig, Tuner

from mdr_tune.config.arms import Arm
from mdr_tune.config.space import searched
from mdr_tune.lanes.messages import LaneEnded
from mdr_tune.lanes.trainable import LaneTrial
from mdr_tune.records import SweepListener, TrialRecord
from mdr_tune.sweep.events import TuneEvents
from mdr_tune.sweep.plan import Plan
from mdr_tune.sweep.search import ArmSearch, make_scheduler, suggestion

TRIAL_ACTOR = {"node:__internal_head__": 0.001}
"""What a trial's thin actor reserves: next to nothing, on the head node, beside the storage and the hub."""


def run_arm(plan: Plan, arm: Arm, hub: Any, records: list[TrialRecord], listeners: Sequence[SweepListener]) -> None:
    """Search one arm; its trials are appended to `records`.

    Raises:
        LaneEnded: No lane is left, so that no trial can run any more.
    """
    sweep = plan.sweep
    events = TuneEvents(arm, records, listeners, lambda trial_id: ray.get(hub.release.remote(trial_id)))
    keep = None if sweep.checkpoints == "all" else 1
    trainable = tune.with_resources(tune.with_parameters(LaneTrial, hub=hub), tune.PlacementGroupFactory([TRIAL_ACTOR]))
    has_search = bool(searched(arm.space))
    tuner = Tuner(
        trainable,
        param_space=None if has_search else suggestion(arm, {}),
        tune_config=TuneConfig(
            metric=sweep.metric,
            mode="max",
            search_alg=_search(plan, arm) if has_search else None,
            scheduler=make_scheduler(sweep, plan.max_epochs),
            num_samples=arm.trials,
            max_concurrent_trials=plan.lanes.num_lanes,
            reuse_actors=True,
        ),
        run_config=RunConfig(
            name=arm.name,
            storage_path=str(plan.folder / "tune"),
            callbacks=[events],
            stop=_NoLaneLeft(events),
            failure_config=FailureConfig(max_failures=0),
            checkpoint_config=CheckpointConfig(
                checkpoint_frequency=1,
                num_to_keep=keep,
                checkpoint_score_attribute=sweep.metric,
                checkpoint_score_order="max",
            ),
            verbose=0,
        ),
    )
    tuner.fit()
    if events.lanes_ended is not None:
        raise LaneEnded(events.lanes_ended)


class _NoLaneLeft(Stopper):
    """Ends the experiment when its trials can only fail."""

    def __init__(self, events: TuneEvents) -> None:
        self._events = events

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        return False

    def stop_all(self) -> bool:
        return self._events.lanes_ended is not None


def _search(plan: Plan, arm: Arm) -> ArmSearch:
    study = f"{plan.sweep.name}-{arm.name}"
    return ArmSearch(arm, plan.sweep.search, plan.sweep.metric, plan.folder / "optuna.db", study)
