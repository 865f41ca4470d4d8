"""Trials put together to rows."""

from dataclasses import replace

from mdr_tune.records.recorded_sweep import RecordedTrial, SweepEvidence
from mdr_tune.records.trial_record import mean_over_seeds
from mdr_tune.report.rows import best_of, best_rows, grid_rows, rows_of
from tests.report.make_evidence import make_evidence


def with_trials(evidence: SweepEvidence, trials: list[RecordedTrial]) -> SweepEvidence:
    return replace(evidence, sweep=replace(evidence.sweep, trials=trials))


def names(rows: list[RecordedTrial]) -> list[str]:
    return [trial.record.name for trial in rows]


def test_rows_of_a_grid_are_in_its_order_whenever_their_trials_began() -> None:
    evidence = make_evidence()
    late_first = [*evidence.sweep.trials[:1], *evidence.sweep.trials[:0:-1]]
    rows = grid_rows(with_trials(evidence, late_first))
    assert [row.name for row in rows[:2]] == ["mdr-001", "mdr-002"]
    assert names(rows[0].trials) == ["mdr-001", "mdr-001.2", "mdr-001.3"]
    assert names(rows[0].ran) == ["mdr-001", "mdr-001.2"]
    assert {row.name for row in rows} == {row.name for row in grid_rows(evidence)}


def test_a_seed_in_the_space_makes_one_row_of_its_configurations() -> None:
    evidence = make_evidence(failed=False)
    trials = []
    for trial in evidence.sweep.trials[:6]:
        record = trial.record
        number = 3 * record.number + record.seed_index
        parameters = {**record.parameters, "seed": record.seed}
        name = f"mdr-{number + 1:03d}"
        record = replace(record, name=name, number=number, seed_index=0, parameters=parameters)
        trials.append(replace(trial, record=record))
    first, second = grid_rows(with_trials(evidence, trials))
    assert (first.name, names(first.trials)) == ("mdr-001", ["mdr-001", "mdr-002", "mdr-003"])
    assert sorted(second.values_of("test/recall_at_1")) == [0, 1, 2]


def test_the_best_of_each_arm_is_the_best_in_the_mean_over_its_seeds() -> None:
    evidence = make_evidence()
    lucky = evidence.sweep.trials[0]
    history = [{**epoch, "val/recall_at_1": 84.0} for epoch in lucky.record.history]
    trials = [replace(lucky, record=replace(lucky.record, history=history)), *evidence.sweep.trials[1:]]
    assert [row.name for row in best_rows(with_trials(evidence, trials))] == [
        "mdr-002",
        "triplet-002",
        "triplet_l2-002",
    ]


def test_a_configuration_that_did_not_get_all_seeds_is_not_the_best() -> None:
    evidence = make_evidence(failed=False)
    trials = list(evidence.sweep.trials)
    trials[3] = replace(trials[3], record=replace(trials[3].record, outcome="stopped_early"))
    kept = [trial for trial in trials if trial.record.name not in ("mdr-002.2", "mdr-002.3")]
    assert best_rows(with_trials(evidence, kept))[0].name == "mdr-001"


def test_a_finalist_is_the_best_though_one_seed_of_another_was_better() -> None:
    evidence = make_evidence(failed=False)
    kept = [trial for trial in evidence.sweep.trials if trial.record.name not in ("mdr-002.2", "mdr-002.3")]
    without = with_trials(evidence, kept)
    assert best_rows(without)[0].name == "mdr-002"
    assert best_rows(replace(without, sweep=replace(without.sweep, finalists=1)))[0].name == "mdr-001"


def test_of_single_runs_the_best_counts_though_it_was_stopped_early() -> None:
    evidence = make_evidence(seeds=1)
    trials = [replace(t, record=replace(t.record, outcome="stopped_early")) for t in evidence.sweep.trials]
    rows = best_rows(with_trials(evidence, trials))
    assert [row.name for row in rows] == ["mdr-002", "triplet-002", "triplet_l2-002"]
    assert names(rows[0].ran) == ["mdr-002"]
    assert all(not row.ran for row in grid_rows(with_trials(evidence, trials)))  # a grid has one budget


def test_arms_without_a_value_have_no_row_in_a_search() -> None:
    evidence = make_evidence()
    failed = [replace(trial.record, history=[], outcome="failed") for trial in evidence.sweep.trials]
    trials = [RecordedTrial(record, "", {}) for record in failed]
    assert best_rows(with_trials(evidence, trials)) == []


def test_the_best_epoch_and_the_mean_are_the_same_without_the_histories() -> None:
    sweep = make_evidence().sweep
    without = [replace(trial, record=replace(trial.record, history=[])) for trial in sweep.trials]
    found, expected = rows_of(without, sweep.metric)[1], rows_of(sweep.trials, sweep.metric)[1]
    assert [best_of(trial, sweep.metric) for trial in found.trials] == [
        trial.record.best(sweep.metric) for trial in expected.trials
    ]
    assert found.value == found.mean == mean_over_seeds((t.record for t in expected.trials), sweep.metric)
