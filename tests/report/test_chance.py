"""Rows near chance: the level beside one that is counted, and the note."""

from dataclasses import replace

import numpy as np
import pytest

from mdr_tune.report.ablation import ablation_table
from mdr_tune.report.ablation_table import Estimate, TableRow
from mdr_tune.report.chance import METRIC, chance_recall, near_chance
from tests.report.make_evidence import make_evidence


def test_the_level_is_the_share_of_ordered_pairs_that_are_of_one_class() -> None:
    labels = np.array([5, 5, 5, 2, 2, 9])
    same = [a == b for i, a in enumerate(labels) for j, b in enumerate(labels) if i != j]
    assert chance_recall(labels) == pytest.approx(100.0 * np.mean(same))
    assert chance_recall(np.array([3])) == 0.0


def rows(*means: float) -> list[TableRow]:
    return [
        TableRow(
            f"mdr-00{i}",
            "triplet + MDR",
            f"weight {i}",
            {},
            [0],
            {},
            {METRIC: Estimate(mean, None, None, 1)},
            trials={0: f"t{i}"},
        )
        for i, mean in enumerate(means)
    ]


def test_rows_below_three_times_chance_are_named_three_at_most() -> None:
    details = make_evidence(seeds=1).details["mdr-001"]  # 20 classes of 20 images: 19 of 399, 4.76 percent
    found = {f"t{i}": details for i in range(6)}
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
