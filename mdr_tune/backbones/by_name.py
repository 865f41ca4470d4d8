"""Make a backbone from its name."""

from mdr_tune.backbones.backbone import Backbone
from mdr_tune.backbones.families import family_of
from mdr_tune.backbones.state_dicts import read_state_dict
from mdr_tune.backbones.weights import fetch_weights


def build_backbone(name: str, weights: str = "none", load: bool = True) -> Backbone:
    """Return a new backbone.

    Args:
        name: Name of a backbone of one of the families in `mdr_tune.backbones.families`.
        weights: `none`: random weights, drawn from torch's global generator. `DEFAULT`: the best published weights, or
            random ones for Conv4, which has none. A name such as `IMAGENET1K_V1`: these published weights. Anything
            else: the path of a file with a state dict.
        load: Whether the weights are loaded. If not, they are random and no file is needed, as for code that loads a
            checkpoint next. Preprocessing and a vision transformer's image size are still those of `weights`.

    Raises:
        UnknownName: `name` is unknown; the message suggests a known one.
        UserError: The weights cannot be had, or do not fit the network; the message says what to do.
    """
    family = family_of(name)
    path = fetch_weights(name, weights) if load else None
    backbone = family.make(name, weights)
    if path is not None:
        backbone.load_file(read_state_dict(path), path)
    return backbone
