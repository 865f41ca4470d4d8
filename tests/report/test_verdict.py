"""Tables and sentences of a sweep, against numbers worked out by hand."""

from dataclasses import replace
from typing import Any

import pytest

from mdr_tune.records.metrics import metric_label
from mdr_tune.records.recorded_sweep import RecordedTrial
from mdr_tune.records.trial_record import Outcome, SweepResult, TrialRecord
from mdr_tune.report.description import BEST_TRIALS_SHOWN, search_description, trial_table
from mdr_tune.report.names import format_parameters
from mdr_tune.report.names import test_key as beside
from mdr_tune.report.rows import AblationTable, Difference, Estimate, Row
from mdr_tune.report.sentences import gains, verdict

METRIC = "val/recall_at_1"
CAUTION = "One seed each: differences of this size can be chance."


def record(name: str, recalls: list[float], outcome: Outcome = "completed", **parameters: Any) -> TrialRecord:
    """A trial of the arm that its name says, with one recall for each epoch."""
    history = [{"epoch": float(epoch), METRIC: recall} for epoch, recall in enumerate(recalls, 1)]
    return TrialRecord(name, name.rsplit("-", 1)[0], 0, parameters, {}, history=history, outcome=outcome)


def result(*records: TrialRecord, test: dict[str, float] | None = None, **more: Any) -> SweepResult:
    """A sweep whose best trials are chosen as a run does."""
    best: dict[str, TrialRecord] = {}
    for one in records:
        if one.best(METRIC) and (one.arm not in best or one.best(METRIC)[0] > best[one.arm].best(METRIC)[0]):  # type: ignore[index]
            best[one.arm] = one
    tests = {arm: {"test/recall_at_1": recall, "test/map_at_r": 1.0} for arm, recall in (test or {}).items()}
    return SweepResult(METRIC, list(records), best, tests, **more)


MDR_WINS = result(
    record("mdr-001", [50.0, 62.5, 60.0], weight=0.25),
    record("mdr-002", [40.0], "stopped_early", weight=0.5),
    record("triplet-001", [55.0, 60.25]),
    record("triplet_l2-001", [58.0]),
    record("triplet-002", [30.0], "stopped_early"),
    record("triplet_l2-002", [], "failed"),
    test={"mdr": 57.5, "triplet": 58.0, "triplet_l2": 50.0},
)


@pytest.mark.parametrize(
    ("metric", "label"),
    [
        ("val/recall_at_1", "Recall@1"),
        ("val/recall_at_8", "Recall@8"),
        ("val/map_at_r", "MAP@R"),
        ("test/r_precision", "R-precision"),
        ("train/loss", "loss"),
        ("curves/test_recall_at_1", "Recall@1"),
        ("val/best_map_at_r", "MAP@R"),
        ("curves/best_test_recall_at_4", "Recall@4"),
    ],
)
def test_metrics_are_written_as_the_field_does(metric: str, label: str) -> None:
    assert metric_label(metric) == label


@pytest.mark.parametrize("metric", ["val/recall_at_1", "curves/test_recall_at_1", "curves/train_recall_at_1"])
def test_the_test_metric_beside_a_metric_of_each_epoch(metric: str) -> None:
    assert beside(metric) == "test/recall_at_1"


@pytest.mark.parametrize(
    ("parameters", "text"),
    [
        ({}, ""),
        ({"loss.margin": 0.2}, "margin 0.2"),
        ({"mdr.weight": 0.123456, "loss.margin": 0.2}, "weight 0.123, margin 0.2"),
        ({"optimizer.learning_rate": 0.00012345}, "learning_rate 0.000123"),
        (
            {"mdr.weight": 0.13, "mdr.levels.count": 3, "mdr.levels.spread": 2.404, "loss.margin": 0.2},
            "levels 3 over ±2.40, weight 0.13, margin 0.2",
        ),
        ({"mdr.levels.spread": 2.0}, "levels over ±2.00"),
        ({"mdr.levels.count": 5}, "levels 5"),
        (
            {"mdr.levels.count": 5, "mdr.levels.spread": 1.5, "mdr.levels.offset": -0.25},
            "levels 5 over ±1.50 about -0.25",
        ),
        ({"mdr.levels": "[-3, 0, 3]"}, "levels [-3, 0, 3]"),
        ({"epochs": 8, "backbone": "conv4"}, "epochs 8, backbone conv4"),
        ({"embedding.size": 64, "batch.size": 128, "seed": 1}, "embedding size 64, batch size 128, seed 1"),
    ],
)
def test_parameters_in_one_line(parameters: dict[str, Any], text: str) -> None:
    before = dict(parameters)
    assert format_parameters(parameters) == text
    assert parameters == before


