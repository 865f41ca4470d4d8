"""What a family of backbones declares: names, images, published weights, and how a network is made."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

from mdr_tune.backbones.image_limits import ImageLimits

if TYPE_CHECKING:
    from mdr_tune.backbones.base import Backbone


class BackboneFamily(ABC):
    """Backbones that are found, loaded and made in one way.

    A sweep file is checked before torch is imported. So what is asked of `names` needs neither torch nor the library
    that a network is of.

    Attributes:
        names: names that messages list.
        others: what messages say of `other_names`, if there are any.
        has_published_weights: whether somebody publishes trained weights; without them DEFAULT means none.
    """

    names: ClassVar[tuple[str, ...]]
    others: ClassVar[str] = ""
    has_published_weights: ClassVar[bool] = True

    def other_names(self) -> Sequence[str]:
        """Return the names beside `names`, for which a library is imported."""
        return ()

    @abstractmethod
    def image_limits(self, name: str, weights: str) -> ImageLimits:
        """Return which images a network takes, without making it.

        Args:
            name: One of the family's names.
            weights: As of `build_backbone`.
        """

    def published_urls(self, name: str) -> dict[str, str]:
        """Return where the published weights of `name` are, by their names; the best ones also as DEFAULT."""
        return {}

    @abstractmethod
    def make(self, name: str, weights: str) -> "Backbone":
        """Return a network for these weights, without loading them. Its own are drawn from torch's global generator."""
