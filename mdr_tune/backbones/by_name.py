"""Make a backbone from its name, and load its weights."""

from mdr_tune.backbones.backbone import Backbone
from mdr_tune.backbones.families import family_of
from mdr_tune.backbones.state_dicts import read_state_dict
from mdr_tune.backbones.weights import fetch_weights


def build_backbone(name: str, weights: str = "none", load: bool = True) -> Backbone:
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

    Raises:
        UnknownName: `name` is unknown; the message suggests a known one.
        UserError: The weights cannot be found or downloaded, or do not fit the network; the message says what to do.
    """
    family = family_of(name)
    path = fetch_weights(name, weights) if load else None
    backbone = family.make(name, weights)
    if path is not None:
        backbone.load_file(read_state_dict(path), path)
    return backbone
