"""The table of an ablation with folds: computed again with scipy, from what was recorded."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.multitest import multipletests

from mdr_tune.records.recorded_sweep import SweepEvidence
from mdr_tune.report.ablation import ablation_table
from mdr_tune.report.output import texts
from mdr_tune.report.output.data_files import trial_rows
from mdr_tune.report.output.what_was_run import how_the_numbers_were_made, what_was_run
from mdr_tune.report.sentences import summary_sentences
from tests.report.make_evidence import make_evidence

FOLDS, SEEDS = 3, 2
METRIC = "test/recall_at_1"


@pytest.fixture(scope="module")
def evidence() -> SweepEvidence:
    """Return 6 configurations, each with 3 folds x 2 seeds: trial k has the seed k // 3 and the fold k % 3."""
    found = make_evidence(seeds=FOLDS * SEEDS, failed=False)
    for trial in found.sweep.trials:
        record = trial.record
        seed, fold = divmod(record.seed_index, FOLDS)
        data = {**record.config["data"], "validation": {"folds": FOLDS, "fold": fold, "seed": 0}}
        record.config = {**record.config, "seed": seed, "data": data}
    return replace(found, facts=replace(found.facts, seeds=list(range(SEEDS)), folds=FOLDS))


def recorded(evidence: SweepEvidence, name: str) -> np.ndarray:
    """Return the values of a configuration, (seeds, folds)."""
    trials = {t.record.name: t.metrics[METRIC] for t in evidence.sweep.trials}
    names = [name if k == 0 else f"{name}.{k + 1}" for k in range(FOLDS * SEEDS)]
    return np.array([trials[one] for one in names]).reshape(SEEDS, FOLDS)


def test_values_and_differences_are_those_of_the_corrected_test(evidence: SweepEvidence) -> None:
    table = ablation_table(evidence)
    scale = np.sqrt(1 / FOLDS + 1 / (FOLDS - 1))
    p_values = []
    for row in table.rows:
        means = recorded(evidence, row.name).mean(axis=0)
        estimate = row.estimates[METRIC]
        ends = stats.t.interval(0.95, FOLDS - 1, means.mean(), scale * means.std(ddof=1))
        assert [estimate.mean, estimate.low, estimate.high] == pytest.approx([means.mean(), *ends])
        assert (estimate.over, estimate.n, len(estimate.values)) == ("folds", FOLDS, FOLDS * SEEDS)
        assert texts.seeds(row, METRIC) == "6"
        for difference in row.differences:
            gaps = (recorded(evidence, row.name) - recorded(evidence, difference.baseline)).mean(axis=0)
            error = scale * gaps.std(ddof=1)
            ends = stats.t.interval(0.95, FOLDS - 1, gaps.mean(), error)
            found = difference.estimate
            assert [found.mean, found.low, found.high] == pytest.approx([gaps.mean(), *ends])
            assert difference.p == pytest.approx(2 * stats.t.sf(abs(gaps.mean()) / error, FOLDS - 1))
            assert texts.pairs(difference) == "3 folds, 6 trials"
            p_values.append(difference.p)
    holm = [difference.p_holm for row in table.rows for difference in row.differences]
    assert holm == pytest.approx(multipletests(p_values, method="holm")[1])


def test_texts_say_what_was_done(evidence: SweepEvidence) -> None:
    table = ablation_table(evidence)
    assert "Means over 3 folds of the classes and the seeds in each, of 6 trials." in texts.caption(table)
    assert "paired by fold and seed" in texts.differences_caption(table)
    assert "n = 3 folds, 6 trials" in " ".join(summary_sentences(evidence, table))
    notes = " ".join(table.notes)
    assert "n = 3 folds: only differences larger than" in notes
    assert "over folds (of means over the seeds, with Nadeau and Bengio's corrected variance)" in notes
    assert any("not other test classes" in sentence for sentence in how_the_numbers_were_made(evidence, table))
    assert ("Folds", "3, each configuration in all of them") in what_was_run(evidence)
    assert [row["fold"] for row in trial_rows(evidence, table)][:4] == [0, 1, 2, 0]


def test_a_missing_fold_is_named(evidence: SweepEvidence) -> None:
    trials = [t for t in evidence.sweep.trials if t.record.name != "mdr-001.5"]
    table = ablation_table(replace(evidence, sweep=replace(evidence.sweep, trials=trials)))
    assert any("fold 1, seed 1 was not begun" in note for note in table.notes)
    row = next(row for row in table.rows if row.name == "mdr-001")
    assert (row.estimates[METRIC].n, len(row.estimates[METRIC].values)) == (3, 5)
