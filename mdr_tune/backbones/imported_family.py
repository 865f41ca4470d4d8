"""The family of the user's own networks, which a sweep file names by import paths such as `my_models:make_encoder`."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from mdr_tune.backbones.family import NORMALIZATION_KEYS, BackboneFamily
from mdr_tune.backbones.image_limits import ImageLimits
from mdr_tune.util.call_arguments import ArgumentProblem, call_arguments
from mdr_tune.util.import_path import CodeError, import_named, is_import_path

if TYPE_CHECKING:
    from mdr_tune.backbones.backbone import Backbone


class ImportedFamily(BackboneFamily):
    """The user's own networks: functions or classes that give a `torch.nn.Module`, found by their import paths."""

    names = ()
    packages = ("timm", "torchvision")  # which the user's code may use
    others: ClassVar[str] = "by an import path such as my_models:make_encoder your own"
    has_published_weights = False

    def has(self, name: str) -> bool:
        """Return whether `name` is an import path; CodeError if it does not lead to a class or function."""
        if not is_import_path(name):
            return False
        import_named(name)
        return True

    def arguments(self, name: str) -> Mapping[str, Any]:
        """Return the arguments of the class or function `name` with their defaults, and `NORMALIZATION_KEYS`."""
        return {**dict.fromkeys(NORMALIZATION_KEYS), **call_arguments(import_named(name)).defaults}

    def takes_any(self, name: str) -> bool:
        """Return whether the function `name` also takes arguments that its signature does not list."""
        return call_arguments(import_named(name)).takes_any

    def check_arguments(self, name: str, arguments: Mapping[str, Any]) -> None:
        """Raise ValueError, whose text begins with the key, if a value does not fit, or the network cannot be made."""
        from mdr_tune.backbones.imported_network import facts, normalization_problem

        if problem := normalization_problem(arguments):
            raise ValueError(problem)
        try:
            facts(name, arguments)
        except ArgumentProblem as error:
            raise ValueError(f"{error.key}: {error}") from None
        except CodeError as error:
            raise ValueError(f"name: {error}") from None

    def is_trained(self, name: str, weights: str, arguments: Mapping[str, Any]) -> bool:
        """Return whether the network has trained weights: from a file, or its own, if its BatchNorm has statistics."""
        from mdr_tune.backbones.imported_network import facts

        return weights not in ("none", "DEFAULT") or facts(name, arguments).is_trained

    def image_limits(self, name: str, weights: str, arguments: Mapping[str, Any]) -> ImageLimits:
        """Return limits that allow RGB or grey images of any size. `check_takes` then runs the network."""
        from mdr_tune.backbones.imported_network import USUAL_SIZE, facts

        return ImageLimits(name, 3, facts(name, arguments).image_size or USUAL_SIZE, 1)

    def check_takes(self, name: str, weights: str, shape: tuple[int, ...], arguments: Mapping[str, Any]) -> None:
        """Raise ValueError unless a trial run of the network on images of `shape` gives finite features."""
        from mdr_tune.backbones.imported_network import try_network

        super().check_takes(name, weights, shape, arguments)
        try_network(name, arguments, shape[-1])

    def why_untrainable(self, name: str, shape: tuple[int, ...], arguments: Mapping[str, Any], has_head: bool) -> str:
        """Return why the network cannot be trained, as a trial run found; empty if parameters got gradients."""
        from mdr_tune.backbones.imported_network import why_untrainable

        return why_untrainable(name, arguments, shape[-1], has_head)

    def own_images(self, name: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """Return the `image_size` that the network has as an attribute."""
        from mdr_tune.backbones.imported_network import facts

        size = facts(name, arguments).image_size
        return {} if size is None else {"image_size": size}

    def draws_by_known_layers(self) -> bool:
        """Return False: the user's code may draw in any way."""
        return False

    def make(self, name: str, weights: str, image_size: int | None, arguments: Mapping[str, Any]) -> "Backbone":
        """Return the user's network in an adapter. The length of its features is found out by a trial run."""
        from mdr_tune.backbones.imported_network import ImportedBackbone

        return ImportedBackbone(name, arguments, image_size)

    def notes(self, name: str, weights: str, shape: tuple[int, ...], arguments: Mapping[str, Any]) -> Sequence[str]:
        """Return sentences for the plan: which weights and which normalisation the network has."""
        from mdr_tune.backbones.imported_network import plan_notes

        return plan_notes(name, weights, shape[-1], arguments)
