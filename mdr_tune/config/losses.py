"""The metric-learning losses that a sweep file may name: the arguments of each, their ranges, and the code to build it.

To add a loss, add a class here. A loss of pytorch-metric-learning needs no class: `{name: pml.CircleLoss, m: 0.4}`. Nor
does the user's own: `{name: my_losses:SoftTriple, centers: 5}`.

Losses on Euclidean distances and dot products do not scale the embeddings, as pytorch-metric-learning would by default:
the trial's embedding mode decides whether they have length 1. Losses on cosines compare only directions.

If a miner finds nothing, losses on pairs and triplets are 0, and losses with a parameter for each class weight all
embeddings equally. Losses are averaged as pytorch-metric-learning averages them. If it averages only over pairs or
triplets with a loss above 0, the docstring of `build` says so.

A sweep file is checked before torch is imported, so each `build` imports the modules that it needs.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import Field, model_validator

from mdr_tune.config.own_arguments import arguments_of, at_its_key, check_call
from mdr_tune.config.strict_model import Named, OpenModel, one_of
from mdr_tune.config.units import COSINE, DEGREES, SCALE, TEMPERATURE, Unit
from mdr_tune.util.call_arguments import plain
from mdr_tune.util.nearest_name import LIBRARY_PREFIX

if TYPE_CHECKING:
    from mdr_tune.metric import MetricLoss
    from mdr_tune.metric.imported_loss import LossFacts

LOSS_FILLED = ("num_classes", "embedding_size")
"""Arguments of the user's own loss that the trial fills in, where the class has them."""
LIBRARY_MARGINS = {
    "TripletMarginLoss": ("margin",),
    "ContrastiveLoss": ("neg_margin", "pos_margin"),
    "MarginLoss": ("margin", "beta"),
}
"""Margins among the arguments of pytorch-metric-learning's classes, compared with distances or their differences."""
LIBRARY_UNITS = {
    "AngularLoss": {"alpha": DEGREES},
    "ArcFaceLoss": {"margin": DEGREES, "scale": SCALE},
    "SubCenterArcFaceLoss": {"margin": DEGREES, "scale": SCALE},
    "TupletMarginLoss": {"margin": DEGREES, "scale": SCALE},
    "CosFaceLoss": {"margin": COSINE, "scale": SCALE},
    "NTXentLoss": {"temperature": TEMPERATURE},
    "SupConLoss": {"temperature": TEMPERATURE},
    "NormalizedSoftmaxLoss": {"temperature": TEMPERATURE},
}
"""Arguments of pytorch-metric-learning's classes whose unit users easily mistake, each with its unit."""


class Loss(Named):
    """A loss that a sweep file may name.

    Attributes:
        angular: True if the loss compares only the directions of embeddings, which then belong on the unit sphere.
        best_miner: Name of the miner that `miner: auto` stands for.
        margin_keys: Keys of the margins, which are compared with distances or with differences of distances.
        uses_miner: True if the loss uses the pairs or triplets that a miner chooses.
        learns: True if the loss has parameters of its own, such as a proxy for each class.
    """

    angular: ClassVar[bool] = False
    best_miner: ClassVar[str] = "all"
    margin_keys: ClassVar[tuple[str, ...]] = ()
    uses_miner: ClassVar[bool] = True
    learns: ClassVar[bool] = False

    def build(self, embedding_size: int, num_classes: int) -> "MetricLoss":
        """Return a new loss on embeddings of length `embedding_size`, for `num_classes` classes of training data.

        Its parameters are drawn from torch's global generator. Raise ValueError if an argument is not valid.
        """
        raise NotImplementedError

    def in_force(self) -> dict[str, Any]:
        """Return the values that affect the training. Losses with equal values train in the same way."""
        return self.model_dump()

    def margins(self) -> dict[str, float]:
        """Return the margins by key. They are compared with distances, or with differences of distances."""
        numbers = {key: value for key, value in self.arguments().items() if isinstance(value, int | float)}
        return {key: number for key, number in numbers.items() if key in self._margin_keys()}

    def _margin_keys(self) -> tuple[str, ...]:
        return self.margin_keys

    @property
    def has_parameters(self) -> bool:
        """True if the loss has, or may have, parameters. The key `optimizer.loss_learning_rate` applies to them."""
        return self.learns

    @property
    def compares_directions(self) -> bool:
        """True if the loss ignores the lengths of embeddings."""
        return self.angular

    @property
    def takes_mined(self) -> bool:
        """True if the loss uses the pairs or triplets that a miner chooses."""
        return self.uses_miner

    def problem_with(self, mode: str) -> str | None:
        """Return `key: problem` if an argument does not fit the embedding mode `mode`; else None."""
        return None

    def problem_with_memory(self) -> str | None:
        """Return `dotted key: problem` if the loss cannot use a cross-batch memory; else None."""
        return None if self.uses_miner else _no_memory(self.name)


