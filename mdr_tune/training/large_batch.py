"""Embed a batch in chunks, with the gradients of the whole batch: its memory is that of one chunk.

Two passes, as GradCache does (Gao et al., "Scaling Deep Contrastive Learning Batch Size under Memory Limited Setup",
2021): the first embeds all chunks without a graph; the loss of the whole batch gives the gradient of each embedding;
the second embeds each chunk again, with a graph, and sends its embeddings' gradient through it. Nothing is
approximated, as long as an image's embedding depends on that image alone (BatchNorm frozen).
"""

import contextlib
from collections.abc import Callable

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel


def embed_in_chunks(
    model: nn.Module, embed: Callable[[torch.Tensor], torch.Tensor], images: torch.Tensor, chunk_size: int, seed: int
) -> tuple[torch.Tensor, Callable[[], None]]:
    """Embed images without keeping a graph; returns the embeddings and the second pass.

    Args:
        model: What `embed` calls; if it is DDP, the ranks' gradients are averaged once, in the last chunk.
        embed: Images (c, C, H, W) to embeddings (c, D).
        images: (n, C, H, W).
        chunk_size: c, at least 1.
        seed: Of what a chunk's forward draws at random (dropout), so that both passes draw alike.

    Returns:
        (n, D), a leaf that wants a gradient, and a function to call when it has one: it adds the gradients of the
        model's parameters.
    """
    chunks = images.split(chunk_size)
    with torch.no_grad():
        embeddings = torch.cat([_embed(embed, chunk, seed + i) for i, chunk in enumerate(chunks)])
    embeddings.requires_grad_(True)

    def second_pass() -> None:
        assert embeddings.grad is not None
        for i, (chunk, gradient) in enumerate(zip(chunks, embeddings.grad.split(chunk_size), strict=True)):
            is_last = i == len(chunks) - 1
            wait = isinstance(model, DistributedDataParallel) and not is_last
            with model.no_sync() if wait else contextlib.nullcontext():  # type: ignore[operator]
                _embed(embed, chunk, seed + i).backward(gradient)

    return embeddings, second_pass


def _embed(embed: Callable[[torch.Tensor], torch.Tensor], chunk: torch.Tensor, seed: int) -> torch.Tensor:
    torch.manual_seed(seed)
    return embed(chunk)
