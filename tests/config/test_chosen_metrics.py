"""The section `trial.metrics`: what is measured on request, and which of it a search may maximise."""

from pathlib import Path

import pytest

from mdr_tune.config.chosen_metrics import far_text
from mdr_tune.config.sweep import SweepConfig
from mdr_tune.config.sweep_reading import read_sweep
from mdr_tune.config.trial import TrialConfig
from mdr_tune.util.errors import UserError

ALL = "trial.metrics={map_at: [10, 5, 10], precision_at: [1], mrr: true, nmi: true, verification: {far: [1e-3, 0.025]}}"
NAMES = ["map_at_5", "map_at_10", "precision_at_1", "mrr", "nmi", "tar_at_far_2.5e-2", "tar_at_far_1e-3"]


def read(tmp_path: Path, *overrides: str) -> SweepConfig:
    file = tmp_path / "sweep.yaml"
    file.write_text("name: x\nspace: {loss.margin: [0.1, 0.2]}\n")
    return read_sweep(file, list(overrides))[0]


@pytest.mark.parametrize("name", NAMES)
def test_each_can_be_maximised_if_it_is_asked_for(tmp_path: Path, name: str) -> None:
    sweep = read(tmp_path, ALL, f"metric=val/{name}")
    assert sweep.trial.metrics.names() == NAMES
    with pytest.raises(
        UserError, match=f"metric: val/{name} is measured on request: add .* to trial.metrics"
    ) as caught:
        read(tmp_path, f"metric=val/{name}")
    asked = str(caught.value).rpartition("add ")[2].removesuffix(" to trial.metrics")
    assert read(tmp_path, f"metric=val/{name}", f"trial.metrics={{{asked}}}").metric == f"val/{name}"


def test_nothing_more_is_measured_or_recorded_by_default() -> None:
    trial = TrialConfig()
    assert trial.metrics.names() == []
    assert not any(key.startswith("metrics") for key in trial.flat())


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["metric=val/eer"], "val/eer is better when it is smaller"),
        (["metric=map@5"], "Did you mean val/map_at_5?"),
        (["metric=P@10"], "Did you mean val/precision_at_10?"),
        (["metric=TAR@FAR=0.001"], "Did you mean val/tar_at_far_1e-3?"),
        (["metric=MRR"], "Did you mean val/mrr?"),
        (["trial.metrics={verification: {far: [1.5]}}"], "trial.metrics.verification.far"),
        (["trial.metrics={map_at: [0]}"], "trial.metrics.map_at"),
        (["trial.metrics={map: [5]}"], "trial.metrics.map"),
        (["space.metrics.mrr=[true, false]"], "space.metrics.mrr: changes nothing in the training"),
        (["space.metrics=[{mrr: true}]"], "space.metrics: changes nothing in the training"),
    ],
)
def test_mistakes_are_told(tmp_path: Path, overrides: list[str], message: str) -> None:
    with pytest.raises(UserError) as caught:
        read(tmp_path, *overrides)
    assert message in str(caught.value)


def test_rates_are_written_as_in_papers() -> None:
    assert [far_text(far) for far in (0.1, 1e-3, 0.025, 5e-6)] == ["1e-1", "1e-3", "2.5e-2", "5e-6"]