def cells(sweep: SweepResult) -> list[dict[str, str]]:
    """The table at the end of a search, each row by its titles."""
    titles, rows = trial_table(sweep)
    return [dict(zip(titles, row, strict=True)) for row in rows]


def names(sweep: SweepResult) -> list[str]:
    return [row["trial"] for row in cells(sweep)]


def test_the_last_of_equal_epochs_is_the_best_as_for_ray_s_checkpoints() -> None:
    assert " 62.50 at epoch 3." in verdict(result(record("mdr-001", [60.0, 62.5, 62.5, 61.0])))[0]


def test_the_table_has_the_best_trials_then_the_best_of_each_baseline() -> None:
    assert [(row["trial"], row["val Recall@1"], row["test Recall@1"]) for row in cells(MDR_WINS)] == [
        ("mdr-001", "62.50", "57.50"),
        ("mdr-002", "40.00", ""),  # was not evaluated on test: it is not the best of its arm
        ("triplet-001", "60.25", "58.00"),
        ("triplet_l2-001", "58.00", "50.00"),
    ]


def test_the_table_is_sorted_and_cut() -> None:
    recalls = [50.0, 70.0, 60.0, 40.0, 65.0, 55.0, 45.0]
    sweep = result(*[record(f"mdr-{i:03d}", [recall]) for i, recall in enumerate(recalls, 1)])
    assert BEST_TRIALS_SHOWN == 5
    assert [row["val Recall@1"] for row in cells(sweep)] == ["70.00", "65.00", "60.00", "55.00", "50.00"]


def test_gains_are_differences_of_the_best_trials() -> None:
    assert gains(MDR_WINS) == {
        "gain/val_over_triplet": 2.25,
        "gain/test_over_triplet": -0.5,
        "gain/val_over_triplet_l2": 4.5,
        "gain/test_over_triplet_l2": 7.5,
    }


def test_gains_without_test_metrics_without_baselines_and_without_mdr() -> None:
    mdr, triplet = record("mdr-001", [50.0]), record("triplet-001", [60.5])
    assert gains(result(mdr, triplet)) == {"gain/val_over_triplet": -10.5}
    assert gains(result(mdr)) == {}
    assert gains(result(triplet)) == {}


def test_mdr_wins() -> None:
    assert verdict(MDR_WINS) == [
        "Best on validation: mdr-001 (weight 0.25): Recall@1 62.50 at epoch 2, test Recall@1 57.50.",
        "triplet without MDR is better than that trial on the test classes.",
        "MDR over triplet: +2.25 points of Recall@1 on validation, -0.50 on test.",
        "MDR over triplet_l2: +4.50 points of Recall@1 on validation, +7.50 on test.",
        "Each arm had its own search (mdr 2 trials and 4 epochs, triplet 2 trials and 3 epochs, triplet_l2 2 trials "
        f"and 1 epoch), chosen on validation; test was read once, for these trials. {CAUTION}",
    ]


def test_with_the_reports_table_gains_have_their_intervals_and_a_query_its_worth() -> None:
    triplet = Difference("triplet-001", "triplet", Estimate(-0.5, -0.9, -0.1, 3), 0.03, 0.03, "worse")
    row = Row([RecordedTrial(MDR_WINS.records[0], "", {})], METRIC, differences=[triplet])
    row = replace(row, estimates={"test/recall_at_1": Estimate(57.5, 56.0, 59.0, 3)})
    table = AblationTable("x", "glyphs", "test/recall_at_1", ["test/recall_at_1"], [row], False, [], queries=3108)
    lines = verdict(MDR_WINS, table)
    assert lines[0].endswith("at epoch 2, test Recall@1 57.50 (95 % interval 56.00 to 59.00, n = 3 seeds).")
    assert lines[2:5] == [
        "MDR over triplet: \N{MINUS SIGN}0.50 points of test Recall@1 (95 % interval \N{MINUS SIGN}0.90 to "
        "\N{MINUS SIGN}0.10, p = 0.030, n = 3 seeds): worse. On validation +2.25.",
        "MDR over triplet_l2: +4.50 points of Recall@1 on validation, +7.50 on test.",  # is not in the table
        "One of 3,108 test queries is 0.032 points of test Recall@1.",
    ]
    assert lines[-1].endswith(CAUTION)
    both = replace(row, differences=[triplet, replace(triplet, baseline="triplet_l2-001")])
    assert not verdict(MDR_WINS, replace(table, rows=[both]))[-1].endswith(CAUTION)  # the intervals say it