def _no_memory(name: str) -> str:
    return (
        f"memory: {name} cannot compare a batch with a memory: write null, or take a loss on pairs or triplets, "
        "such as triplet, contrastive, margin or multi_similarity"
    )


class TripletLossConfig(Loss):
    """Triplet loss (FaceNet, CVPR 2015), used in the main results of the MDR paper.

    Its aim is |anchor - positive| + margin < |anchor - negative|.
    """

    name: Literal["triplet"] = "triplet"
    margin: float = Field(0.2, ge=0)
    """Margin, in units that depend on `embedding.mode`: the batch's mean distance (`rescale`), the sphere's radius
    (`l2`)."""
    best_miner = "distance_weighted"
    margin_keys = ("margin",)

    def problem_with(self, mode: str) -> str | None:
        """Return a problem if the margin exceeds the diameter of the unit sphere in `mode` l2; else None."""
        if mode == "l2" and self.margin > 2:
            return f"margin: {self.margin} cannot be met with embedding.mode l2, where no distance exceeds 2"
        return None

    def build(self, embedding_size: int, num_classes: int) -> "MetricLoss":
        """Return the triplet loss of the MDR paper, see `metric.triplet`."""
        from mdr_tune.metric.triplet import TripletLoss

        return TripletLoss(self.margin)


class ContrastiveLossConfig(Loss):
    """Contrastive loss (Hadsell et al., CVPR 2006).

    Its aim is that positives are nearer than `pos_margin` and negatives are further than `neg_margin`.
    """

    name: Literal["contrastive"]
    pos_margin: float = Field(0.0, ge=0)
    neg_margin: float = Field(1.0, gt=0)
    margin_keys = ("neg_margin", "pos_margin")

    @model_validator(mode="after")
    def _ordered(self) -> "ContrastiveLossConfig":
        if self.pos_margin >= self.neg_margin:
            raise ValueError(
                f"pos_margin {self.pos_margin} must be below neg_margin {self.neg_margin}: "
                "positives belong nearer than negatives"
            )
        return self

    def problem_with(self, mode: str) -> str | None:
        """Return a problem if `neg_margin` exceeds the diameter of the unit sphere in `mode` l2; else None."""
        if mode == "l2" and self.neg_margin > 2:
            return f"neg_margin: {self.neg_margin} cannot be met with embedding.mode l2, where no distance exceeds 2"
        return None

    def build(self, embedding_size: int, num_classes: int) -> "MetricLoss":
        """Return a loss on distances d: mean of max(0, d - pos_margin) + mean of max(0, neg_margin - d).

        The first mean is over positive pairs, the second over negative ones. Terms of 0 are left out. d is not squared.
        """
        from pytorch_metric_learning import losses

        from mdr_tune.metric.library_adapter import LibraryLoss, euclidean

        loss = losses.ContrastiveLoss(self.pos_margin, self.neg_margin, distance=euclidean(), collect_stats=False)
        return LibraryLoss(loss)


