"""The parameters of a trial's run: the whole configuration and what was drawn, read back as the configuration."""

from typing import Any

import pytest

from mdr_tune.config.space import parameter_tree, resolve
from mdr_tune.config.sweep import SweepConfig
from mdr_tune.config.trial import TrialConfig
from mdr_tune.records.trial_record import TrialRecord
from mdr_tune.tracking.trial_runs import config_of, trial_params

SPACE = {
    "mdr.levels": {"count": [2, 3], "spread": {"uniform": [1, 5]}},
    "mdr.weight": {"loguniform": [0.01, 1]},
    "loss": [{"name": "triplet", "margin": {"uniform": [0.1, 0.3]}}, {"name": "arcface"}],
    "optimizer.learning_rate": [1e-3, 1e-4],
}
DRAWN = {"mdr.levels.count": 3, "mdr.levels.spread": 2.5, "mdr.levels.offset": 0.0, "mdr.weight": 0.5}


def written(config: TrialConfig, drawn: dict[str, Any]) -> dict[str, str]:
    record = TrialRecord("mdr-001", "mdr", 0, drawn, config.model_dump())
    return {key: str(value) for key, value in trial_params(record, config).items()}


def test_the_drawn_parameters_come_first_and_the_rest_is_the_configuration() -> None:
    space = SweepConfig.model_validate({"name": "a", "space": SPACE}).space
    assert parameter_tree(space)
    drawn = {**DRAWN, "loss": "triplet", "loss.margin": 0.2, "optimizer.learning_rate": 1e-4}
    config = resolve(TrialConfig(), space, drawn)
    params = written(config, drawn)
    assert list(params)[: len(drawn)] == list(drawn)
    assert (params["mdr.levels.count"], params["mdr.levels"], params["loss"]) == ("3", "[-2.5, 0.0, 2.5]", "triplet")
    assert params["mdr"] == "on"
    assert TrialConfig.model_validate(config_of(params)).flat() == config.flat()


@pytest.mark.parametrize("has_switch", [True, False])  # without: an older store
def test_without_mdr(has_switch: bool) -> None:
    config = TrialConfig.model_validate({"mdr": None})
    params = written(config, {"loss.margin": 0.2})
    assert params["mdr"] == "off"
    read = config_of(params if has_switch else {**params, "mdr": "None"})
    assert read["mdr"] is None
    assert TrialConfig.model_validate(read).flat() == config.flat()


def test_a_run_of_an_older_version_has_no_drawn_parameters() -> None:
    config = TrialConfig.model_validate({"mdr": {"weight": 0.3, "levels": [-1, 1]}})
    assert config_of({key: str(value) for key, value in config.flat().items()})["mdr"]["levels"] == [-1.0, 1.0]
