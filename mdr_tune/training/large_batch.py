"""Embed a batch in chunks, with the gradients of the whole batch: its memory is that of one chunk.

Two passes, as GradCache does (Gao et al., "Scaling Deep Contrastive Learning Batch Size under Memory Limited Setup",
2021): the first embeds all chunks without a graph; the loss of the whole batch gives the gradient of each embedding;
the second embeds each chunk again, with a graph, and sends its embeddings' gradient through it. Nothing is
approximated, as long as an image's embedding depends on that image alone: BatchNorm frozen, and what is dropped at
random drawn by image (`global_draws`).
"""

import contextlib
from collections.abc import Callable

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel


def embed_in_chunks(
    model: nn.Module, embed: Callable[[slice], torch.Tensor], num_images: int, chunk_size: int
) -> tuple[torch.Tensor, Callable[[], None]]:
    """Embed images without keeping a graph; returns the embeddings and the second pass.

    Args:
        model: What `embed` calls; if it is DDP, the ranks' gradients are averaged once, in the last chunk.
        embed: From which of the images to their embeddings (c, D); called twice a chunk, it must do the same twice.
        num_images: n.
        chunk_size: c, at least 1.

    Returns:
        (n, D), a leaf that wants a gradient, and a function to call when it has one: it adds the gradients of the
        model's parameters.
    """
    chunks = [slice(start, min(start + chunk_size, num_images)) for start in range(0, num_images, chunk_size)]
    with torch.no_grad():
        embeddings = torch.cat([embed(chunk) for chunk in chunks])
    embeddings.requires_grad_(True)

    def second_pass() -> None:
        assert embeddings.grad is not None
        for chunk in chunks:
            wait = isinstance(model, DistributedDataParallel) and chunk is not chunks[-1]
            with model.no_sync() if wait else contextlib.nullcontext():  # type: ignore[operator]
                embed(chunk).backward(embeddings.grad[chunk])

    return embeddings, second_pass