class MarginLossConfig(Loss):
    """Margin loss (Wu et al., ICCV 2017).

    Its aim is that positives are nearer than beta - margin, and negatives are further than beta + margin.
    """

    name: Literal["margin"]
    margin: float = Field(0.2, ge=0)
    beta: float = Field(1.2, gt=0)
    nu: float = Field(0.0, ge=0)
    """Weight of beta as a term of the loss. It has no effect if `learn_beta` is false."""
    learn_beta: bool = False
    best_miner = "distance_weighted"
    margin_keys = ("margin", "beta")

    @property
    def has_parameters(self) -> bool:
        """True if beta is learned, which makes it a parameter."""
        return self.learn_beta

    def in_force(self) -> dict[str, Any]:
        """Return the values that affect the training. `nu` is one of them only if beta is learned."""
        return self.model_dump(exclude=set() if self.learn_beta else {"nu"})

    @model_validator(mode="after")
    def _reachable(self) -> "MarginLossConfig":
        if self.margin >= self.beta:
            raise ValueError(
                f"margin {self.margin} must be below beta {self.beta}: positives belong nearer than beta - margin, "
                "and no distance is negative"
            )
        return self

    def problem_with(self, mode: str) -> str | None:
        """Return a problem if beta + margin exceeds the diameter of the unit sphere in `mode` l2; else None."""
        if mode == "l2" and self.beta + self.margin > 2:
            return (
                f"beta: beta + margin is {self.beta + self.margin:g} and cannot be met with embedding.mode l2, "
                "where no distance exceeds 2"
            )
        return None

    def build(self, embedding_size: int, num_classes: int) -> "MetricLoss":
        """Return a loss on distances: a sum over triplets, divided by the number of its terms above 0.

        Each triplet has two terms, where d_ap and d_an are the distances of the anchor to the positive and to the
        negative: max(0, d_ap - beta + margin) and max(0, beta - d_an + margin). With `learn_beta`, nu * beta is added.
        """
        from pytorch_metric_learning import losses

        from mdr_tune.metric.library_adapter import LibraryLoss, euclidean

        loss = losses.MarginLoss(
            self.margin, self.nu, self.beta, learn_beta=self.learn_beta, distance=euclidean(), collect_stats=False
        )
        return LibraryLoss(loss)


class MultiSimilarityLossConfig(Loss):
    """Multi-similarity loss (Wang et al., CVPR 2019), on cosines."""

    name: Literal["multi_similarity"]
    alpha: float = Field(2.0, gt=0)
    beta: Annotated[float, SCALE] = Field(50.0, gt=0)
    base: float = Field(0.5, ge=-1, le=1)
    angular = True
    best_miner = "multi_similarity"

    def build(self, embedding_size: int, num_classes: int) -> "MetricLoss":
        """Return a loss on cosines s: the mean, over anchors, of the sum of two soft maxima.

        The sum is log(1 + sum_p exp(-alpha (s_p - base))) / alpha + log(1 + sum_n exp(beta (s_n - base))) / beta, where
        p are the positives of the anchor, n its negatives.
        """
        from pytorch_metric_learning import losses

        from mdr_tune.metric.library_adapter import LibraryLoss

        return LibraryLoss(losses.MultiSimilarityLoss(self.alpha, self.beta, self.base, collect_stats=False))


class NPairLossConfig(Loss):
    """Multi-class N-pair loss (Sohn, NeurIPS 2016), with one positive pair of each class.

    The negatives of an anchor are the positives of the other pairs.
    """

    name: Literal["n_pair"]
    uses_miner = False

    def build(self, embedding_size: int, num_classes: int) -> "MetricLoss":
        """Return a loss: the cross-entropy of the dot products of each anchor with the positives of all pairs.

        There is one pair for each class: the first positive pair in the batch, or among the pairs that a miner chose.
        """
        from pytorch_metric_learning import distances, losses

        from mdr_tune.metric.library_adapter import LibraryLoss

        distance = distances.DotProductSimilarity(normalize_embeddings=False, collect_stats=False)
        return LibraryLoss(losses.NPairsLoss(distance=distance, collect_stats=False))


class ProxyNCALossConfig(Loss):
    """ProxyNCA (Movshovitz-Attias et al., ICCV 2017), with one learned proxy for each class."""

    name: Literal["proxy_nca"]
    softmax_scale: Annotated[float, SCALE] = Field(1.0, gt=0)
    angular = True
    uses_miner = False
    learns = True

    def build(self, embedding_size: int, num_classes: int) -> "MetricLoss":
        """Return a loss: the cross-entropy of negative squared distances of embeddings to proxies, on the unit sphere.

        The embedding's own class is in the denominator, unlike in the paper. If a miner has chosen pairs or triplets,
        each embedding is weighted by the number of times that it is an anchor in them.
        """
        from pytorch_metric_learning import losses

        from mdr_tune.metric.library_adapter import LibraryLoss

        loss = losses.ProxyNCALoss(num_classes, embedding_size, softmax_scale=self.softmax_scale, collect_stats=False)
        return LibraryLoss(loss, num_classes)


