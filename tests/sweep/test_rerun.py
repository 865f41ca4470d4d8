"""What is checked before a trial is run again, and what differs of the surroundings."""

from typing import Any

import pytest

from mdr_tune.cluster.machine import Machine
from mdr_tune.config.datasets import GlyphsDataConfig
from mdr_tune.config.trial import TrialConfig
from mdr_tune.records.provenance import repeat_info
from mdr_tune.sweep import rerun
from mdr_tune.sweep.rerun import plan_rerun, prepare_rerun
from mdr_tune.tracking.rerun_record import Original
from mdr_tune.util.errors import UserError

RUN_ID = "0123456789abcdef0123456789abcdef"


@pytest.fixture(autouse=True)
def machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rerun, "this_machine", lambda: Machine(4, 0, "this machine"))


def original(epochs: int = 3, device: str | None = "cpu", content: str | None = None, **repeat: Any) -> Original:
    recorded = {**repeat_info(TrialConfig(epochs=8, seed=5).model_dump(), 2, 1, "launch.py"), **repeat}
    history = [{"epoch": float(epoch), "val/recall_at_1": 50.0} for epoch in range(1, epochs + 1)]
    return Original(RUN_ID, "7", "mdr-001", recorded, history, device, content)


def refusal(of: Original, epochs: int | None = None) -> str:
    with pytest.raises(UserError) as caught:
        plan_rerun(of, epochs, "mdr-tune rerun")
    return str(caught.value)


def test_it_runs_as_many_epochs_on_one_lane_of_as_many_workers() -> None:
    plan = plan_rerun(original(), None, "mdr-tune rerun X")
    assert plan.epochs == 3
    lanes = plan.lanes
    assert (lanes.num_lanes, lanes.workers_per_lane, lanes.cpus_per_worker, lanes.gpus_per_worker) == (1, 2, 1, 0)
    assert lanes.max_restarts == 0
    assert plan.sweep.trial == TrialConfig(epochs=8, seed=5)  # its schedule is that of all 8 epochs
    assert plan.repeat["command"] == "mdr-tune rerun X"
    assert not [line for line in plan.differences if not line.startswith("source: ")]


def test_threads_and_fewer_epochs() -> None:
    plan = plan_rerun(original(threads=2), 1, "")
    assert (plan.epochs, plan.lanes.cpus_per_worker) == (1, 2)


def test_what_differs_is_known_before_anything_starts() -> None:
    of = original(device="NVIDIA H100", cpu="another one")
    lines = plan_rerun(of, None, "").differences
    assert any(line.startswith("cpu: another one then, ") for line in lines)
    assert "device: NVIDIA H100 then, cpu now" in lines


@pytest.mark.parametrize("epochs", [0, 4, -1])
def test_epochs_that_it_did_not_do_are_refused(epochs: int) -> None:
    assert refusal(original(), epochs) == f"--epochs {epochs}: mdr-001 did 3: give a number from 1 to that"


def test_workers_that_do_not_fit_are_refused() -> None:
    text = refusal(original(workers=3, threads=2))
    assert "mdr-001 ran on 3 workers, which need 2 CPUs each; this machine has 4 CPUs and 0 GPUs" in text


def test_a_configuration_of_another_version_is_refused_with_the_version() -> None:
    config = {**TrialConfig().model_dump(), "gone": 1}
    text = refusal(original(config=config, source={"commit": "abc", "dirty": False}))
    assert f"{RUN_ID}: this version does not take the trial's configuration (trial.gone: " in text
    assert "commit abc: run that one" in text


def test_a_folder_that_is_not_there_is_named(tmp_path: Any) -> None:
    data = {"name": "folder", "root": str(tmp_path / "gone")}
    text = refusal(original(config=TrialConfig.model_validate({"data": data}).model_dump()))
    assert f"data.root: there is no {tmp_path / 'gone'}" in text


def test_other_images_are_told() -> None:
    def silent(*_: Any) -> None:
        """Say nothing."""

    from mdr_tune.data import dataset_content

    same = dataset_content(GlyphsDataConfig())
    assert prepare_rerun(plan_rerun(original(content=same), None, ""), silent, silent) is None
    assert prepare_rerun(plan_rerun(original(content=None), None, ""), silent, silent) is None
    told = prepare_rerun(plan_rerun(original(content="other"), None, ""), silent, silent)
    assert told == "images: the files of glyphs, their labels or the split are not those of then"
