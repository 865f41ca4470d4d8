"""Decide which parts of a backbone are trained, and divide its parameters by blocks for their learning rates."""

from torch import nn

from mdr_tune.backbones import Backbone
from mdr_tune.config.trial import BackboneConfig, LastBlocks
from mdr_tune.util.errors import UserError


def frozen_blocks(backbone: Backbone, train: str | LastBlocks) -> int:
    """Return the number of blocks, from the input of `backbone` on, that `backbone.train` of a sweep file freezes.

    Raises:
        UserError: There are fewer blocks than `train` asks for. The message begins with the key.
    """
    count = len(backbone.list_blocks())
    if not isinstance(train, LastBlocks):
        return 0 if train == "all" else count
    if train.last_blocks > count:
        raise UserError(
            f"backbone.train: last_blocks {train.last_blocks}, but {backbone.name} has {count} blocks: write at most "
            f"{count}, or train: all"
        )
    return count - train.last_blocks


def freeze(backbone: Backbone, config: BackboneConfig) -> list[nn.Module]:
    """Turn off the gradients of the parts of `backbone` that `config` never trains, and return the frozen modules.

    If the whole backbone is frozen, it is the only module that is returned. Errors are those of `frozen_blocks`.
    """
    if config.train == "all":
        return []
    if config.train == "none":
        backbone.requires_grad_(False)
        return [backbone]
    frozen = frozen_blocks(backbone, config.train)
    for parameter, block in block_of_parameters(backbone).items():
        if block < frozen:
            parameter.requires_grad_(False)
    return backbone.list_blocks()[:frozen]


def freeze_idle(backbone: Backbone) -> None:
    """Turn off the gradients of the `idle_parameters` of `backbone`, since DDP would wait for these gradients."""
    for name in backbone.idle_parameters:
        backbone.get_parameter(name).requires_grad_(False)


def block_of_parameters(backbone: Backbone) -> dict[nn.Parameter, int]:
    """Return the index of the block of each parameter of `backbone`, in the parameters' order.

    A parameter outside of all blocks belongs to the block of the parameter before it, or to the first block.
    """
    inside = {
        parameter: number for number, block in enumerate(backbone.list_blocks()) for parameter in block.parameters()
    }
    found, last = dict[nn.Parameter, int](), 0
    for parameter in backbone.parameters():
        last = found[parameter] = inside.get(parameter, last)
    return found


def by_block(backbone: Backbone) -> list[tuple[list[nn.Parameter], int]]:
    """Return the trained parameters of each block of `backbone`, with the number of blocks that come after the block.

    The order is from input to output. Blocks without trained parameters are left out.
    """
    count = len(backbone.list_blocks())
    groups: dict[int, list[nn.Parameter]] = {}
    for parameter, block in block_of_parameters(backbone).items():
        if parameter.requires_grad:
            groups.setdefault(block, []).append(parameter)
    return [(groups[block], count - 1 - block) for block in sorted(groups)]