def test_a_baseline_wins_and_the_budgets_differ() -> None:
    sweep = result(
        record("mdr-001", [50.0]),
        record("mdr-002", [40.0]),
        record("triplet-001", [60.5]),
        test={"mdr": 48.0, "triplet": 47.0},
    )
    assert verdict(sweep) == [
        "Best on validation: triplet-001 (the file as it is): Recall@1 60.50 at epoch 1, test Recall@1 47.00.",
        "On validation a baseline wins: triplet without MDR beats every MDR trial there.",
        "MDR over triplet: -10.50 points of Recall@1 on validation, +1.00 on test.",
        "Each arm had its own search (mdr 2 trials and 2 epochs, triplet 1 trial and 1 epoch), chosen on validation; "
        f"test was read once, for these trials. {CAUTION}",
    ]


def test_at_a_tie_no_baseline_beats_mdr() -> None:
    sweep = result(record("mdr-001", [60.0]), record("triplet-001", [60.0]))
    assert verdict(sweep)[0].startswith("Best on validation: mdr-001")
    assert verdict(sweep)[1:3] == [
        "triplet without MDR is as good as that trial on the validation classes.",
        "MDR over triplet: +0.00 points of Recall@1 on validation.",
    ]


def test_without_baselines_there_is_nothing_to_compare() -> None:
    sweep = result(record("mdr-001", [50.0], weight=0.25), test={"mdr": 48.0})
    assert verdict(sweep) == [
        "Best on validation: mdr-001 (weight 0.25): Recall@1 50.00 at epoch 1, test Recall@1 48.00."
    ]


def test_when_all_mdr_trials_failed_it_is_said() -> None:
    sweep = result(record("mdr-001", [], "failed"), record("triplet-001", [50.0]), test={"triplet": 48.0})
    assert verdict(sweep) == [
        "Best on validation: triplet-001 (the file as it is): Recall@1 50.00 at epoch 1, test Recall@1 48.00.",
        "No MDR trial finished an epoch: what MDR gains is not known.",
    ]


def test_no_winner() -> None:
    sweep = result(record("mdr-001", [], "failed"), record("triplet-001", [], "failed"))
    assert verdict(sweep) == [
        "No trial finished an epoch: there is no winner. The MLflow runs of the failed trials say why."
    ]
    assert names(sweep) == []


def test_an_interrupted_sweep_does_not_claim_that_nothing_ran() -> None:
    sweep = SweepResult(METRIC, [record("mdr-001", [50.0, 60.0], "killed")], interrupted=True)
    assert verdict(sweep) == [
        "Interrupted: this session chose no winner and read no test classes. What was recorded is in MLflow."
    ]
    assert trial_table(sweep)[1] == [["mdr-001", "killed", "2", "60.00", "", ""]]
    sweep.records += [record("triplet-001", [40.0]), record("triplet-002", [50.0])]
    assert names(sweep) == ["mdr-001", "triplet-002"]  # the best so far, though no best was chosen


def test_the_description_in_mlflow() -> None:
    load = 'model = mlflow.pytorch.load_model("models:/x@champion")'
    lines = search_description(MDR_WINS, load).splitlines()
    assert lines[0] == "### " + verdict(MDR_WINS)[0]
    assert lines[2:6] == [f"- {line}" for line in verdict(MDR_WINS)[1:]]
    table = [line for line in lines if line.startswith("|")]
    assert table == [
        "| trial | outcome | epochs | val Recall@1 | test Recall@1 | parameters |",
        "| --- | --- | --- | --- | --- | --- |",
        "| mdr-001 | completed | 3 | 62.50 | 57.50 | weight 0.25 |",
        "| mdr-002 | stopped early | 1 | 40.00 |  | weight 0.5 |",
        "| triplet-001 | completed | 2 | 60.25 | 58.00 |  |",
        "| triplet_l2-001 | completed | 1 | 58.00 | 50.00 |  |",
    ]
    assert lines[-3:] == ["```python", load, "```"]
    assert lines[lines.index(table[0]) - 1] == ""  # without it, Markdown takes the table for text


def test_the_description_without_a_champion_has_no_code() -> None:
    assert "```" not in search_description(MDR_WINS, None)


def test_a_grid_shows_every_row_in_its_order() -> None:
    records = [
        record(f"trial-{i}", [recall], loss="triplet") for i, recall in enumerate([3.0, 9.0, 5.0, 1.0, 2.0, 4.0])
    ]
    for each in records:
        each.arm = "trial"
    found = SweepResult(METRIC, records, {"trial": records[1]}, {}, main_arm="trial", shows_all=True)
    assert names(found) == [f"trial-{i}" for i in range(6)]
    assert verdict(found)[1:] == ["One seed a row: differences of a few points can be chance."]


