"""The miners that a file may name. A miner chooses the pairs or triplets of a batch that the loss sees.

To add one, add a class here.
"""

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from mdr_tune.config.strict_model import Named, members, one_of

if TYPE_CHECKING:
    from mdr_tune.metric.mined import Miner as BuiltMiner


class Miner(Named):
    """A miner that a file may name."""

    def build(self) -> "BuiltMiner":
        """Return a new miner."""
        raise NotImplementedError


Weights = Literal["official", "stable"]


class AutoMinerConfig(Miner):
    """The miner that suits the loss.

    It is distance_weighted for triplet and margin, multi_similarity for the loss of that name, `all` for the others.
    """

    name: Literal["auto"] = "auto"
    weights: Weights = "official"
    """Weights of distance_weighted, if that miner is chosen."""

    def chosen(self, name: str) -> Miner:
        """Return the miner `name`. Distance_weighted gets the `weights` of this configuration."""
        if name == "distance_weighted":
            return DistanceWeightedMinerConfig(name="distance_weighted", weights=self.weights)
        return members(Miner)[name].model_validate({"name": name})


class DistanceWeightedMinerConfig(Miner):
    """Every positive pair once, with a negative drawn by inverse density of its distance (Wu et al., ICCV 2017)."""

    name: Literal["distance_weighted"]
    weights: Weights = "official"
    """Weights of the negatives. `official`: as in the authors' code, where float32 underflows and most anchors fall
    back to uniform draws; `stable`: without underflow."""

    def build(self) -> "BuiltMiner":
        """Return the miner of `metric.distance_weighted`."""
        from mdr_tune.metric.distance_weighted import DistanceWeightedMiner

        return DistanceWeightedMiner(self.weights)


class AllMinerConfig(Miner):
    """Every pair, or every triplet, of the batch."""

    name: Literal["all"]

    def build(self) -> "BuiltMiner":
        """Return the miner that chooses everything."""
        from mdr_tune.metric.plain_miners import AllMiner

        return AllMiner()


class RandomMinerConfig(Miner):
    """Every positive pair once, with a negative drawn uniformly."""

    name: Literal["random"]

    def build(self) -> "BuiltMiner":
        """Return the random miner."""
        from mdr_tune.metric.plain_miners import RandomMiner

        return RandomMiner()


class HardMinerConfig(Miner):
    """The furthest positive and the nearest negative of each anchor (Hermans et al., 2017)."""

    name: Literal["hard"]

    def build(self) -> "BuiltMiner":
        """Return the miner, which chooses one triplet for each anchor."""
        from pytorch_metric_learning import miners

        from mdr_tune.metric.library_adapter import euclidean
        from mdr_tune.metric.library_miner import LibraryMiner

        return LibraryMiner(miners.BatchHardMiner(distance=euclidean(), collect_stats=False))


class SemiHardMinerConfig(Miner):
    """Triplets whose negative is further than the positive, by less than `margin` (FaceNet, CVPR 2015)."""

    name: Literal["semi_hard"]
    margin: float = Field(0.2, gt=0)

    def build(self) -> "BuiltMiner":
        """Return the miner, which chooses all such triplets. The margin is in the units of the embeddings."""
        from pytorch_metric_learning import miners

        from mdr_tune.metric.library_adapter import euclidean
        from mdr_tune.metric.library_miner import LibraryMiner

        miner = miners.TripletMarginMiner(self.margin, "semihard", distance=euclidean(), collect_stats=False)
        return LibraryMiner(miner)


class MultiSimilarityMinerConfig(Miner):
    """Pairs whose cosine comes within `epsilon` of the anchor's hardest pair of the other kind, or passes it.

    Source: Wang et al., CVPR 2019.
    """

    name: Literal["multi_similarity"]
    epsilon: float = Field(0.1, ge=0)

    def build(self) -> "BuiltMiner":
        """Return the miner, which chooses pairs by their cosines.

        For each anchor it keeps a negative whose cosine is above that of the least similar positive less `epsilon`, and
        a positive whose cosine is below that of the most similar negative plus `epsilon`.
        """
        from pytorch_metric_learning import miners

        from mdr_tune.metric.library_miner import LibraryMiner

        return LibraryMiner(miners.MultiSimilarityMiner(self.epsilon, collect_stats=False))


if TYPE_CHECKING:
    MinerConfig = Miner
else:
    MinerConfig = one_of(Miner, default="auto")
