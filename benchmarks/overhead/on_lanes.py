"""The trials on one lane, by what `launch.py` calls."""

import time

import ray

from mdr_tune.sweep.plan import Plan
from mdr_tune.sweep.running_lanes import running_lanes
from mdr_tune.sweep.search_run import ArmRun
from mdr_tune.util.progress import no_progress
from overhead.trials import Side, Stopwatch, open_books

POLL_S = 0.05


def run_on_lanes(plan: Plan) -> Side:
    """Start the lane, wait until its workers take commands, run the plan's trials; Ray has been started."""
    stopwatch = Stopwatch()
    start = time.time()
    with running_lanes(plan, no_progress, lambda text: None) as hub:
        while ray.get(hub.ready_lanes.remote()) < plan.lanes.num_lanes:
            time.sleep(POLL_S)
        ready = time.time()
        with open_books(plan, stopwatch) as (ledger, rules):
            ArmRun(plan, plan.arms[0], hub, ledger, plan.past, rules, is_interrupted=lambda: False).run()
    return Side(ledger.records, stopwatch, search_start=ready, lanes_start_s=ready - start)