def seeds(first: str, *recalls: float) -> list[TrialRecord]:
    """A configuration with a seed for each recall."""
    found = [record(first if i == 0 else f"{first}.{i + 1}", [recall]) for i, recall in enumerate(recalls)]
    for index, each in enumerate(found):
        each.arm, each.seed_index = first.split("-")[0], index
    return found


def test_a_configuration_with_several_seeds_is_its_mean() -> None:
    sweep = result(
        *seeds("mdr-001", 60.0, 62.0, 64.0), *seeds("mdr-002", 63.0, 50.0, 52.0), *seeds("triplet-001", 55.0)
    )
    sweep.best = {"mdr": sweep.records[0], "triplet": sweep.records[-1]}
    assert [(row["trial"], row["val Recall@1"], row["seeds"]) for row in cells(sweep)] == [
        ("mdr-001", "62.00", "3"),
        ("mdr-002", "55.00", "3"),
        ("triplet-001", "55.00", "1"),
    ]
    assert gains(sweep) == {"gain/val_over_triplet": 7.0}
    assert (
        verdict(sweep)[0] == "Best on validation: mdr-001 (the file as it is): Recall@1 62.00 in the mean of 3 seeds."
    )
    assert verdict(sweep)[-1].endswith("Means of 1 to 3 seeds each: small differences can be chance.")
    assert "| mdr-001 | completed | 1 | 3 | 62.00 |  |  |" in search_description(sweep, None)


def test_finalists_come_before_a_lucky_seed() -> None:
    lucky = record("mdr-003", [70.0])
    sweep = result(lucky, *seeds("mdr-001", 60.0, 62.0), *seeds("mdr-002", 63.0, 50.0), record("triplet-001", [65.0]))
    sweep.finalists = 2
    sweep.best = {"mdr": sweep.records[1], "triplet": sweep.records[-1]}
    assert sweep.winner is sweep.best["mdr"]  # though one seed of triplet is better
    assert names(sweep) == ["mdr-001", "mdr-002", "mdr-003", "triplet-001"]
    assert verdict(sweep)[:2] == [
        "Best on validation: mdr-001 (the file as it is): Recall@1 61.00 in the mean of 2 seeds.",
        "Finalists (mdr 2, triplet 0) are compared by their means over seeds; the highest value of a first seed, 70.00 "
        "of mdr-003, is the best of many, and too high by chance.",
    ]
    first_seeds = [each for each in sweep.records if each.seed_index == 0]
    cut_off = SweepResult(METRIC, first_seeds, {"mdr": lucky}, finalists=2)
    assert verdict(cut_off)[1].startswith("No finalist has further seeds: the best value of a single seed")


def test_why_the_search_ended_and_what_diverged_is_said() -> None:
    sweep = result(
        record("mdr-001", [50.0]), record("mdr-002", [90.0], "diverged"), stopped_because="mdr-001 reached the target"
    )
    assert verdict(sweep)[1:] == [
        "The search ended before its trials were used up: mdr-001 reached the target.",
        "1 trial diverged and has no value.",
    ]
    assert names(sweep) == ["mdr-001"]


def test_the_pareto_front_is_said() -> None:
    records = [record(f"mdr-{i:03d}", [recall]) for i, recall in enumerate([60.0, 50.0, 49.0, 70.0], 1)]
    for each, speed in zip(records, [100.0, 200.0, 150.0, 90.0], strict=True):
        each.history[0]["time/images_per_s"] = speed
    records[3].outcome = "diverged"
    sweep = result(*records, second_metric="time/images_per_s")
    assert verdict(sweep)[-1] == "Pareto front of Recall@1 and images/s: mdr-001 (60.00, 100), mdr-002 (50.00, 200)."


def test_trials_that_are_equal_to_three_digits_are_told_apart() -> None:
    records = [record(f"mdr-{i:03d}", [60.0 + i]) for i in (1, 2, 3)]
    for trial, (weight, spread) in zip(records, [(0.1, 2.4), (0.1000001, 2.4), (0.1, 2.4000001)], strict=True):
        trial.parameters = {"mdr.levels.count": 3, "mdr.levels.spread": spread, "mdr.weight": weight}
    sweep = SweepResult(METRIC, records=records, best={"mdr": records[2]})
    said = [row["parameters"] for row in cells(sweep)]
    assert said == [
        "levels 3 over ±2.4000001, weight 0.1",
        "levels 3 over ±2.400000, weight 0.1000001",
        "levels 3 over ±2.4000000, weight 0.1",
    ]
    assert f"Best on validation: mdr-003 ({said[0]})" in verdict(sweep)[0]
