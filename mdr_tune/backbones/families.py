"""The families of backbones, and the function that finds a backbone's family by the backbone's name.

To add a family, write a class for it, here or in a file of its own, and list it in `FAMILIES`.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar

from mdr_tune.backbones.family import BackboneFamily
from mdr_tune.backbones.image_limits import ImageLimits
from mdr_tune.backbones.imported_family import ImportedFamily
from mdr_tune.backbones.timm_family import TimmFamily
from mdr_tune.util.errors import UnknownName
from mdr_tune.util.nearest_name import did_you_mean

if TYPE_CHECKING:
    from mdr_tune.backbones.backbone import Backbone


IDENTITY = "identity"


class Conv4Family(BackboneFamily):
    """The family of Conv4, the small network of the few-shot literature, for grey images."""

    names = ("conv4",)
    has_published_weights = False

    def packaged_weights(self, name: str) -> dict[str, Path]:
        """Return the path of the weights `symbols`, which scripts/train_symbols.py trained on symbols, not letters."""
        return {"symbols": Path(__file__).with_name("conv4_symbols.pth")}

    def image_limits(self, name: str, weights: str, arguments: Mapping[str, Any]) -> ImageLimits:
        """Return the shapes of images that Conv4 takes: only grey images of 32x32 pixels."""
        return ImageLimits(name, in_channels=1, image_size=32, min_image_size=32, fixed_image_size=True)

    def make(self, name: str, weights: str, image_size: int | None, arguments: Mapping[str, Any]) -> "Backbone":
        """Return a Conv4 for grey images."""
        from mdr_tune.backbones.conv4 import Conv4

        return Conv4()


class BNInceptionFamily(BackboneFamily):
    """The family of BN-Inception from the pretrainedmodels project. The authors of MDR start from its weights."""

    names = ("bn_inception",)

    def image_limits(self, name: str, weights: str, arguments: Mapping[str, Any]) -> ImageLimits:
        """Return the image shapes that BN-Inception takes: at least 7x7 pixels, which give maps of 1x1 at its end."""
        return ImageLimits(name, in_channels=3, image_size=224, min_image_size=7)

    def published_urls(self, name: str) -> dict[str, str]:
        """Return the URL of the weights that the authors of MDR use, https://github.com/kakaoenterprise/AAAI2021_MDR.

        The file is the same as the original at http://data.lip6.fr/cadene/pretrainedmodels/.
        """
        url = "https://github.com/anonymous-ai-research/pretrained/raw/master/pretrained/bn_inception-52deb4733.pth"
        return {"IMAGENET1K_V1": url, "DEFAULT": url}

    def make(self, name: str, weights: str, image_size: int | None, arguments: Mapping[str, Any]) -> "Backbone":
        """Return a BN-Inception."""
        from mdr_tune.backbones.bn_inception import BNInception

        return BNInception()


class IdentityFamily(BackboneFamily):
    """No network: the vectors of the data set `features` are the features."""

    names = (IDENTITY,)
    has_published_weights = False

    def image_limits(self, name: str, weights: str, arguments: Mapping[str, Any]) -> ImageLimits:
        """Return limits that allow vectors (1, 1, n) of any length n, since n depends on the data set alone."""
        return ImageLimits(name, in_channels=1, image_size=1, min_image_size=1)

    def make(self, name: str, weights: str, image_size: int | None, arguments: Mapping[str, Any]) -> "Backbone":
        """Return a network that passes on vectors of `image_size` numbers."""
        from mdr_tune.backbones.identity import Identity

        return Identity(image_size or 1)


class TorchvisionFamily(BackboneFamily):
    """The family of all classification models of torchvision. Their names are those in torchvision."""

    _LIMITS: ClassVar = {
        "googlenet": ImageLimits("googlenet", in_channels=3, image_size=224, min_image_size=15),
        "resnet18": ImageLimits("resnet18", in_channels=3, image_size=224, min_image_size=1),
        "resnet50": ImageLimits("resnet50", in_channels=3, image_size=224, min_image_size=1),
    }
    """Image limits that do not depend on a model's weights. The limits of other models come from torchvision."""
    names = tuple(_LIMITS)
    packages = ("torchvision",)
    others = (
        "by torchvision's own names its other classification models "
        "(https://docs.pytorch.org/vision/stable/models.html#classification)"
    )

    def other_names(self) -> Sequence[str]:
        """Return the names of all of torchvision's classification models."""
        from mdr_tune.backbones.torchvision_models import classification_models

        return classification_models()

    def image_limits(self, name: str, weights: str, arguments: Mapping[str, Any]) -> ImageLimits:
        """Return the image shapes that the model `name` takes: from `_LIMITS`, else from its weights' metadata."""
        if name in self._LIMITS:
            return self._LIMITS[name]
        from mdr_tune.backbones.torchvision_models import image_limits

        return image_limits(name, weights)

    def published_urls(self, name: str) -> dict[str, str]:
        """Return the URLs of the weights of the model `name` in torchvision, by the names of the weights."""
        from torchvision.models import get_model_weights

        return {entry: weights.url for entry, weights in get_model_weights(name).__members__.items()}

    def make(self, name: str, weights: str, image_size: int | None, arguments: Mapping[str, Any]) -> "Backbone":
        """Return a model of torchvision without its classification layer."""
        from mdr_tune.backbones.torchvision_models import TorchvisionBackbone

        return TorchvisionBackbone(name, weights)


NONE: Mapping[str, Any] = MappingProxyType({})
"""Default of `arguments`: no arguments for the network."""
FAMILIES: list[BackboneFamily] = [
    ImportedFamily(),
    Conv4Family(),
    BNInceptionFamily(),
    IdentityFamily(),
    TorchvisionFamily(),
    TimmFamily(),
]


def family_of(name: str) -> BackboneFamily:
    """Return the family of the backbone `name`. If there is none, UnknownName is raised and suggests the nearest name.

    torchvision is imported only if `name` is in the `names` of no family, timm only if `name` begins with `timm.` or
    is unknown.
    """
    asked = [
        family for family in FAMILIES if name in family.names or (family.prefix and name.startswith(family.prefix))
    ]
    for family in asked or [family for family in FAMILIES if not family.prefix]:
        if name in family.names or family.has(name):
            return family
        if asked:
            raise UnknownName(f"unknown backbone {name!r}. {family.why_unknown(name)}")
    known = sorted(listed for family in FAMILIES for listed in family.names)
    others = [other for family in FAMILIES for other in family.other_names()]
    more = "".join(f", and {family.others}" for family in FAMILIES if family.others)
    prefixed = [f"{family.prefix}{name}" for family in FAMILIES if f"{family.prefix}{name}" in others]
    hint = did_you_mean(name, prefixed) or did_you_mean(name, [*known, *others])
    raise UnknownName(f"unknown backbone {name!r}.{hint} Known: {', '.join(known)}{more}.")


def check_takes(name: str, weights: str, shape: tuple[int, ...], arguments: Mapping[str, Any] = NONE) -> None:
    """Raise ValueError, which says what would work, if the backbone `name` does not take images of `shape` (C, H, W).

    `Backbone.check_image_shape` makes the same check, but needs the network, which may take gigabytes and many seconds.
    `weights` and `arguments` are as in `build_backbone`. A vision transformer's image size depends on its weights.
    """
    family_of(name).check_takes(name, weights, shape, arguments)
