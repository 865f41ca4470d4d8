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
        name: name of a backbone of one of the families in `mdr_tune.backbones.families`.
        weights: `none` stands for random weights, drawn from torch's global generator. `DEFAULT` stands for the best
            published weights, or for random ones if there are none (Conv4). A name such as `IMAGENET1K_V1` stands for
            these published weights. Any other text is the path of a file with a state dict.
        load: whether the weights are loaded. If not, the network has random weights and needs no file, for a caller
            that loads a checkpoint next. Preprocessing and a vision transformer's image size still follow `weights`.
        image_size: height and width of the images, for networks that are made for one size; None: the usual size.
        arguments: further arguments of the network, by name, such as `drop_rate`.

    Raises:
        UnknownName: `name` is unknown; the message suggests a known one.
        UserError: the weights cannot be found or downloaded, or do not fit the network; the message says what to do.
    """
    family = family_of(name)
    path = fetch_weights(name, weights) if load else None
    backbone = family.make(name, weights, image_size, arguments)
    if path is not None:
        backbone.load_file(read_state_dict(path), path)
    return backbone
