"""Make a backbone from its name, and load its weights."""

from collections.abc import Mapping
from typing import Any

from mdr_tune.backbones.backbone import Backbone
from mdr_tune.backbones.families import NONE, family_of
from mdr_tune.backbones.state_dicts import read_state_dict
from mdr_tune.backbones.weights import fetch_weights


def build_backbone(
    name: str,
    weights: str = "none",
    load: bool = True,
    image_size: int | None = None,
    arguments: Mapping[str, Any] = NONE,
) -> Backbone:
    """Return a new backbone with the given weights.

    Args:
        name: Name of a backbone of one of the families in `mdr_tune.backbones.families`.
        weights: `none` stands for random weights, drawn from torch's global generator. `DEFAULT` stands for the best
            published weights. If a backbone has no published weights (Conv4), it stands for random ones. A name such as
            `IMAGENET1K_V1` stands for the published weights of this name. Any other text is the path of a file with a
            state dict.
        load: Whether the weights are loaded. If not, the network has random weights and no file is needed. Code that
            loads a checkpoint next uses this. Preprocessing and a vision transformer's image size still follow
            `weights`.
        image_size: Height and width of the images, for networks that are made for one size; None: the usual size.
        arguments: Arguments of the network by name.

    Raises:
        UnknownName: `name` is unknown; the message suggests a known one.
        UserError: The weights cannot be found or downloaded, or do not fit the network; the message says what to do.
    """
    family = family_of(name)
    path = fetch_weights(name, weights) if load else None
    backbone = family.make(name, weights, image_size, arguments)
    if path is not None:
        backbone.load_file(read_state_dict(path), path)
    return backbone
