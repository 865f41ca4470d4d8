"""The description of a sweep while it runs: when it is written, and what it says."""

import re
from types import SimpleNamespace
from typing import Any

import pytest

from mdr_tune.records.trial_record import Outcome, TrialRecord
from mdr_tune.sweep.live_description import LiveDescription

METRIC = "val/recall_at_1"


def trial(name: str, recalls: list[float], outcome: Outcome = "completed", **parameters: Any) -> TrialRecord:
    history = [{"epoch": float(epoch), METRIC: recall} for epoch, recall in enumerate(recalls, 1)]
    seed_index = int(name.partition(".")[2] or 1) - 1
    return TrialRecord(
        name, name.rsplit("-", 1)[0], 0, parameters, {}, seed_index=seed_index, history=history, outcome=outcome
    )


def live(written: list[str], **changes: Any) -> LiveDescription:
    arguments = {"metric": METRIC, "main_arm": "mdr", "total": 9, "every_s": 0.0}
    return LiveDescription(written.append, **{**arguments, **changes})


def test_finalists_lead() -> None:
    written: list[str] = []
    records = [trial("mdr-001", [60.0]), trial("mdr-002", [50.0]), trial("mdr-002.2", [52.0])]
    live(written, records=records, finalists=1).stage("searching mdr")
    assert "Best so far on validation: mdr-002 (the file as it is): Recall@1 51.00 in the mean of 2" in written[-1]


def test_it_says_how_far_the_sweep_is_and_who_leads() -> None:
    written: list[str] = []
    description = live(written, shows_all=True, records=[trial("mdr-001", [50.0, 60.0], weight=0.1)])
    description.stage("searching mdr")
    for record in (
        trial("mdr-001.2", [64.0], weight=0.1),
        trial("mdr-002", [61.0], weight=0.5),
        trial("mdr-002.2", [61.0, 90.0], "diverged", weight=0.5),
        trial("triplet-001", [58.25]),
        trial("triplet-002", [], "failed"),
    ):
        description.trial_started(record)
        description.trial_ended(record)
    description.trial_started(trial("triplet-003", [70.0], "running"))
    description.test_scored(trial("mdr-001", []), {"test/recall_at_1": 57.0}, None)
    description.test_scored(trial("mdr-001.2", []), {"test/recall_at_1": 58.0}, None)
    lines = written[-1].splitlines()
    assert len(written) == 8
    assert lines[0] == "### Running: 6 of 9 trials done"
    assert re.fullmatch(r"- As of \d{4}-\d\d-\d\d \d\d:\d\d: searching mdr\.", lines[2])
    assert lines[3:] == [
        "- Best so far on validation: triplet-003 (the file as it is): Recall@1 70.00 at epoch 1.",
        "- 1 trial failed: triplet-002.",
        "- 1 trial diverged: mdr-002.2.",
        "",
        "| trial | outcome | epochs | seeds | val Recall@1 | test Recall@1 | parameters |",
        "| --- | --- | --- | --- | --- | --- | --- |",
        "| mdr-001 | completed | 2 | 2 | 62.00 | 57.50 | weight 0.1 |",
        "| mdr-002 | completed | 1 | 1 | 61.00 |  | weight 0.5 |",
        "| triplet-003 | running | 1 | 1 | 70.00 |  |  |",
    ]


@pytest.mark.parametrize(
    ("further_seeds", "head"),
    [
        (None, "### Running: 3 of 9 trials done"),
        (0, "### Running: 2 of 9 trials, 1 further seed done"),
        (4, "### Running: 2 of 9 trials, 1 of 4 further seeds done"),
    ],
)
def test_further_seeds_are_no_trials_unless_all_seeds_are_counted(further_seeds: int | None, head: str) -> None:
    written: list[str] = []
    records = [trial("mdr-001", [60.0]), trial("mdr-002", [50.0]), trial("mdr-002.2", [52.0])]
    live(written, records=records, further_seeds=further_seeds).stage("searching mdr")
    assert written[-1].splitlines()[0] == head


def test_it_is_written_after_the_first_end_and_then_not_too_often(monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[str] = []
    now = [1000.0]
    monkeypatch.setattr("mdr_tune.sweep.live_description.time", SimpleNamespace(monotonic=lambda: now[0]))
    description = live(written, every_s=30.0)
    first, second, third = (trial(f"mdr-00{number}", [50.0 + number]) for number in (1, 2, 3))
    description.epoch_finished(first)
    assert written == []
    description.trial_ended(first)
    description.trial_ended(second)
    description.epoch_finished(third)
    assert len(written) == 1
    now[0] += 31
    description.epoch_finished(third)  # says what was too early before
    assert ["1 of 9" in written[0], "2 of 9" in written[-1], len(written)] == [True, True, 2]
    now[0] += 31
    description.epoch_finished(third)  # nothing new
    assert len(written) == 2


def test_nothing_has_a_value_yet() -> None:
    written: list[str] = []
    live(written, metric="curves/test_recall_at_1", total=1).trial_ended(trial("mdr-001", [], "failed"))
    assert written[0].splitlines()[0] == "### Running: 1 of 1 trial done"
    assert written[0].splitlines()[3:5] == ["- No trial has a value yet.", "- 1 trial failed: mdr-001."]
    assert "|" not in written[0]


def test_with_the_authors_protocol_it_is_the_test_value_that_leads() -> None:
    written: list[str] = []
    record = trial("mdr-001", [50.0])
    record.history[0]["curves/test_recall_at_1"] = 44.0
    live(written, metric="curves/test_recall_at_1").trial_ended(record)
    assert "Best so far on test: mdr-001 (the file as it is): Recall@1 44.00 at epoch 1." in written[0]
    assert "| best test Recall@1 | test Recall@1 |" in written[0]


def test_it_never_raises(caplog: pytest.LogCaptureFixture) -> None:
    def refuse(text: str) -> None:
        raise RuntimeError("the store is gone")

    LiveDescription(refuse, METRIC, "mdr", 3).trial_ended(trial("mdr-001", [50.0]))
    assert "the store is gone" in caplog.text


def test_a_long_table_is_cut_and_says_so() -> None:
    written: list[str] = []
    records = [trial(f"mdr-{number:03d}", [50.0], weight=number / 7) for number in range(1, 200)]
    live(written, shows_all=True, records=records, total=200).trial_ended(trial("mdr-200", [50.0]))
    shown = sum(line.startswith("| mdr-") for line in written[0].splitlines())
    assert 20 < shown < 200
    assert f"{200 - shown} further rows: `mdr-tune leaderboard` shows all trials." in written[0]
    assert len(written[0]) < 5000  # what MLflow's stores take


def test_what_takes_a_while_and_how_it_was_cut_off_are_told_at_once() -> None:
    written: list[str] = []
    description = live(written, every_s=3600.0, records=[trial("mdr-001", [50.0])])
    description.trial_ended(trial("mdr-002", [40.0]))
    description.trial_ended(trial("mdr-003", [41.0]))  # too early
    description.stage("evaluating mdr-001 on the test classes")
    assert len(written) == 2
    assert "evaluating mdr-001 on the test classes" in written[-1]
    assert written[-1].startswith("### Running: 3 of 9 trials done")
    description.end("Failed", "the lanes are gone\nTraceback ...")
    assert written[-1].startswith("### Failed: 3 of 9 trials done")
    assert "the lanes are gone." in written[-1]
    assert "Traceback" not in written[-1]
    description.end("Interrupted", "")
    assert written[-1].startswith("### Interrupted: 3 of 9 trials done")
    assert "--resume goes on with it" in written[-1]
