"""The order of a leaderboard, its sort keys and flat rows, against what can be seen from the trials."""

from dataclasses import replace
from typing import Any

import pytest

from mdr_tune.records.objectives import on_front
from mdr_tune.records.recorded_sweep import RecordedTrial, SweepRecords
from mdr_tune.records.trial_record import Outcome, TrialRecord, mean_over_seeds
from mdr_tune.report.leaderboard import budget_note, flat_rows, leaderboard
from mdr_tune.report.names import short_names
from mdr_tune.util.errors import UserError

METRIC = "val/recall_at_1"


def trial(name: str, best: float | None, outcome: Outcome = "completed", epochs: int = 8, **more: Any) -> RecordedTrial:
    parameters = more.pop("parameters", {"mdr.weight": 0.1})
    metrics = {key.replace("__", "/"): value for key, value in more.items()}
    if best is not None:
        metrics |= {"val/best_recall_at_1": best, "val/best_epoch": 2.0, "time/epochs": float(epochs)}
    arm, index = name.split("-")[0], int(name.split(".")[1]) - 1 if "." in name else 0
    return RecordedTrial(TrialRecord(name, arm, 0, parameters, {}, index, outcome=outcome), f"id-{name}", metrics)


def sweep(*trials: RecordedTrial, second: str | None = None) -> SweepRecords:
    return SweepRecords("cub", "1", "p", "FINISHED", METRIC, second, list(trials))


FULL = sweep(
    trial("mdr-001", 60.0, val__mean_best_recall_at_1=58.0, val__seeds=2.0, train__loss=0.3),
    trial("mdr-002", 61.0, "diverged", train__loss=0.1),
    trial("mdr-003", 59.0, "stopped_early", epochs=3, parameters={"mdr.weight": 0.02}, test__recall_at_1=51.0),
    trial("mdr-004", None, "failed"),
    trial("mdr-001.2", 56.0),
    trial("triplet-001", 70.0, parameters={"epochs": 8}),
)


def test_the_best_come_first_seeds_below_their_first_and_what_diverged_last() -> None:
    board = leaderboard(FULL)
    assert [(entry.rank, entry.trial) for entry in board] == [
        (1, "triplet-001"),
        (2, "mdr-003"),
        (3, "mdr-001"),  # by its mean
        (None, "mdr-001.2"),
        (None, "mdr-004"),
        (None, "mdr-002"),
    ]
    by_name = {entry.trial: entry for entry in board}
    assert by_name["mdr-002"].best is None
    assert (by_name["mdr-001"].mean, by_name["mdr-001"].seeds) == (58.0, 2)
    assert (by_name["mdr-003"].test, by_name["mdr-003"].epochs) == (51.0, 3)


def test_finalists_come_before_all_others() -> None:
    board = leaderboard(replace(FULL, finalists=1))
    assert [entry.trial for entry in board if entry.rank is not None] == ["mdr-001", "triplet-001", "mdr-003"]


@pytest.mark.parametrize(
    ("key", "first"),
    [
        ("best", "triplet-001"),
        ("epochs", "triplet-001"),
        ("trial", "mdr-001"),
        ("train/loss", "mdr-001"),  # that of the diverged trial is lower, and it comes last
        ("mdr.weight", "mdr-003"),
        ("weight", "mdr-003"),
        ("test", "mdr-003"),
        ("s/epoch", leaderboard(FULL, sort="epoch_s")[0].trial),
        ("images/s", leaderboard(FULL, sort="images_per_s")[0].trial),
        ("outcome", "triplet-001"),
        ("Recall@1", "triplet-001"),
        ("val recall@1", "triplet-001"),
        ("test Recall@1", "mdr-003"),
        ("Peak GiB", leaderboard(FULL, sort="peak_gib")[0].trial),
    ],
)
def test_sort_keys(key: str, first: str) -> None:
    board = leaderboard(FULL, sort=key)
    assert board[0].trial == first
    assert board[-1].trial == "mdr-002"


def test_an_unknown_sort_key_names_the_nearest() -> None:
    with pytest.raises(UserError, match=r"--sort mdr.weigth: nothing is called so. Did you mean 'mdr.weight'\?"):
        leaderboard(FULL, sort="mdr.weigth")
    with pytest.raises(UserError, match=r"Did you mean 'images/s'\?"):
        leaderboard(FULL, sort="Images/sec")
    with pytest.raises(UserError, match=r"--sort recal: .* Did you mean 'Recall@1'\?"):
        leaderboard(FULL, sort="recal")
    with pytest.raises(UserError, match=r"Did you mean 'train/loss'\?"):
        leaderboard(FULL, sort="loss")
    with pytest.raises(UserError, match=r"--sort parameters: that column has all of them: sort by one: mdr.weight,"):
        leaderboard(FULL, sort="parameters")


def test_flat_rows_have_everything_and_the_same_columns() -> None:
    rows = flat_rows(leaderboard(FULL))
    assert len({tuple(row) for row in rows}) == 1
    by_name = {row["trial"]: row for row in rows}
    assert (by_name["mdr-003"]["mdr.weight"], by_name["mdr-001"]["train/loss"]) == (0.02, 0.3)
    assert by_name["triplet-001"]["mdr.weight"] is None
    assert (by_name["triplet-001"]["epochs"], by_name["triplet-001"]["trial.epochs"]) == (8, 8)


def test_the_front_is_marked() -> None:
    board = leaderboard(
        sweep(
            trial("mdr-001", 60.0, objective__images_per_s=100.0),
            trial("mdr-002", 50.0, objective__images_per_s=200.0),
            trial("mdr-003", 49.0, objective__images_per_s=150.0),
            trial("mdr-004", 70.0, "diverged", objective__images_per_s=900.0),
            second="time/images_per_s",
        )
    )
    assert {entry.trial: entry.front for entry in board} == {
        "mdr-001": True,
        "mdr-002": True,
        "mdr-003": False,
        "mdr-004": False,
    }


def test_different_epochs_are_said() -> None:
    note = budget_note(leaderboard(FULL))
    assert note is not None
    assert note.startswith("Trials had 3 to 8 epochs (1 stopped early)")
    assert budget_note(leaderboard(sweep(trial("mdr-001", 1.0), trial("mdr-002", 2.0)))) is None


def test_the_front_against_its_definition() -> None:
    points = [(float(a), float(b)) for a in range(4) for b in range(4) if (a * b) % 3 != 2]

    def beaten(p: tuple[float, float]) -> bool:
        return any(q[0] >= p[0] and q[1] >= p[1] and q != p for q in points)

    assert on_front([*points, None, points[0]]) == [*(not beaten(p) for p in points), False, not beaten(points[0])]


def test_the_mean_is_over_seeds_that_ran_to_their_end() -> None:
    def seed(recall: float, outcome: Outcome) -> TrialRecord:
        return TrialRecord("mdr-001", "mdr", 0, {}, {}, history=[{"epoch": 1.0, METRIC: recall}], outcome=outcome)

    seeds = [seed(50.0, "completed"), seed(60.0, "completed"), seed(90.0, "diverged"), seed(10.0, "running")]
    assert mean_over_seeds(seeds, METRIC) == (55.0, 2)
    assert mean_over_seeds(seeds[2:], METRIC) is None


def test_short_names() -> None:
    keys = ["mdr.weight", "mdr.levels.spread", "batch.size", "loss.margin", "miner.margin", "loss", "backbone.name"]
    assert list(short_names(keys).values()) == [
        "weight",
        "levels spread",
        "batch size",
        "loss margin",
        "miner margin",
        "loss",
        "backbone",
    ]
