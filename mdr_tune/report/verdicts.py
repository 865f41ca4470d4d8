"""Verdicts on the difference between a row and its baseline: when each is given, its sentence, symbol and tone.

A verdict agrees with the interval beside it: it says that the interval leaves out 0, or why that is not enough.
"""

from typing import Literal, NamedTuple

from mdr_tune.statistics import Interval

SIGNIFICANT = 0.05
Verdict = Literal[
    "better",
    "worse",
    "not separated",
    "not separated after correction",
    "better in one seed",
    "worse in one seed",
    "not separated in one seed",
    "not known",
]


class Wording(NamedTuple):
    """How a verdict is said in a sentence, and shown in tables and figures.

    `mark` is a symbol, so that readers can recognise the verdict without its colour. `tone` is `better` or `worse` if
    seeds show it, `open` if they do not, and `quiet` if several seeds were not compared.
    """

    said: str
    mark: str
    tone: Literal["better", "worse", "open", "quiet"]


WORDINGS: dict[Verdict, Wording] = {
    "better": Wording("better", "▲", "better"),
    "worse": Wording("worse", "▼", "worse"),
    "not separated": Wording("the seeds do not separate the two", "≈", "open"),
    "not separated after correction": Wording(
        "the seeds do not separate the two, once p is corrected for the number of tests", "≈", "open"
    ),
    "better in one seed": Wording("better in one seed, which another may not repeat", "△", "quiet"),
    "worse in one seed": Wording("worse in one seed, which another may not repeat", "▽", "quiet"),
    "not separated in one seed": Wording("the queries of one seed do not separate the two", "≈", "quiet"),
    "not known": Wording("it is not known whether another seed would give the same", "?", "quiet"),
}
"""Wording of each verdict, in the order in which verdicts are counted and drawn."""


def verdict_of(difference: Interval, p_holm: float | None) -> Verdict:
    """Return the verdict on `difference`, a row's mean less its baseline's, in points.

    - `better`, `worse`: the p-value after Holm's correction, `p_holm`, is at most 0.05.
    - `not separated`: it is higher, and the interval contains 0. With `after correction`, the interval leaves out 0.
    - `better in one seed` and so on: there is no p-value, as the interval is over the queries of one seed. It leaves
      out 0, or contains it.
    - `not known`: there is no interval. The rows have one seed in common, or their difference is equal in all seeds.
    """
    if difference.low is None or difference.high is None:
        return "not known"
    leaves_out_0 = difference.low > 0 or difference.high < 0
    if p_holm is None:
        if not leaves_out_0:
            return "not separated in one seed"
        return "better in one seed" if difference.mean > 0 else "worse in one seed"
    if p_holm > SIGNIFICANT:
        return "not separated after correction" if leaves_out_0 else "not separated"
    return "better" if difference.mean > 0 else "worse"
