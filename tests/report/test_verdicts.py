"""A verdict agrees with the interval and the p-value beside it, in every format."""

from dataclasses import replace
from typing import get_args

import pytest

from mdr_tune.cli.ablation_table import _STYLES
from mdr_tune.report.ablation import ablation_table
from mdr_tune.report.plots.differences import VERDICTS
from mdr_tune.report.sentences import summary_sentences
from mdr_tune.report.verdicts import WORDINGS, Verdict, verdict_of
from mdr_tune.statistics import Interval
from tests.report.make_evidence import make_evidence


@pytest.mark.parametrize(
    ("low", "high", "p_holm", "verdict"),
    [
        (0.2, 1.8, 0.05, "better"),
        (-1.8, -0.2, 0.04, "worse"),
        (-0.2, 1.8, 0.2, "not separated"),
        (0.2, 1.8, 0.06, "not separated after correction"),
        (-1.8, -0.2, 0.06, "not separated after correction"),
        (0.2, 1.8, None, "better in one seed"),
        (-7.35, -4.42, None, "worse in one seed"),
        (-0.2, 1.8, None, "not separated in one seed"),
        (0.0, 1.8, None, "not separated in one seed"),  # 0 is in the interval
        (None, None, None, "not known"),
    ],
)
def test_every_combination_has_its_verdict(
    low: float | None, high: float | None, p_holm: float | None, verdict: Verdict
) -> None:
    mean = 1.0 if low is None or high is None else (low + high) / 2
    assert verdict_of(Interval(mean, low, high, 3), p_holm) == verdict


def test_every_verdict_has_its_words_symbol_and_looks() -> None:
    assert set(WORDINGS) == set(VERDICTS) == set(get_args(Verdict))
    assert len({wording.said for wording in WORDINGS.values()}) == len(WORDINGS)
    assert {wording.tone for wording in WORDINGS.values()} == set(_STYLES)


def test_all_differences_without_an_interval_are_said_so() -> None:
    evidence = replace(make_evidence(seeds=1), details={})
    assert summary_sentences(evidence, ablation_table(evidence))[2] == (
        "MDR over triplet: in 2 of 2 rows it is not known whether another seed would give the same."
    )
