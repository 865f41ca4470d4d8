"""The table of metrics: whole, and asked by name."""

from typing import Any

import pytest

from mdr_tune.config.trial import TrialConfig
from mdr_tune.records.metrics import (
    METRICS,
    UnknownMetricError,
    check_known,
    find,
    is_compared,
    is_measured,
    larger_is_better,
    metric_label,
)
from mdr_tune.records.objectives import best_epoch_key, best_key
from mdr_tune.records.recorded_sweep import mean_key, second_key
from mdr_tune.training import TrialSession
from tests.data.few_letters import few_letters, few_test_letters

SMALL: dict[str, Any] = {
    "epochs": 1,
    "iterations_per_epoch": 1,
    "curves": ["train", "test"],
    "batch": {"size": 8, "images_per_class": 2},
    "optimizer": {"clip_gradient_norm": 1.0, "head_learning_rate": 0.01},
    "metrics": {"map_at": [3], "precision_at": [3], "mrr": True, "nmi": True, "verification": {}},
}


def test_all_that_an_epoch_and_a_test_measure_is_in_the_table() -> None:
    config = TrialConfig.model_validate(SMALL)
    test = few_test_letters()
    session = TrialSession(config, few_letters(), test=test)
    measured = {key for key in session.run_epoch() if key != "epoch"}
    check_known(measured)
    assert {find(key).group for key in measured} == {"train", "val", "curves", "mdr", "time", "memory"}  # type: ignore[union-attr]
    assert {key for key in session.evaluate_test(test) if find(key) is None} == set()


def test_what_is_made_of_a_metric_is_known_and_not_measured() -> None:
    for metric in ("val/recall_at_1", "val/map_at_10", "val/tar_at_far_1e-3", "curves/test_recall_at_4"):
        for made in (best_key(metric), best_epoch_key(metric), mean_key(metric), second_key(metric)):
            assert find(made) is not None, made
            assert not is_measured(made), made
            assert not is_compared(made), made


def test_an_unknown_metric_is_named_with_where_to_add_it() -> None:
    for name in ("noise/level", "val/recall_at_one", "train/loss ", "test/recall_at_1"):  # the last: of no epoch
        with pytest.raises(
            UnknownMetricError, match=rf"unknown metric '{name}': add a line for it .*records/metrics.py"
        ):
            check_known(["train/loss", name])


def test_metrics_of_another_version_s_runs_are_read() -> None:
    assert is_measured("train/of_old")
    assert (find("train/of_old"), metric_label("train/of_old")) == (None, "of_old")


def test_the_machine_s_are_not_compared_and_rates_and_recalls_are_better_when_larger() -> None:
    compared = ("train/loss", "val/recall_at_8", "curves/train_map_at_r", "mdr/level_0", "mdr/held_12")
    assert all(map(is_compared, compared))
    assert not any(map(is_compared, ("time/epoch_s", "memory/peak_gib", "time/epochs", "test/recall_at_1")))
    assert all(
        map(larger_is_better, ("val/best_recall_at_1", "test/map_at_r", "time/images_per_s", "curves/test_r_precision"))
    )
    assert not any(map(larger_is_better, ("train/loss", "time/epoch_s", "memory/peak_gib", "mdr/weight")))


def test_a_name_is_of_one_line() -> None:
    names = [metric.name for metric in METRICS]
    assert len(set(names)) == len(names)
    assert metric_label("val/mean_best_recall_at_10") == "Recall@10"
    assert metric_label("val/best_tar_at_far_1e-3") == "TAR at FAR 1e-3"
