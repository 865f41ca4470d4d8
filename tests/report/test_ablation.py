"""The table of an ablation: every number computed again by hand, with scipy, from what was recorded."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.multitest import multipletests

from mdr_tune.records.recorded_sweep import RecordedTrial, SweepEvidence
from mdr_tune.records.trial_record import Change
from mdr_tune.report.ablation import ablation_table
from mdr_tune.report.output import texts
from mdr_tune.report.rows import AblationTable, Row
from mdr_tune.util.errors import UserError
from tests.report.make_evidence import make_evidence

COLUMNS = [*(f"test/recall_at_{k}" for k in (1, 2, 4, 8)), "test/map_at_r", "test/r_precision", "val/best_recall_at_1"]
BASELINES = {"mdr-001": ["triplet-001", "triplet_l2-001"], "mdr-002": ["triplet-002", "triplet_l2-002"]}


def row_of(table: AblationTable, name: str) -> Row:
    return next(row for row in table.rows if row.name == name)


def by_seed(evidence: SweepEvidence, name: str, metric: str) -> dict[int, float]:
    """Return what was recorded of the seeds of a configuration that ran to their end."""
    trials = {t.record.name: t for t in evidence.sweep.trials if t.record.name.partition(".")[0] == name}
    ran = [t for t in trials.values() if t.record.outcome == "completed"]
    return {t.record.config["seed"]: t.metrics[metric] for t in ran}


def with_trials(evidence: SweepEvidence, trials: list[RecordedTrial]) -> SweepEvidence:
    return replace(evidence, sweep=replace(evidence.sweep, trials=trials))


def test_rows_and_columns() -> None:
    table = ablation_table(make_evidence())
    assert (table.sweep, table.data, table.is_grid) == ("ablation_demo", "glyphs", True)
    assert (table.metric, table.metrics) == ("test/recall_at_1", COLUMNS)
    assert [(row.name, row.method, row.setting) for row in table.rows] == [
        ("mdr-001", "triplet + MDR", "embedding size 32"),
        ("mdr-002", "triplet + MDR", "embedding size 64"),
        ("triplet-001", "triplet", "embedding size 32"),
        ("triplet-002", "triplet", "embedding size 64"),
        ("triplet_l2-001", "triplet_l2", "embedding size 32"),
        ("triplet_l2-002", "triplet_l2", "embedding size 64"),
    ]
    assert row_of(table, "triplet-002").values == {"embedding.size": 64}


def test_a_row_is_its_seeds_and_says_which_failed() -> None:
    evidence = make_evidence()
    row = row_of(ablation_table(evidence), "mdr-001")
    assert (row.seeds, row.failed_seeds) == ([0, 1], {2: "diverged"})
    assert {seed: record.name for seed, record in row.records.items()} == {0: "mdr-001", 1: "mdr-001.2"}
    assert [trial.record.name for trial in row.trials] == ["mdr-001", "mdr-001.2", "mdr-001.3"]


def test_each_mean_and_interval_is_scipys() -> None:
    evidence = make_evidence()
    for row in ablation_table(evidence).rows:
        assert list(row.estimates) == COLUMNS
        for metric, estimate in row.estimates.items():
            values = by_seed(evidence, row.name, metric)
            interval = stats.t.interval(
                0.95, len(values) - 1, loc=np.mean(list(values.values())), scale=stats.sem(list(values.values()))
            )
            assert estimate.mean == pytest.approx(np.mean(list(values.values())))
            assert (estimate.low, estimate.high) == pytest.approx(interval)
            assert (estimate.n, estimate.values, estimate.over) == (len(values), values, "seeds")


def test_each_difference_is_scipys_paired_test_corrected_over_the_table() -> None:
    evidence = make_evidence()
    table = ablation_table(evidence)
    found = [(row, difference) for row in table.rows for difference in row.differences]
    assert {row.name: [d.baseline for d in row.differences] for row in table.rows if row.differences} == BASELINES
    expected = []
    for row, difference in found:
        values = by_seed(evidence, row.name, "test/recall_at_1")
        baseline = by_seed(evidence, difference.baseline, "test/recall_at_1")
        common = [seed for seed in values if seed in baseline]
        test = stats.ttest_rel([values[s] for s in common], [baseline[s] for s in common])
        interval = test.confidence_interval(0.95)
        assert difference.p == pytest.approx(test.pvalue)
        assert (difference.estimate.low, difference.estimate.high) == pytest.approx((interval.low, interval.high))
        assert difference.estimate.mean == pytest.approx(np.mean([values[s] - baseline[s] for s in common]))
        assert difference.estimate.values == {s: values[s] - baseline[s] for s in common}
        assert difference.label == row_of(table, difference.baseline).method
        expected.append(test.pvalue)
    rejected, corrected, _, _ = multipletests(expected, alpha=0.05, method="holm")
    assert [difference.p_holm for _, difference in found] == pytest.approx(corrected.tolist())
    alone = [p <= 0.05 for p in expected]
    apart = ["not separated after correction" if one else "not separated" for one in alone]
    assert [d.verdict for _, d in found] == ["better" if s else a for s, a in zip(rejected, apart, strict=True)]
    assert {d.verdict for _, d in found} == {"better", "not separated", "not separated after correction"}


def test_what_is_worse_is_called_so() -> None:
    table = ablation_table(make_evidence(), baseline="mdr-002")
    row = row_of(table, "triplet_l2-002")
    assert [(d.baseline, d.label, d.verdict) for d in row.differences] == [("mdr-002", "triplet + MDR", "worse")]
    assert row.differences[0].estimate.mean < 0
    assert row_of(table, "mdr-002").differences == []
    assert all(len(other.differences) == 1 for other in table.rows if other.name != "mdr-002")


def test_an_unknown_baseline_is_told_with_the_known_rows() -> None:
    with pytest.raises(UserError, match=r"no row 'mdr-02' .*'mdr-002'.*mdr-001, mdr-002, triplet-001"):
        ablation_table(make_evidence(), baseline="mdr-02")


def test_single_runs_have_intervals_over_queries() -> None:
    evidence = make_evidence(seeds=1)
    table = ablation_table(evidence)
    row = row_of(table, "mdr-002")
    hits = 100.0 * evidence.details["mdr-002"].hits(1)
    interval = stats.bootstrap(
        (hits,), np.mean, n_resamples=2000, method="percentile", rng=np.random.default_rng(0)
    ).confidence_interval
    estimate = row.estimates["test/recall_at_1"]
    assert (estimate.low, estimate.high) == pytest.approx((interval.low, interval.high))
    recorded = next(t for t in evidence.sweep.trials if t.record.name == "mdr-002").metrics
    for metric in COLUMNS[:-1]:
        assert row.estimates[metric].mean == pytest.approx(recorded[metric])
        assert (row.estimates[metric].n, row.estimates[metric].over) == (400, "queries")
    assert row.estimates["val/best_recall_at_1"].low is None  # no queries of validation are recorded


def test_single_runs_are_compared_query_by_query_and_nothing_is_claimed() -> None:
    evidence = make_evidence(seeds=1)
    (difference, _) = row_of(ablation_table(evidence), "mdr-002").differences
    values = 100.0 * evidence.details["mdr-002"].hits(1) - 100.0 * evidence.details["triplet-002"].hits(1)
    interval = stats.bootstrap(
        (values,), np.mean, n_resamples=2000, method="percentile", rng=np.random.default_rng(0)
    ).confidence_interval
    assert (difference.estimate.low, difference.estimate.high) == pytest.approx((interval.low, interval.high))
    assert difference.estimate.mean == pytest.approx(values.mean())
    assert (difference.estimate.n, difference.estimate.over) == (400, "queries")
    assert (difference.p, difference.p_holm, difference.verdict) == (None, None, "better in one seed")


def test_runs_on_different_queries_are_not_paired() -> None:
    evidence = make_evidence(seeds=1)
    other = evidence.details["triplet-002"]
    details = {**evidence.details, "triplet-002": replace(other, labels=other.labels[::-1].copy())}
    (difference, _) = row_of(ablation_table(replace(evidence, details=details)), "mdr-002").differences
    assert (difference.estimate.low, difference.estimate.n, difference.estimate.over) == (None, 1, "seeds")
    assert difference.estimate.mean == pytest.approx(7.75)


def test_one_table_has_one_kind_of_interval() -> None:
    evidence = make_evidence()
    alone = [t for t in evidence.sweep.trials if t.record.name not in ("mdr-001.2", "mdr-001.3")]
    row = row_of(ablation_table(with_trials(evidence, alone)), "mdr-001")
    assert [(e.n, e.low, e.over) for e in row.estimates.values()] == [(1, None, "seeds")] * len(COLUMNS)


def test_differences_without_spread_are_not_known() -> None:
    table = ablation_table(make_evidence(seeds=2, failed=False))
    (difference, _) = row_of(table, "mdr-002").differences
    assert difference.estimate.values == {0: 7.75, 1: 7.75}
    assert (difference.p, difference.estimate.low, difference.verdict) == (None, None, "not known")


def test_a_search_shows_the_best_of_each_arm_by_its_mean_on_validation() -> None:
    evidence = make_evidence()
    evidence = replace(evidence, facts=replace(evidence.facts, sampler="tpe"))
    table = ablation_table(evidence)
    assert [row.name for row in table.rows] == ["mdr-002", "triplet-002", "triplet_l2-002"]
    assert [d.baseline for d in table.rows[0].differences] == ["triplet-002", "triplet_l2-002"]
    assert not table.is_grid


def test_arms_that_were_tuned_apart_are_compared_though_they_differ() -> None:
    evidence = make_evidence()
    evidence = replace(evidence, facts=replace(evidence.facts, sampler="tpe"))
    kept = [t for t in evidence.sweep.trials if not t.record.name.startswith("triplet-002")]
    table = ablation_table(with_trials(evidence, kept))
    assert [d.baseline for d in row_of(table, "mdr-002").differences] == ["triplet-001", "triplet_l2-002"]


def test_without_test_values_the_table_is_of_validation() -> None:
    evidence = make_evidence()
    trials = [
        replace(t, metrics={k: v for k, v in t.metrics.items() if not k.startswith("test/")})
        for t in evidence.sweep.trials
    ]
    table = ablation_table(with_trials(evidence, trials))
    assert (table.metric, table.metrics) == ("val/best_recall_at_1", ["val/best_recall_at_1"])
    values = by_seed(evidence, "mdr-002", "val/best_recall_at_1")
    assert row_of(table, "mdr-002").estimates[table.metric].values == values
    assert any("of the same classes" in note for note in table.notes)


def test_the_papers_protocol_has_no_column_of_validation() -> None:
    evidence = make_evidence()
    sweep = replace(evidence.sweep, metric="curves/test_recall_at_1")
    paper = replace(evidence, sweep=sweep, facts=replace(evidence.facts, protocol="paper"))
    table = ablation_table(paper)
    assert (table.metric, table.metrics) == ("test/recall_at_1", COLUMNS[:-1])
    assert "chosen on the test classes" in table.notes[0]


def test_a_sweep_in_which_nothing_ran_has_rows_without_values() -> None:
    evidence = make_evidence()
    trials = [replace(t, record=replace(t.record, outcome="failed"), metrics={}) for t in evidence.sweep.trials]
    table = ablation_table(with_trials(evidence, trials))
    assert all(not row.seeds and not row.estimates and not row.differences for row in table.rows)
    assert ablation_table(with_trials(evidence, [])).rows == []


def test_the_rows_of_a_search_say_all_that_was_drawn_for_them_at_their_best_epoch() -> None:
    evidence = make_evidence(seeds=1)
    trials = [t for t in evidence.sweep.trials if t.record.name in ("mdr-002", "triplet-001")]
    drawn = [{"mdr.levels.count": 3, "mdr.levels.spread": 2.5, "mdr.weight": 0.1}, {"loss.margin": 0.2}]
    trials = [
        replace(t, record=replace(t.record, parameters=parameters)) for t, parameters in zip(trials, drawn, strict=True)
    ]
    best = trials[0].record.best(evidence.sweep.metric)
    assert best is not None
    for epoch, weight in ((best[1] - 1, 0.3), (best[1], 0.4)):  # changed before its best epoch, and after
        trials[0].record.changes.append(Change(epoch, "mdr-001", {"mdr.weight": weight}))
    found = replace(evidence, sweep=replace(evidence.sweep, trials=trials))
    search = ablation_table(replace(found, facts=replace(found.facts, sampler="tpe")))
    assert [row.setting for row in search.rows] == ["levels 3 over ±2.50, weight 0.3", "margin 0.2"]
    assert [row.setting for row in ablation_table(found).rows] == ["", ""]
    assert search.protocol == "validation"
    paper = ablation_table(replace(found, facts=replace(found.facts, protocol="paper")))
    assert paper.protocol == "paper"


@pytest.mark.parametrize(
    ("name", "hint"),
    [("mdr-9", None), ("mdr-009", None), ("mdr", None), ("mdr-1", "mdr-001"), ("mdr-002.3", "mdr-002")],
)
def test_a_row_is_suggested_where_the_number_is_the_same(name: str, hint: str | None) -> None:
    with pytest.raises(UserError) as raised:
        ablation_table(make_evidence(), baseline=name)
    assert (f"Did you mean {hint!r}?" in str(raised.value)) == (hint is not None)
    assert ("Did you mean" in str(raised.value)) == (hint is not None)


def test_metrics_on_request_are_columns_with_intervals_where_queries_have_values() -> None:
    evidence = make_evidence(seeds=1)
    chosen = {"test/map_at_5": 40.0, "test/mrr": 60.0, "test/nmi": 50.0}
    chosen |= {"test/tar_at_far_1e-1": 50.0, "test/tar_at_far_1e-3": 30.0, "test/eer": 8.0}
    hidden = {"test/threshold_at_far_1e-3": 0.7, "test/of_another_version": 1.0}
    trials = [replace(t, metrics={**t.metrics, **chosen, **hidden}) for t in evidence.sweep.trials]
    details = {
        name: replace(d, further={"map_at_5": d.average_precision, "mrr": d.r_precision})
        for name, d in evidence.details.items()
    }
    sweep = replace(evidence.sweep, trials=trials, metric="val/tar_at_far_1e-3")
    table = ablation_table(replace(evidence, sweep=sweep, details=details))
    assert table.metrics == [*COLUMNS[:-1], *chosen, "val/best_tar_at_far_1e-3"]
    assert "MAP@K: " in texts.glossary([], table.metrics)
    assert "MAP@K: " not in texts.glossary([], COLUMNS)
    row = table.rows[0]
    assert (row.estimates["test/mrr"].over, row.estimates["test/eer"].over) == ("queries", "seeds")
    assert row.estimates["test/mrr"].low is not None
    assert row.estimates["test/tar_at_far_1e-3"].low is None


def test_the_best_equal_error_rate_is_the_lowest() -> None:
    evidence = make_evidence(seeds=1)
    worst_first = enumerate(evidence.sweep.trials)
    rates = {"test/eer": -1.0, "test/mrr": 1.0, "test/far_at_val_threshold_1e-3": 1.0}
    trials = [
        replace(t, metrics={**t.metrics, **{key: 50 + sign * i for key, sign in rates.items()}}) for i, t in worst_first
    ]
    table = ablation_table(replace(evidence, sweep=replace(evidence.sweep, trials=trials), details={}))
    best = texts.highest(table)
    assert best["test/eer"] == best["test/mrr"]
    assert "test/far_at_val_threshold_1e-3" not in best
