"""The notes below a table."""

from dataclasses import replace
from statistics import median

import numpy as np
import pytest
from scipy import stats

from mdr_tune.records.recorded_sweep import SweepEvidence
from mdr_tune.report.ablation import ablation_table
from mdr_tune.report.ablation_notes import CHANCE_METRIC as METRIC
from mdr_tune.report.ablation_notes import chance_recall, near_chance
from mdr_tune.report.rows import Estimate, Row
from mdr_tune.statistics import bootstrap_difference
from tests.report.make_evidence import make_evidence
from tests.report.plots.plain_table import made_row


def note_with(evidence: SweepEvidence, words: str) -> str:
    (found,) = [note for note in ablation_table(evidence).notes if words in note]
    return found


def test_a_row_that_lost_a_seed_is_named() -> None:
    note = note_with(make_evidence(), "diverged")
    assert note == "mdr-001 (triplet + MDR, embedding size 32): seed 2 diverged; it is in no mean."


def test_seeds_that_have_not_ended_or_begun_are_named() -> None:
    evidence = make_evidence()
    trials = [t for t in evidence.sweep.trials if t.record.name != "mdr-001.3"]
    trials[1] = replace(trials[1], record=replace(trials[1].record, outcome="running"))
    evidence = replace(evidence, sweep=replace(evidence.sweep, trials=trials))
    note = note_with(evidence, "running")
    assert note.endswith("seed 1 is still running, seed 2 was not begun; they are in no mean.")


def test_a_missing_test_value_is_told() -> None:
    evidence = make_evidence()
    trials = list(evidence.sweep.trials)
    metrics = {key: value for key, value in trials[3].metrics.items() if not key.startswith("test/")}
    trials[3] = replace(trials[3], metrics=metrics)
    evidence = replace(evidence, sweep=replace(evidence.sweep, trials=trials))
    assert note_with(evidence, "has no").startswith("mdr-002 (triplet + MDR, embedding size 64): seed 0 has no test")


def test_the_smallest_difference_that_few_seeds_tell() -> None:
    evidence = make_evidence()
    differences = [d for row in ablation_table(evidence).rows for d in row.differences]
    deviation = median(stats.tstd(list(d.estimate.values.values())) for d in differences)
    points = stats.t.ppf(0.975, 2) * deviation / np.sqrt(3)
    assert note_with(evidence, "larger than").startswith(
        f"n = 3 seeds: only differences larger than about {points:.2f} points"
    )


def test_the_size_of_the_family_is_told() -> None:
    assert "for the 4 tests" in note_with(make_evidence(), "Holm")
    assert not any("Holm" in note or "points" in note for note in ablation_table(make_evidence(seeds=1)).notes)


def test_single_runs_say_what_their_intervals_leave_out_and_how_much_wider_classes_are() -> None:
    evidence = make_evidence(seeds=1)
    assert "is not known" in note_with(evidence, "One training seed each")
    ratios = []
    for row in ablation_table(evidence).rows:
        for difference in row.differences:
            sides = [evidence.details[name] for name in (row.name, difference.baseline)]
            hits = [100.0 * side.hits(1) for side in sides]
            widths = [
                found.high - found.low
                for by in (None, sides[0].labels)
                if (found := bootstrap_difference(hits[0], hits[1], by)).low is not None and found.high is not None
            ]
            ratios.append(widths[1] / widths[0])
    assert f"{median(ratios):.1f} times as wide" in note_with(evidence, "whole classes")


def test_single_runs_without_queries_have_no_intervals_and_say_so() -> None:
    evidence = replace(make_evidence(seeds=1), details={})
    assert "there are no intervals" in note_with(evidence, "One training seed each")


def test_rows_without_a_common_seed_are_told() -> None:
    evidence = make_evidence(seeds=2, failed=False)
    kept = [t for t in evidence.sweep.trials if t.record.name not in ("mdr-001", "triplet-001.2")]
    evidence = replace(evidence, sweep=replace(evidence.sweep, trials=kept))
    note = note_with(evidence, "no seed in common")
    assert note.startswith("mdr-001 and triplet-001 have")
    assert ablation_table(evidence).rows[0].differences[0].baseline == "triplet_l2-001"


