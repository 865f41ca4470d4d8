"""The miners that a sweep file may name. A miner chooses the pairs or triplets of a batch that the loss sees.

To add a miner, add a class here. The user's own miner needs none: `{name: my_miners:EasyPositive}`.
"""

from typing import TYPE_CHECKING, Literal

from pydantic import Field, model_validator

from mdr_tune.config.own_arguments import arguments_of, at_its_key, check_call
from mdr_tune.config.strict_model import Named, OpenModel, members, one_of

if TYPE_CHECKING:
    from mdr_tune.metric.mined import Miner as BuiltMiner


class Miner(Named):
    """A miner that a sweep file may name."""

    def build(self) -> "BuiltMiner":
        """Return a new miner."""
        raise NotImplementedError


Weights = Literal["official", "stable"]


class AutoMinerConfig(Miner):
    """The miner that suits the loss.

    It is `distance_weighted` for the losses triplet and margin, `multi_similarity` for the loss multi_similarity, and
    `all` for all other losses.
    """

    name: Literal["auto"] = "auto"
    weights: Weights = "official"
    """Key `weights` of the miner distance_weighted, if that miner is chosen."""

    def chosen(self, name: str) -> Miner:
        """Return the configuration of the miner `name`. For distance_weighted, it has the `weights` given here."""
        if name == "distance_weighted":
            return DistanceWeightedMinerConfig(name="distance_weighted", weights=self.weights)
        return members(Miner)[name].model_validate({"name": name})


class DistanceWeightedMinerConfig(Miner):
    """Triplets: each positive pair once, negatives drawn by the inverse density of distances (Wu et al., ICCV 2017)."""

    name: Literal["distance_weighted"]
    weights: Weights = "official"
    """Weights by which negatives are drawn. `official`: as in the code of MDR's authors, where float32 underflows, so
    that most anchors draw their negatives uniformly; `stable`: without underflow."""

    def build(self) -> "BuiltMiner":
        """Return the distance-weighted miner of `metric.distance_weighted`."""
        from mdr_tune.metric.distance_weighted import DistanceWeightedMiner

        return DistanceWeightedMiner(self.weights)


class AllMinerConfig(Miner):
    """All pairs, or all triplets, of the batch."""

    name: Literal["all"]

    def build(self) -> "BuiltMiner":
        """Return the miner that chooses all pairs or triplets."""
        from mdr_tune.metric.plain_miners import AllMiner

        return AllMiner()


class RandomMinerConfig(Miner):
    """Triplets: each positive pair once, with a negative drawn uniformly from the negatives of its anchor."""

    name: Literal["random"]

    def build(self) -> "BuiltMiner":
        """Return the miner that draws negatives uniformly."""
        from mdr_tune.metric.plain_miners import RandomMiner

        return RandomMiner()


class HardMinerConfig(Miner):
    """Triplets: each anchor once, with its furthest positive and its nearest negative (Hermans et al., 2017)."""

    name: Literal["hard"]

    def build(self) -> "BuiltMiner":
        """Return the miner, which chooses one triplet for each anchor."""
        from pytorch_metric_learning import miners

        from mdr_tune.metric.library_adapter import euclidean
        from mdr_tune.metric.library_miner import LibraryMiner

        return LibraryMiner(miners.BatchHardMiner(distance=euclidean(), collect_stats=False))


class SemiHardMinerConfig(Miner):
    """Triplets whose negative is further away than the positive, by less than `margin` (FaceNet, CVPR 2015)."""

    name: Literal["semi_hard"]
    margin: float = Field(0.2, gt=0)

    def build(self) -> "BuiltMiner":
        """Return the miner, which chooses all semi-hard triplets. `margin` is a difference of distances."""
        from mdr_tune.metric.library_miner import LibraryMiner, SemiHardMiner

        return LibraryMiner(SemiHardMiner(self.margin))


class MultiSimilarityMinerConfig(Miner):
    """Pairs that are hard in comparison with the other pairs of their anchor (Wang et al., CVPR 2019); see `build`."""

    name: Literal["multi_similarity"]
    epsilon: float = Field(0.1, ge=0)

    def build(self) -> "BuiltMiner":
        """Return the miner, which chooses pairs by their cosines.

        A negative is chosen if its cosine with the anchor is above the smallest cosine of a positive minus `epsilon`. A
        positive is chosen if its cosine is below the largest cosine of a negative plus `epsilon`.
        """
        from pytorch_metric_learning import miners

        from mdr_tune.metric.library_miner import LibraryMiner

        return LibraryMiner(miners.MultiSimilarityMiner(self.epsilon, collect_stats=False))


class ImportedMinerConfig(Miner, OpenModel):
    """The user's own miner: `name` is its import path, such as `my_miners:EasyPositive`, other keys are its arguments.

    The miner takes (embeddings, labels), and returns indices of pairs or triplets as pytorch-metric-learning's do.
    """

    name: str
    takes_import_path = True

    @model_validator(mode="after")
    def _mines(self) -> "ImportedMinerConfig":
        check_call(self.name, self.arguments())
        from mdr_tune.metric.imported_miner import check_imported_miner  # here: it imports torch

        with at_its_key():
            check_imported_miner(self.name, self.arguments())
        return self

    def known_arguments(self) -> list[str]:
        """Return the names of the arguments that `name` takes: those of its signature, and any given to `**kwargs`."""
        taken = arguments_of(self.name)
        return list({**({} if taken is None else taken.defaults), **self.arguments()})

    def note(self) -> str:
        """Return a note for the plan if the miner chooses nothing of random embeddings; else ``."""
        from mdr_tune.metric.imported_miner import miner_note

        return miner_note(self.name, self.arguments())

    def build(self) -> "BuiltMiner":
        """Return the user's miner in an adapter, which checks the indices that the miner returns."""
        from mdr_tune.metric.imported_miner import build_imported_miner

        return build_imported_miner(self.name, self.arguments())


if TYPE_CHECKING:
    MinerConfig = Miner
else:
    MinerConfig = one_of(Miner, default="auto")
