"""The base class of the families of backbones.

A family knows the names of its backbones, their image sizes and published weights, and makes a backbone from its name.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from mdr_tune.backbones.image_limits import ImageLimits

if TYPE_CHECKING:
    from mdr_tune.backbones.backbone import Backbone

NORMALIZATION_KEYS = ("input_mean", "input_std")
"""Keys of the section `backbone` that say how images are normalised, where the user's own network does not say it."""


class BackboneFamily(ABC):
    """A family of backbones: networks that are made and loaded in the same way.

    A sweep file is checked before torch is imported. For the backbones in `names`, this check must import neither torch
    nor the library that has the network.

    Attributes:
        names: names of the family's main backbones, which messages list.
        others: words that describe `other_names` in messages; empty if there are no other names.
        prefix: text that all names of the family begin with, and no name of another family; empty if there is none.
        packages: installed packages, beside torch, whose versions a network's numbers may depend on.
        has_published_weights: whether trained weights are published. If not, DEFAULT stands for random weights.
    """

    names: ClassVar[tuple[str, ...]]
    others: ClassVar[str] = ""
    prefix: ClassVar[str] = ""
    packages: ClassVar[tuple[str, ...]] = ()
    has_published_weights: ClassVar[bool] = True

    def other_names(self) -> Sequence[str]:
        """Return the names of the family's backbones that are not in `names`. This may import a library."""
        return ()

    def why_unknown(self, name: str) -> str:
        """Return what is wrong with `name`, which begins with `prefix` but is not known, and what to write instead."""
        return ""

    def has(self, name: str) -> bool:
        """Return whether `name` is a backbone of this family that is not in `names`. This may import a library."""
        return name in self.other_names()

    def arguments(self, name: str) -> Mapping[str, Any]:
        """Return the arguments of the backbone `name` that a sweep file may give, with their defaults."""
        return {}

    def takes_any(self, name: str) -> bool:
        """Return whether the backbone `name` also takes arguments that `arguments` does not list."""
        return False

    def check_arguments(self, name: str, arguments: Mapping[str, Any]) -> None:
        """Raise ValueError if the backbone `name` does not take the values of `arguments`, whose keys are known.

        The message begins with the key: `drop_rate: expected a number from 0 to 1, got 2`.
        """
        return

    @abstractmethod
    def image_limits(self, name: str, weights: str, arguments: Mapping[str, Any]) -> ImageLimits:
        """Return the shapes of images that the backbone `name` takes with `weights`, without making its network.

        `weights` and `arguments` are in the form that `build_backbone` takes.
        """

    def check_takes(self, name: str, weights: str, shape: tuple[int, ...], arguments: Mapping[str, Any]) -> None:
        """Raise ValueError, which says what would work, if the backbone `name` takes no images of `shape` (C, H, W)."""
        self.image_limits(name, weights, arguments).check(shape)

    def why_untrainable(self, name: str, shape: tuple[int, ...], arguments: Mapping[str, Any], has_head: bool) -> str:
        """Return why the backbone `name` cannot be trained on images of `shape` (C, H, W); empty if it can.

        `has_head` says whether the layers behind the backbone have parameters.
        """
        return ""

    def is_trained(self, name: str, weights: str, arguments: Mapping[str, Any]) -> bool:
        """Return whether the backbone `name` starts from trained weights."""
        return weights != "none" and (weights != "DEFAULT" or self.has_published_weights)

    def notes(self, name: str, weights: str, shape: tuple[int, ...], arguments: Mapping[str, Any]) -> Sequence[str]:
        """Return sentences for the plan on the backbone `name` for images of `shape` (C, H, W)."""
        return ()

    def published_urls(self, name: str) -> dict[str, str]:
        """Return the URLs of the weights that are published for the backbone `name`, by their names and `DEFAULT`."""
        return {}

    def packaged_weights(self, name: str) -> Mapping[str, Path]:
        """Return the files of weights of the backbone `name` that come with this package, by the weights' names."""
        return {}

    def describe_weights(self, name: str) -> str:
        """Return the name under which the DEFAULT weights of the backbone `name` are published."""
        urls = self.published_urls(name)
        return next((entry for entry, url in urls.items() if url == urls["DEFAULT"]), "DEFAULT")

    def usual_images(self, name: str) -> str:
        """Return how images were resized for the weights of the backbone `name`, if not as in this project; else ``."""
        return ""

    def own_images(self, name: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """Return the keys of a data set that give the images which the backbone `name` says it was made for.

        They are among `image_size` and `resize`; none if the backbone does not say it.
        """
        return {}

    def draws_by_known_layers(self) -> bool:
        """Return whether all layers that draw at random are known, so that their draws are made for the global batch.

        If not, each network is looked at when it is used.
        """
        return True

    @abstractmethod
    def make(self, name: str, weights: str, image_size: int | None, arguments: Mapping[str, Any]) -> "Backbone":
        """Return the network `name`, into which `weights` can be loaded. It has random weights so far.

        A network that is made for one size of images is made for `image_size`; None: its usual size.
        """