@pytest.mark.parametrize(("sampler", "start"), [("grid", "The best epoch of each trial was"), ("tpe", "The best conf")])
def test_the_choice_is_told(sampler: str, start: str) -> None:
    evidence = make_evidence()
    table = ablation_table(replace(evidence, facts=replace(evidence.facts, sampler=sampler)))
    assert table.notes[0].startswith(start)
    assert "chosen on validation classes; the test classes had no say." in table.notes[0]


def test_where_no_seed_ran_the_notes_say_how_they_ended_and_nothing_else() -> None:
    evidence = make_evidence(seeds=1)
    failed = [replace(t, record=replace(t.record, outcome="failed"), metrics={}) for t in evidence.sweep.trials]
    evidence = replace(evidence, sweep=replace(evidence.sweep, trials=failed), details={})
    notes = ablation_table(evidence).notes
    assert notes[0] == "mdr-001 (triplet + MDR, embedding size 32): seed 0 failed; it is in no mean."
    assert len(notes) == 6
    assert all(note.endswith("seed 0 failed; it is in no mean.") for note in notes)


def test_a_baseline_that_was_named_is_called_that() -> None:
    evidence = make_evidence()
    words = "if it was named for its values, p is too small."
    assert not any(words in note for note in ablation_table(evidence).notes)
    (note,) = [note for note in ablation_table(evidence, "triplet-002").notes if words in note]
    assert note.startswith("Every row is compared with triplet-002, which was named for this report:")


def test_the_level_is_the_share_of_ordered_pairs_that_are_of_one_class() -> None:
    labels = np.array([5, 5, 5, 2, 2, 9])
    same = [a == b for i, a in enumerate(labels) for j, b in enumerate(labels) if i != j]
    assert chance_recall(labels) == pytest.approx(100.0 * np.mean(same))
    assert chance_recall(np.array([3])) == 0.0


def rows(*means: float) -> list[Row]:
    return [
        replace(
            made_row(f"mdr-00{i}", "triplet + MDR", f"weight {i}", 0.0),
            estimates={METRIC: Estimate(mean, None, None, 1)},
        )
        for i, mean in enumerate(means)
    ]


def test_rows_below_three_times_chance_are_named_three_at_most() -> None:
    details = make_evidence(seeds=1).details["mdr-001"]  # 20 classes of 20 images: 19 of 399, 4.76 percent
    found = {f"mdr-00{i}": details for i in range(6)}
    limit = 3 * 100 * 19 / 399
    assert near_chance(rows(limit + 0.001, 60.0), found) == []
    assert near_chance(rows(limit - 0.001, 60.0), found) == [
        "Near chance: the mean test Recall@1 of mdr-000 (triplet + MDR, weight 0) is below 3 times what a random order "
        "gives (4.76 percent), so that a difference to such a row says little."
    ]
    (note,) = near_chance(rows(1.0, 2.0, 60.0, 3.0, 4.0, 5.0), found)
    named = [f"mdr-00{i} (triplet + MDR, weight {i})" for i in (0, 1, 3)]
    assert f"{'; '.join(named)} and 2 more is below" in note
    assert near_chance(rows(1.0), {}) == []


def test_it_is_a_note_of_the_table_with_several_seeds_too() -> None:
    evidence = make_evidence()
    assert not any(note.startswith("Near chance") for note in ablation_table(evidence).notes)
    low = [
        replace(t, metrics=t.metrics | {METRIC: 6.0}) if t.record.config_name == "triplet-001" else t
        for t in evidence.sweep.trials
    ]
    table = ablation_table(replace(evidence, sweep=replace(evidence.sweep, trials=low)))
    assert [note for note in table.notes if note.startswith("Near chance: the mean test Recall@1 of triplet-001 (")]
