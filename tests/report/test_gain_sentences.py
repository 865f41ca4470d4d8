"""What MDR gained, in the sentences of a report."""

from dataclasses import replace

from mdr_tune.records.recorded_sweep import SweepEvidence
from mdr_tune.report.ablation import ablation_table
from mdr_tune.report.sentences import summary_sentences
from tests.report.make_evidence import make_evidence


def said(evidence: SweepEvidence, baseline: str | None = None) -> list[str]:
    return summary_sentences(evidence, ablation_table(evidence, baseline))


def only(evidence: SweepEvidence, *names: str) -> SweepEvidence:
    kept = [t for t in evidence.sweep.trials if t.record.name.partition(".")[0] in names]
    return replace(evidence, sweep=replace(evidence.sweep, trials=kept))


def test_the_best_row_the_range_of_gains_and_what_seeds_tell() -> None:
    assert said(make_evidence()) == [
        "Best on validation: triplet + MDR, embedding size 64, with test Recall@1 79.92 "
        "(95 % interval 75.26 to 84.58, n = 3 seeds).",
        "MDR over triplet: +0.75 to +7.83 points of test Recall@1 in 2 rows; the lowest with embedding size 32: +0.75 "
        "(95 % interval \N{MINUS SIGN}2.43 to +3.93, corrected p = 0.20, n = 2 seeds); the highest with embedding size "
        "64: +7.83 (95 % interval +7.47 to +8.19, corrected p < 0.001, n = 3 seeds).",
        "MDR over triplet: better in 1 of 2 rows, in 1 the seeds do not separate the two.",
        "MDR over triplet_l2: +6.25 to +10.17 points of test Recall@1 in 2 rows; the lowest with embedding size 32: "
        "+6.25 (95 % interval +3.07 to +9.43, corrected p = 0.051, n = 2 seeds); the highest with "
        "embedding size 64: +10.17 (95 % interval +8.87 to +11.46, corrected p = 0.003, n = 3 seeds).",
        "MDR over triplet_l2: better in 1 of 2 rows, in 1 the seeds do not separate the two, once p is corrected for "
        "the number of tests.",
        "One of 400 test queries is 0.25 points of test Recall@1.",
    ]


def test_a_single_difference_is_one_sentence_and_its_p_is_not_corrected() -> None:
    assert said(only(make_evidence(), "mdr-001", "triplet-001"))[1:] == [
        "MDR over triplet: +0.75 points of test Recall@1 (95 % interval \N{MINUS SIGN}2.43 to +3.93, p = 0.20, "
        "n = 2 seeds): the seeds do not separate the two.",
        "One of 400 test queries is 0.25 points of test Recall@1.",
    ]


def test_differences_that_are_all_the_same_are_no_range() -> None:
    evidence = make_evidence()
    table = ablation_table(evidence)
    mdr = [row for row in table.rows if row.name.startswith("mdr")]
    nothing = replace(mdr[1].differences[0].estimate, mean=0.001)
    same = [replace(d, estimate=nothing) for row in mdr for d in row.differences if d.label == "triplet"]
    rows = [replace(row, differences=[d]) for row, d in zip(mdr, same, strict=True)]
    said = summary_sentences(evidence, replace(table, rows=[*rows, *table.rows[2:]]))
    assert said[1] == "MDR over triplet: +0.00 points of test Recall@1 in each of 2 rows."


def test_worse_rows_are_said_plainly() -> None:
    sentences = said(make_evidence(), baseline="triplet-002")
    assert sentences[1].startswith("Other rows beside triplet-002 (triplet, embedding size 64): \N{MINUS SIGN}10.00 to")
    assert "worse in 4 (triplet + MDR, embedding size 32; triplet, embedding size 32;" in sentences[2]
    assert sentences[2].endswith("and 1 more).")


def test_rows_that_differ_in_more_are_not_called_mdrs_gain() -> None:
    sentences = said(only(make_evidence(), "mdr-001", "mdr-002", "triplet-002"), baseline="triplet-002")
    assert sentences[1].startswith("Other rows beside triplet-002")
    assert said(only(make_evidence(), "mdr-002", "triplet-002"), "triplet-002")[1].startswith("MDR over triplet:")


def test_single_runs_prove_nothing() -> None:
    sentences = said(make_evidence(seeds=1))
    assert "over 400 queries, one seed" in sentences[1]
    assert sentences[2] == (
        "MDR over triplet: in 1 of 2 rows better in one seed, which another may not repeat, in 1 the queries of one "
        "seed do not separate the two."
    )


def test_without_a_baseline_nothing_is_claimed() -> None:
    assert said(only(make_evidence(), "mdr-001", "mdr-002"))[1:] == [
        "No row is without MDR: what MDR gains is not known."
    ]
    assert said(only(make_evidence(), "triplet-001"))[1:] == ["No row has MDR: nothing is said of it."]
    assert "has a baseline that is equal" in said(only(make_evidence(), "mdr-001", "triplet-002"))[1]


def test_a_sweep_without_results() -> None:
    assert said(only(make_evidence())) == ["No trial ran to its end: there is nothing to compare."]


def test_chosen_on_test_the_best_is_not_called_so_on_validation() -> None:
    evidence = make_evidence()
    sweep = replace(evidence.sweep, metric="curves/test_recall_at_1")
    paper = replace(evidence, sweep=sweep, facts=replace(evidence.facts, protocol="paper"))
    assert said(paper)[0].startswith("Best by test Recall@1: triplet + MDR, embedding size 64")
