"""Metrics that a trial measures beside Recall@K, MAP@R and R-precision: the section `trial.metrics` of a sweep file."""

from typing import Annotated

from pydantic import AfterValidator, Field

from mdr_tune.config.strict_model import StrictModel, added


def _ascending(ks: list[int]) -> list[int]:
    return sorted(set(ks))


Ks = Annotated[list[Annotated[int, Field(ge=1, lt=10**9)]], AfterValidator(_ascending)]


def far_text(far: float) -> str:
    """Return a false accept rate as it stands in the name of a metric: `1e-3` for 0.001, `2.5e-2` for 0.025."""
    mantissa, exponent = f"{far:.6e}".split("e")
    return f"{mantissa.rstrip('0').rstrip('.')}e{int(exponent)}"


def _descending(fars: list[float]) -> list[float]:
    return sorted({float(far_text(far)) for far in fars}, reverse=True)


class VerificationConfig(StrictModel):
    """Verification: whether two images are of the same class, decided by a threshold on their distance."""

    far: Annotated[list[Annotated[float, Field(gt=0, lt=1)]], Field(min_length=1), AfterValidator(_descending)] = [
        1e-2,
        1e-3,
        1e-4,
    ]
    """False accept rates (FAR), as shares of 1: of pairs of different classes, how many may be accepted. For each, the
    true accept rate (TAR) is measured."""


class MetricsConfig(StrictModel):
    """Metrics that are measured beside Recall@K, MAP@R and R-precision, on every split that is evaluated."""

    map_at: Ks = added([])
    """Ranks K of MAP@K. The precisions at the hits among the K nearest are added up and divided by min(K, R), where R
    is the number of images of the query's class."""
    precision_at: Ks = added([])
    """Ranks K of precision@K, the share of images of the query's class among the K nearest."""
    mrr: bool = added(False)
    """true: the mean reciprocal rank of the nearest image of the query's class."""
    nmi: bool = added(False)
    """true: the normalised mutual information of the classes and of clusters, found by k-means on the first worker."""

    verification: VerificationConfig | None = added(None)
    """TAR at FAR and the equal error rate over all pairs of images of a split, or over the list in `data.pairs`. null:
    they are not measured."""

    def of_queries(self) -> list[str]:
        """Return the names of the metrics that are means over queries, such as `map_at_10`."""
        at = [*(f"map_at_{k}" for k in self.map_at), *(f"precision_at_{k}" for k in self.precision_at)]
        return [*at, *(["mrr"] if self.mrr else [])]

    def names(self) -> list[str]:
        """Return the names of all metrics that a search may maximise."""
        tars = [] if self.verification is None else [f"tar_at_far_{far_text(far)}" for far in self.verification.far]
        return [*self.of_queries(), *(["nmi"] if self.nmi else []), *tars]


NO_OTHERS = MetricsConfig()
"""No metric beside Recall@K, MAP@R and R-precision, the default."""


def asking_for(metric: str) -> str | None:
    """Return what `trial.metrics` needs for `metric`, such as `map_at: [10]` for `map_at_10`.

    Return None if no key of `trial.metrics` asks for it.
    """
    if metric.startswith("tar_at_far_"):
        return f"verification: {{far: [{metric.removeprefix('tar_at_far_')}]}}"
    kind, _, rank = metric.rpartition("_at_")
    if kind in ("map", "precision") and rank.isdecimal():
        return f"{kind}_at: [{rank}]"
    return f"{metric}: true" if metric in ("mrr", "nmi") else None