class ProxyAnchorLossConfig(Loss):
    """Proxy-Anchor (Kim et al., CVPR 2020), on cosines, with one learned proxy for each class."""

    name: Literal["proxy_anchor"]
    margin: Annotated[float, COSINE] = Field(0.1, ge=0, lt=2)
    """Margin, a difference of cosines."""
    alpha: Annotated[float, SCALE] = Field(32.0, gt=0)
    angular = True
    uses_miner = False
    learns = True

    def build(self, embedding_size: int, num_classes: int) -> "MetricLoss":
        """Return a loss on the cosines s of embeddings and proxies.

        The loss is the mean of log(1 + sum_p exp(-alpha (s_p - margin))) over the proxies with a positive, plus the
        mean of log(1 + sum_n exp(alpha (s_n + margin))) over all proxies. For a proxy, p are the embeddings of its
        class, its positives, and n are all other embeddings.
        """
        from pytorch_metric_learning import losses

        from mdr_tune.metric.library_adapter import LibraryLoss

        loss = losses.ProxyAnchorLoss(num_classes, embedding_size, self.margin, self.alpha, collect_stats=False)
        return LibraryLoss(loss, num_classes)


class ArcFaceLossConfig(Loss):
    """ArcFace (Deng et al., CVPR 2019): classification with an additive angular margin."""

    name: Literal["arcface"]
    margin: Annotated[float, DEGREES] = Field(28.6, ge=0, lt=180)
    """Margin in degrees. The default is the 0.5 radians of the ArcFace paper."""
    scale: Annotated[float, SCALE] = Field(64.0, gt=0)
    angular = True
    uses_miner = False
    learns = True

    def build(self, embedding_size: int, num_classes: int) -> "MetricLoss":
        """Return a loss: the cross-entropy of scaled cosines between embeddings and class weights.

        The margin is added to the angle between an embedding and the weights of its own class. If a miner has chosen
        pairs or triplets, each embedding is weighted by the number of times that it appears in them.
        """
        from pytorch_metric_learning import losses

        from mdr_tune.metric.library_adapter import LibraryLoss

        loss = losses.ArcFaceLoss(num_classes, embedding_size, self.margin, self.scale, collect_stats=False)
        return LibraryLoss(loss, num_classes)


class LibraryLossConfig(Loss, OpenModel):
    """Any loss of pytorch-metric-learning, such as `pml.CircleLoss`. Keys other than `name` are its arguments."""

    name: str
    learns = True
    """True for every class, since it is not known before a loss is built whether it has parameters."""

    @model_validator(mode="after")
    def _known_to_the_library(self) -> "LibraryLossConfig":
        from mdr_tune.metric.library_loss import check_library_loss  # here: it imports torch

        check_library_loss(self.name, self.arguments())
        return self

    def _margin_keys(self) -> tuple[str, ...]:
        return LIBRARY_MARGINS.get(self.name.removeprefix(LIBRARY_PREFIX), ())

    def units(self) -> Iterator[tuple[str, float, Unit]]:
        """Yield (key, number, unit) for each argument that has a unit in `LIBRARY_UNITS`."""
        known = LIBRARY_UNITS.get(self.name.removeprefix(LIBRARY_PREFIX), {})
        for key, value in self.arguments().items():
            if key in known and isinstance(value, int | float):
                yield key, value, known[key]

    def in_force(self) -> dict[str, Any]:
        """Return the values that affect the training: all arguments, with defaults. Whole numbers become floats."""
        from mdr_tune.metric.library_loss import library_loss_arguments

        arguments = {**library_loss_arguments(self.name), **self.model_dump()}
        return {key: float(value) if type(value) is int else value for key, value in arguments.items()}

    def known_arguments(self) -> list[str]:
        """Return the names of the arguments that a sweep file may give for this class."""
        from mdr_tune.metric.library_loss import library_loss_arguments

        return list(library_loss_arguments(self.name))

    @property
    def compares_directions(self) -> bool:
        """True if the loss ignores the lengths of embeddings. `library_loss_is_angular` computes it to find out."""
        from mdr_tune.metric.library_loss import library_loss_is_angular

        return library_loss_is_angular(self.name, self.arguments())

    @property
    def takes_mined(self) -> bool:
        """True if the loss uses the pairs or triplets that a miner chooses; False if it forms its own pairs."""
        from mdr_tune.metric.library_loss import library_loss_takes_mined

        return library_loss_takes_mined(self.name, self.arguments())

    def problem_with_memory(self) -> str | None:
        """Return `key: problem` if the library's loss cannot use a cross-batch memory; else None."""
        from mdr_tune.metric.library_loss import library_loss_takes_memory

        if not library_loss_takes_memory(self.name):
            return _no_memory(self.name)
        if isinstance(self.arguments().get("triplets_per_anchor"), int):
            return "loss.triplets_per_anchor: with a memory all triplets are compared: leave it out"
        return None

    def build(self, embedding_size: int, num_classes: int) -> "MetricLoss":
        """Return the library's loss. Losses on Euclidean distances and dot products do not scale the embeddings."""
        from mdr_tune.metric.library_loss import build_library_loss

        return build_library_loss(self.name, self.arguments(), embedding_size, num_classes)


