"""What a plan derives from its sweep."""

from pathlib import Path
from typing import Any

import pytest

from mdr_tune.cluster.machine import Machine
from mdr_tune.config.sweep import SweepConfig
from mdr_tune.sweep.lane_layout import fit_lanes
from mdr_tune.sweep.plan import Plan
from mdr_tune.sweep.stores import Stores


def plan(**sweep: Any) -> Plan:
    config, machine = SweepConfig.model_validate({"name": "letters", **sweep}), Machine(2, 0, "this machine")
    stores = Stores(Path("/somewhere/runs"), "http://127.0.0.1:5000")
    return Plan(config, Path("letters.yaml"), "", (), stores, machine, fit_lanes(config, machine), None)


@pytest.mark.parametrize(
    ("space", "epochs"),
    [
        ({}, 8),
        ({"epochs": {"int": [2, 20]}}, 20),
        ({"epochs": {"choice": [4, 30, 6]}}, 30),
        ({"loss.margin": {"uniform": [0.1, 0.5]}}, 8),
    ],
)
def test_the_most_epochs(space: dict[str, Any], epochs: int) -> None:
    assert plan(trial={"epochs": 8}, space=space).max_epochs == epochs


def test_trials_of_all_arms() -> None:
    both = {"mdr.weight": {"uniform": [0, 1]}, "loss.margin": {"uniform": [0.1, 0.5]}}
    search, baselines = {"trials": 10, "baseline_trials": 4}, ["triplet", "triplet_l2"]
    assert plan(search=search, space=both, baselines=baselines).num_trials == 10 + 4 + 4
    mdr_only = {"mdr.weight": {"uniform": [0, 1]}}
    assert plan(search=search, space=mdr_only, baselines=baselines).num_trials == 10 + 1 + 1
    assert plan(search=search).num_trials == 1


def test_each_launch_has_a_folder_below_the_sweep_s() -> None:
    one = plan()
    assert one.folder == Path("/somewhere/runs/sweeps/letters") / one.launch
    assert len(one.folder.relative_to("/somewhere/runs").parts) == 3
