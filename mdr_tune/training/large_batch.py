"""Embed a batch in chunks, with the gradients of the whole batch but the memory of one chunk.

The first pass embeds all chunks without an autograd graph. The loss of the whole batch then gives the gradient of each
embedding. The second pass embeds each chunk again, with a graph, and propagates the gradient of its embeddings through
the graph. Nothing is approximated as long as an image's embedding depends on that image alone: BatchNorm has to be
frozen, and dropout has to be drawn for each image by itself (see `global_draws`).
Source: GradCache, Gao et al., "Scaling Deep Contrastive Learning Batch Size under Memory Limited Setup", 2021.
"""

import contextlib
from collections.abc import Callable

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel


def embed_in_chunks(
    model: nn.Module, embed: Callable[[slice], torch.Tensor], num_images: int, chunk_size: int
) -> tuple[torch.Tensor, Callable[[], None]]:
    """Return the embeddings (n, D) of `num_images` images, and a function that makes the second pass.

    The embeddings are a leaf tensor that requires a gradient. Call the function when they have their gradient: it adds
    to the gradients of the parameters of `model`. DDP averages the ranks' gradients once, in the last chunk.

    Args:
        model: The model that `embed` calls.
        embed: Function from a slice of the images to their embeddings (c, D). It is called twice for each chunk, and
            must return the same both times.
        num_images: Number of images, n.
        chunk_size: Number of images in a chunk, c, at least 1.
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
