"""The family of the backbones of timm, https://github.com/huggingface/pytorch-image-models.

This module imports timm only where a function needs it, because a sweep file is checked before timm is imported.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from mdr_tune.backbones.family import BackboneFamily
from mdr_tune.backbones.image_limits import ImageLimits
from mdr_tune.util.nearest_name import did_you_mean

if TYPE_CHECKING:
    from mdr_tune.backbones.backbone import Backbone


class TimmFamily(BackboneFamily):
    """The family of the models of timm: `timm.` and the model's name, possibly with the tag of its weights.

    Without a tag, the weights and the preprocessing are those of timm's default tag.
    """

    names = ()
    prefix = "timm."
    packages = ("timm",)
    others = "by timm's own names its models, such as timm.vit_small_patch16_224 (https://huggingface.co/timm)"

    def other_names(self) -> Sequence[str]:
        """Return the names of all of timm's models, without a tag and with the tag of published weights."""
        from mdr_tune.backbones.timm_models import known_names

        return known_names()

    def why_unknown(self, name: str) -> str:
        """Return that a model or a tag is unknown, with the nearest known name, and the tags of a known model."""
        from mdr_tune.backbones.timm_models import known_names, tags_of

        model, _, tag = name.removeprefix(self.prefix).partition(".")
        if f"{self.prefix}{model}" not in known_names():
            return f"timm has no model {model!r}.{did_you_mean(name, [*known_names()])} {_LIST}"
        tags = [other for other in tags_of(model) if other]
        full = [f"{self.prefix}{model}.{other}" for other in tags]
        known = f"Its tags: {', '.join(tags)}" if tags else f"It has none: write {self.prefix}{model}"
        return f"timm has no weights {tag!r} of {model}.{did_you_mean(name, full)} {known}"

    def arguments(self, name: str) -> Mapping[str, Any]:
        """Return the arguments of a model that are numbers, texts or booleans, with the defaults of its class."""
        from mdr_tune.backbones.timm_models import arguments_of

        return {key: parameter.default for key, parameter in arguments_of(name).items()}

    def check_arguments(self, name: str, arguments: Mapping[str, Any]) -> None:
        """Raise ValueError if a value of `arguments` has the wrong type, or a rate is not in [0, 1)."""
        from mdr_tune.backbones.timm_models import check_arguments

        check_arguments(name, arguments)

    def image_limits(self, name: str, weights: str, arguments: Mapping[str, Any]) -> ImageLimits:
        """Return the shapes of images that a model takes: it is tried without memory (torch's meta device)."""
        from mdr_tune.backbones.timm_models import image_limits

        return image_limits(name, weights, arguments)

    def published_urls(self, name: str) -> dict[str, str]:
        """Return the URL of the weights of the model `name`, mostly in a repository of https://huggingface.co/timm."""
        from mdr_tune.backbones.timm_models import published_url

        url = published_url(name)
        return {} if url is None else {"DEFAULT": url}

    def describe_weights(self, name: str) -> str:
        """Return the name of the model with the tag of its weights."""
        from mdr_tune.backbones.timm_models import name_with_tag

        return name_with_tag(name)

    def usual_images(self, name: str) -> str:
        """Return the filter, the size and the share of the image that the weights' configuration asks for."""
        from mdr_tune.backbones.timm_models import usual_images

        return usual_images(name)

    def own_images(self, name: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """Return the size and the part that is cut out of timm's configuration of the model `name`."""
        from mdr_tune.backbones.timm_models import own_images

        return own_images(name)

    def draws_by_known_layers(self) -> bool:
        """Return False: some of timm's models draw in ways of their own."""
        return False

    def make(self, name: str, weights: str, image_size: int | None, arguments: Mapping[str, Any]) -> "Backbone":
        """Return a model of timm without its classification layer, made for images of `image_size`."""
        from mdr_tune.backbones.timm_models import TimmBackbone

        return TimmBackbone(name, image_size, arguments)


_LIST = "All names: python -c 'import timm; print(*timm.list_models(), sep=\"\\n\")'"
