"""The miners that a file may name: which pairs or triplets of a batch the loss sees."""

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Discriminator, Field, Tag

from mdr_tune.config.base import StrictModel, by_name, choose_by_name, tag


class _Miner(StrictModel):
    def arguments(self) -> dict[str, Any]:
        """Return what the miner's constructor takes."""
        return self.model_dump(exclude={"name"})


Weights = Literal["official", "stable"]


class AutoMinerConfig(_Miner):
    """What suits the loss: distance_weighted for triplet and margin, multi_similarity for its loss, else all pairs."""

    name: Literal["auto"] = "auto"
    weights: Weights = "official"
    """Of distance_weighted, where that is chosen."""


class DistanceWeightedMinerConfig(_Miner):
    """Every positive pair once, its negative drawn by the inverse density of its distance (Wu et al., ICCV 2017)."""

    name: Literal["distance_weighted"]
    weights: Weights = "official"
    """`official`: as the authors' code, most anchors fall back to uniform in float32; `stable`: no underflow."""


class AllMinerConfig(_Miner):
    """Every pair, or every triplet, of the batch."""

    name: Literal["all"]


class RandomMinerConfig(_Miner):
    """Every positive pair once, its negative drawn uniformly."""

    name: Literal["random"]


class HardMinerConfig(_Miner):
    """For each anchor the furthest positive and the nearest negative (Hermans et al., 2017)."""

    name: Literal["hard"]


class SemiHardMinerConfig(_Miner):
    """Negatives further than the positive, by less than `margin` (FaceNet, CVPR 2015)."""

    name: Literal["semi_hard"]
    margin: float = Field(0.2, gt=0)


class MultiSimilarityMinerConfig(_Miner):
    """Pairs harder than the easiest of the other kind less `epsilon`, on cosines (Wang et al., CVPR 2019)."""

    name: Literal["multi_similarity"]
    epsilon: float = Field(0.1, ge=0)


MinerConfig = Annotated[
    Annotated[AutoMinerConfig, Tag(tag("auto"))]
    | Annotated[DistanceWeightedMinerConfig, Tag(tag("distance_weighted"))]
    | Annotated[AllMinerConfig, Tag(tag("all"))]
    | Annotated[RandomMinerConfig, Tag(tag("random"))]
    | Annotated[HardMinerConfig, Tag(tag("hard"))]
    | Annotated[SemiHardMinerConfig, Tag(tag("semi_hard"))]
    | Annotated[MultiSimilarityMinerConfig, Tag(tag("multi_similarity"))],
    Discriminator(choose_by_name("auto")),
    BeforeValidator(by_name),
]
