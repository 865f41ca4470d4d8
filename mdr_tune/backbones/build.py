"""From a backbone's name to the network."""

from mdr_tune.backbones.base import Backbone
from mdr_tune.backbones.families import family_of
from mdr_tune.backbones.state_dicts import read_state_dict
from mdr_tune.backbones.weights import fetch_weights


def build_backbone(name: str, weights: str = "none", load: bool = True) -> Backbone:
    """Return a new backbone.

    Args:
        name: One that a family of `mdr_tune.backbones.families` has.
        weights: `none`: drawn from torch's global generator. `DEFAULT`: the best published ones (Conv4 has none, and
            they are drawn). The name of published ones such as `IMAGENET1K_V1`. Else the path of a file with a state
            dict.
        load: False draws them whatever `weights` are, but makes the network for these: their preprocessing and a vision
            transformer's image size. For what loads a checkpoint next; no file is needed.

    Raises:
        UserError: `name` is unknown, and the message suggests one (an `UnknownName`); or the weights cannot be had or
            do not fit the network, and the message says what to do.
    """
    family = family_of(name)
    path = fetch_weights(name, weights) if load else None
    backbone = family.make(name, weights)
    if path is not None:
        backbone.load_file(read_state_dict(path), path)
    return backbone
