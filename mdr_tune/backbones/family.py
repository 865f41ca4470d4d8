"""Base class of a family of backbones: its names, the images they take, their published weights, how to make one."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

from mdr_tune.backbones.image_limits import ImageLimits

if TYPE_CHECKING:
    from mdr_tune.backbones.backbone import Backbone


class BackboneFamily(ABC):
    """Backbones that are found, loaded and made in the same way.

    A sweep file is checked before torch is imported. For the backbones in `names`, that check must import neither torch
    nor the library of the network.

    Attributes:
        names: names of the backbones that messages list.
        others: words that describe `other_names` in messages; empty if there are none.
        has_published_weights: whether trained weights are published; if not, DEFAULT means random weights.
    """

    names: ClassVar[tuple[str, ...]]
    others: ClassVar[str] = ""
    has_published_weights: ClassVar[bool] = True

    def other_names(self) -> Sequence[str]:
        """Return the family's further names. To list them, or to check a network of theirs, may import a library."""
        return ()

    @abstractmethod
    def image_limits(self, name: str, weights: str) -> ImageLimits:
        """Return the shapes of images that a network takes, without making it.

        Args:
            name: Name of a backbone of this family.
            weights: Weights as for `build_backbone`.
        """

    def published_urls(self, name: str) -> dict[str, str]:
        """Return the URLs of the published weights of `name`, by the weights' names; the best also as DEFAULT."""
        return {}

    @abstractmethod
    def make(self, name: str, weights: str) -> "Backbone":
        """Return a network made for `weights`, but with random weights, drawn from torch's global generator."""
