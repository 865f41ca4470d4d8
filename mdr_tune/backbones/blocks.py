"""Divide a network into blocks: its parts, in order from input to output, that are frozen or trained as a whole."""

from collections.abc import Iterator

from torch import nn

_CONTAINERS = (nn.Sequential, nn.ModuleList)
_LISTS_OF_BLOCKS = ("blocks", "stages")
"""Names under which networks, above all timm's, keep the containers of their blocks."""


def blocks_of(network: nn.Module, opened: tuple[type[nn.Module], ...] = ()) -> list[nn.Module]:
    """Return the blocks of `network`, in the order in which their modules were registered.

    A block is a child of the network. Containers (Sequential, ModuleList) and modules that have a container named
    `blocks` or `stages` are no blocks: their children are. A normalisation layer, and a layer without parameters such
    as a Dropout, is a part of the block before it. If the network has a single child, this child is divided instead.

    Args:
        network: network to divide. It is not changed.
        opened: classes of further modules that are divided into their children.
    """
    blocks: list[list[nn.Module]] = []
    for part in _parts(network, opened, is_whole=True):
        begins = not blocks or (_learns(part) and not _normalizes(part) and any(map(_learns, blocks[-1])))
        blocks += [[part]] if begins else []
        blocks[-1] += [] if begins else [part]
    return [block[0] if len(block) == 1 else nn.ModuleList(block) for block in blocks]


def _parts(module: nn.Module, opened: tuple[type[nn.Module], ...], is_whole: bool = False) -> Iterator[nn.Module]:
    """Yield the parts of `module` that are not divided further. With `is_whole`, divide `module` in any case."""
    children = dict(module.named_children())
    is_opened = type(module) in _CONTAINERS or isinstance(module, opened)
    is_opened |= any(isinstance(children.get(name), _CONTAINERS) for name in _LISTS_OF_BLOCKS)
    if not children or not (is_whole or is_opened):
        yield module
        return
    for child in children.values():
        yield from _parts(child, opened, is_whole and len(children) == 1)


def _learns(module: nn.Module) -> bool:
    return next(module.parameters(), None) is not None


def _normalizes(module: nn.Module) -> bool:
    return "Norm" in type(module).__name__ and not any(map(_learns, module.children()))
