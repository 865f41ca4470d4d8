"""The trials on one lane, by what `launch.py` calls."""

import time

import ray

from mdr_tune.records import TrialRecord
from mdr_tune.sweep.plan import Plan
from mdr_tune.sweep.run import running_lanes
from mdr_tune.sweep.search_run import run_arm
from overhead.trials import Side, Stopwatch, first_trials

POLL_S = 0.05


def run_on_lanes(plan: Plan, trials: int) -> Side:
    """Start the lane, wait until its workers take commands, run the plan's first trials; Ray has been started."""
    arm, stopwatch = first_trials(plan, trials), Stopwatch()
    records: list[TrialRecord] = []
    plan.folder.mkdir(parents=True, exist_ok=True)
    start = time.time()
    with running_lanes(plan) as hub:
        while ray.get(hub.ready_lanes.remote()) < plan.lanes.num_lanes:
            time.sleep(POLL_S)
        ready = time.time()
        run_arm(plan, arm, hub, records, [stopwatch])
    return Side(records, stopwatch, search_start=ready, lanes_start_s=ready - start)
