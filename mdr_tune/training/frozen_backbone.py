"""Leave a frozen backbone out of checkpoints, and make it again from its weights or seed when one is loaded."""

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import nn

from mdr_tune.config.trial import TrialConfig
from mdr_tune.data.seeding import derive_seed
from mdr_tune.training.model import EmbeddingModel
from mdr_tune.util.errors import UserError
from mdr_tune.util.import_path import is_import_path

FROZEN = "frozen_backbone"
"""Key of a state that has no backbone. Its value has the attributes of `BackboneRecipe`."""
_PREFIX = "backbone."


@dataclass(frozen=True)
class BackboneRecipe:
    """All that is needed to make a frozen backbone again, and to check its weights.

    Attributes:
        trial: Configuration of the trial that made the backbone. Its seed and `backbone` are used.
        image_size: Height and width of the images, in pixels.
        fingerprint: Hash of the backbone's weights, from the function `fingerprint`.
        torch_version: Version of PyTorch that made the backbone.
    """

    trial: dict[str, Any]
    image_size: int
    fingerprint: str
    torch_version: str

    @classmethod
    def of(cls, model: EmbeddingModel, config: TrialConfig, image_size: int) -> "BackboneRecipe | None":
        """Return the recipe of the backbone of `model`, which was just made; None if checkpoints have to keep it."""
        if not leaves_out(config) or not model.backbone.state_dict():
            return None
        return cls(config.model_dump(), image_size, fingerprint(model.backbone), str(torch.__version__))

    def make(self) -> dict[str, torch.Tensor]:
        """Make the backbone again, and return its part of the state dict of an `EmbeddingModel`.

        Raises:
            UserError: The weights cannot be obtained, or have changed.
        """
        config = TrialConfig.model_validate(self.trial)
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(derive_seed("model", config.seed))
            model = EmbeddingModel.from_config(config, image_size=self.image_size)
        if fingerprint(model.backbone) != self.fingerprint:
            raise UserError(self._what_changed(config))
        return _backbone_of(model)

    def _what_changed(self, config: TrialConfig) -> str:
        name, weights = config.backbone.name, config.backbone.weights
        if config.backbone.takes_published_weights:
            what, fix = f"the published weights {weights}", "use the versions of the libraries that it was trained with"
        else:
            what, fix = f"the weights in {weights}", "put back the file that it was trained with"
        versions = (
            f" (PyTorch {self.torch_version} then, {torch.__version__} now)"
            if self.torch_version != torch.__version__
            else ""
        )
        return (
            f"backbone: {what} of {name} are not those that this checkpoint was trained with{versions}. It does not "
            f"hold the frozen network itself: {fix}"
        )


def leaves_out(config: TrialConfig) -> bool:
    """Return whether checkpoints of a trial with `config` leave out the backbone.

    They do if the backbone is frozen in all epochs and its weights are published or a file. They keep networks made by
    the user's code, which may change, and random weights, which may differ between kinds of processors.
    """
    backbone = config.backbone
    return backbone.train == "none" and backbone.pretrained and not is_import_path(backbone.name)


def state_of(model: EmbeddingModel, recipe: BackboneRecipe | None) -> dict[str, Any]:
    """Return the entries of a checkpoint that hold `model`, without the backbone if there is a `recipe` for it."""
    state = model.state_dict()
    if recipe is None:
        return {"model": state}
    return {"model": {key: value for key, value in state.items() if not _is_backbone(key)}, FROZEN: asdict(recipe)}


def load_model_state(
    model: EmbeddingModel, state: Mapping[str, Any], recipe: BackboneRecipe | None = None
) -> BackboneRecipe | None:
    """Load the weights in the checkpoint `state`, which `state_of` put there, into `model`.

    `recipe` is that of the backbone that `model` has before; None if it is not known.

    Returns:
        The recipe of the backbone that `model` has afterwards; None if it is not known.

    Raises:
        UserError: The state leaves out the backbone, whose weights cannot be obtained or have changed.
        RuntimeError: Shapes differ, because the state is that of another model.
    """
    if FROZEN not in state:
        model.load_state_dict(state["model"])
        is_same = recipe is not None and fingerprint(model.backbone) == recipe.fingerprint
        return recipe if is_same else None
    found = BackboneRecipe(**state[FROZEN])
    is_there = recipe is not None and recipe.fingerprint == found.fingerprint
    model.load_state_dict({**(_backbone_of(model) if is_there else found.make()), **state["model"]})
    return found


def fingerprint(backbone: nn.Module) -> str:
    """Return a hash of the names and values in the state dict of `backbone`."""
    digest = hashlib.blake2b(digest_size=16)
    for name, tensor in sorted(backbone.state_dict().items()):
        numbers = tensor.detach().cpu().contiguous().reshape(-1)  # odd strides of a dimension of size 1 forbid a view
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(numbers.view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _backbone_of(model: EmbeddingModel) -> dict[str, torch.Tensor]:
    return {key: value for key, value in model.state_dict().items() if _is_backbone(key)}


def _is_backbone(key: str) -> bool:
    return key.startswith(_PREFIX)
