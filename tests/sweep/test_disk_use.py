"""What a launch takes on the disk."""

import io
from pathlib import Path
from typing import Any

import pytest
import torch

from mdr_tune.cluster.machine import Machine
from mdr_tune.config.trial import TrialConfig
from mdr_tune.lanes.lane_resources import LaneResources
from mdr_tune.sweep.disk_use import checkpoint_bytes, describe_checkpoints, describe_used
from mdr_tune.sweep.plan import Plan
from mdr_tune.sweep.stores import Stores
from mdr_tune.training.session import TrialSession
from mdr_tune.util.sqlite_address import sqlite_url
from tests.sweep.make import make_sweep

RESNET = {"name": "resnet18", "weights": "none"}


def plan_of(storage: Path, uri: str | None = None, **changes: Any) -> Plan:
    sweep = make_sweep(**changes)
    lanes = LaneResources(1, 1, 1, 0, 8, 120.0, 600.0)
    stores = Stores(storage, uri or sqlite_url(storage / "mlflow.db"))
    return Plan(sweep, Path("x.yaml"), "", (), stores, Machine(2, 0, "here"), lanes, None, "1")


@pytest.mark.parametrize("optimizer", [{}, {"name": "sgd"}, {"name": "sgd", "momentum": 0.0}])
def test_a_checkpoint_is_about_as_large_as_is_said(optimizer: dict[str, Any]) -> None:
    config = {"batch": {"size": 16}, "iterations_per_epoch": 1, "optimizer": optimizer, "embedding": {"size": 8}}
    session = TrialSession.from_config(TrialConfig.model_validate(config))
    session.train_epoch()
    file = io.BytesIO()
    torch.save(session.state_dict(), file)
    assert checkpoint_bytes(session.config) == pytest.approx(file.tell(), rel=0.1)


def test_the_memory_is_counted() -> None:
    config = {"batch": {"size": 16}, "iterations_per_epoch": 500, "embedding": {"size": 64}, "memory": {"size": 50_000}}
    session = TrialSession.from_config(TrialConfig.model_validate(config))
    file = io.BytesIO()
    torch.save(session.state_dict(), file)
    assert checkpoint_bytes(session.config) == pytest.approx(file.tell(), rel=0.1)
    without = session.config.model_copy(update={"memory": None})
    assert checkpoint_bytes(session.config) - checkpoint_bytes(without) == 50_000 * (64 * 4 + 8)
    larger = TrialConfig.model_validate({**config, "memory": {"size": 10**9}})  # a trial adds 7 epochs of 500 batches
    assert checkpoint_bytes(larger) - checkpoint_bytes(without) == (7 * 500 + 1) * 16 * (64 * 4 + 8)


def test_the_plan_says_what_checkpoints_may_come_to(tmp_path: Path) -> None:
    assert describe_checkpoints(plan_of(tmp_path)) is None  # conv4
    text = describe_checkpoints(plan_of(tmp_path, trial={"backbone": RESNET, "epochs": 8}, search={"trials": 5}))
    assert text is not None
    assert text.startswith("up to 2.7 GB: 4 of 135 MB for each of 5 trials, those in MLflow included, ")
    at_server = plan_of(tmp_path, "http://127.0.0.1:1", trial={"backbone": RESNET, "epochs": 8}, checkpoints="all")
    assert "8 of 135 MB" in (describe_checkpoints(at_server) or "")
    short = plan_of(tmp_path, trial={"backbone": "conv4", "epochs": 1}, space={"backbone": ["conv4", RESNET]})
    assert "2 of 135 MB" in (describe_checkpoints(short) or "")


def test_what_is_there_is_counted(tmp_path: Path) -> None:
    plan = plan_of(tmp_path)
    for file, size in ((plan.folder / "tune" / "a", 3000), (tmp_path / "mlartifacts" / "letters" / "b" / "c", 500)):
        file.parent.mkdir(parents=True)
        file.write_bytes(b"1" * size)
    expected = f"On the disk: 3 kB in {plan.folder}, 500 bytes in {tmp_path}/mlartifacts/letters."
    assert describe_used(plan) == expected