class ImportedLossConfig(Loss, OpenModel):
    """The user's own loss: `name` is its import path, such as `my_losses:SoftTriple`, and other keys are its arguments.

    The loss is a `torch.nn.Module` that takes (embeddings, labels), or (embeddings, labels, indices_tuple).
    """

    name: str
    learns = True
    takes_import_path = True

    def problem_with_memory(self) -> str:
        """Return `memory: problem`: a user's loss takes only the embeddings of a batch, and so cannot use a memory."""
        return _no_memory(self.name)

    @model_validator(mode="after")
    def _trains(self) -> "ImportedLossConfig":
        check_call(self.name, self.arguments(), LOSS_FILLED)
        with at_its_key():
            self._facts()
        return self

    def _facts(self) -> "LossFacts":
        from mdr_tune.metric.imported_loss import imported_loss_facts  # here: it imports torch

        return imported_loss_facts(self.name, self.arguments())

    def in_force(self) -> dict[str, Any]:
        """Return the values that affect the training: all arguments, with defaults. Whole numbers become floats."""
        taken = arguments_of(self.name, LOSS_FILLED)
        defaults = {} if taken is None else {key: plain(value) for key, value in taken.defaults.items()}
        arguments = {**defaults, **self.model_dump()}
        return {key: float(value) if type(value) is int else value for key, value in arguments.items()}

    def known_arguments(self) -> list[str]:
        """Return the names of the arguments that `name` takes: those of its signature, and any given to `**kwargs`."""
        taken = arguments_of(self.name, LOSS_FILLED)
        return list({**({} if taken is None else taken.defaults), **self.arguments()})

    @property
    def has_parameters(self) -> bool:
        """True if the loss has parameters of its own."""
        return self._facts().has_parameters

    @property
    def compares_directions(self) -> bool:
        """True if the loss ignores the lengths of embeddings. It is computed for a few embeddings to find out."""
        return self._facts().is_angular

    @property
    def takes_mined(self) -> bool:
        """True if the loss takes pairs or triplets, a third argument of its `forward`."""
        return self._facts().takes_mined

    def note(self) -> str:
        """Return a note for the plan if the loss trains nothing for random embeddings; else ``."""
        from mdr_tune.metric.imported_loss import loss_note

        return loss_note(self.name, self.arguments())

    def build(self, embedding_size: int, num_classes: int) -> "MetricLoss":
        """Return the user's loss in an adapter, which checks that each value is one number with a gradient."""
        from mdr_tune.metric.imported_loss import build_imported_loss

        return build_imported_loss(self.name, self.arguments(), embedding_size, num_classes)


if TYPE_CHECKING:
    LossConfig = Loss
else:
    LossConfig = one_of(Loss, default="triplet", library_prefix=LIBRARY_PREFIX)
