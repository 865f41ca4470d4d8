"""The part of a model behind the backbone: pooling, head, and scaling of the embeddings."""

from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag, model_validator

from mdr_tune.config.strict_model import StrictModel, added, tag
from mdr_tune.config.units import SHARE

EmbeddingModeOrAuto = Literal["auto", "rescale", "l2", "none"]


class HiddenHead(StrictModel):
    """A head with hidden layers: blocks of Linear, normalisation, ReLU and Dropout, then the embedding layer."""

    hidden: list[Annotated[int, Field(ge=1)]] = Field(min_length=1)
    """Sizes of the hidden layers, from the backbone to the embedding layer."""
    norm: Literal["layer", "batch", "none"] = "layer"
    """Normalisation after each hidden Linear layer: LayerNorm, BatchNorm with the statistics of the global batch over
    all workers, or none."""
    dropout: Annotated[float, SHARE] = Field(0.0, ge=0, lt=1)
    """Probability that a number of a hidden layer is dropped in training."""


class EmbeddingConfig(StrictModel):
    """The layers from the backbone to the embedding: pooling, head and scaling."""

    size: int | None = Field(128, ge=1)
    """Length of an embedding. null: as many numbers as the backbone's features have, which is the default with
    `head: identity` and the only size there."""
    mode: EmbeddingModeOrAuto = "auto"
    """Scaling of the embeddings. `rescale`: in training, they are divided by the mean distance in the batch, as in the
    MDR paper, and at test time not scaled; `l2`: to length 1; `none`: not scaled; `auto`: `l2` for a loss that compares
    only the directions of embeddings, otherwise `rescale`."""
    pool: Literal["auto", "avg", "max", "avg_max", "gem", "token"] = added("auto")
    """Pooling of the backbone's maps or tokens. `auto`: the backbone's own; `avg`: mean; `max`: maximum; `avg_max`: the
    mean of both; `gem`: generalised mean with a learned exponent; `token`: the class token of a transformer. Except for
    `token`, class and register tokens are not pooled."""
    head: Annotated[
        Annotated[Literal["linear", "identity"], Tag(tag("name"))] | Annotated[HiddenHead, Tag(tag("hidden"))],
        Discriminator(lambda value: tag("hidden" if isinstance(value, dict | HiddenHead) else "name")),
    ] = added("linear")
    """Layers between features and embeddings: `linear`; `identity`, the features are the embeddings; or hidden layers
    before the linear one, {hidden: [1024], norm: layer, dropout: 0.1}."""

    @model_validator(mode="before")
    @classmethod
    def _size_of_identity(cls, value: Any) -> Any:
        is_identity = isinstance(value, dict) and value.get("head") == "identity"
        return {"size": None, **value} if is_identity else value

    @property
    def hidden(self) -> HiddenHead | None:
        """Settings of the hidden layers; None if the head has none."""
        return self.head if isinstance(self.head, HiddenHead) else None

    @property
    def has_batch_norm(self) -> bool:
        """True if the head has BatchNorm."""
        return self.hidden is not None and self.hidden.norm == "batch"

    @property
    def has_parameters(self) -> bool:
        """True if head or pooling have parameters to train."""
        return self.head != "identity" or self.pool == "gem"

    @property
    def needs_network(self) -> bool:
        """True if these keys can be checked only with the network: it must allow `pool`, or it determines `size`."""
        return self.pool != "auto" or self.head == "identity"
