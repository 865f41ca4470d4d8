"""Cross-batch memory (XBM): the embeddings of the last images that were trained on, to compare a batch with.

Source: Wang et al., "Cross-Batch Memory for Embedding Learning", CVPR 2020.
"""

from typing import Any

import torch
from torch import Tensor, nn

from mdr_tune.metric.batch_labels import Labels, known_labels
from mdr_tune.metric.embedding import EmbeddingMode, apply_batch_mode


class CrossBatchMemory(nn.Module):
    """A queue of the last embeddings and their classes, which is saved in the state dict.

    Every rank adds the whole global batch, gathered from all ranks, so that the memories of all ranks are equal. The
    labels are on the CPU, so that pairs can be found without a wait for a GPU.

    Args:
        size: greatest number M of embeddings.
        embedding_size: length D of an embedding.
        most: number of embeddings that will be added at most. There is room for min(M, most). None: more than M.
    """

    embeddings: Tensor
    """Buffer (min(M, most), D). The raw embeddings are in the last rows, the oldest first; unused rows are 0."""

    def __init__(self, size: int, embedding_size: int, most: int | None = None) -> None:
        super().__init__()
        self.size = size
        rows = size if most is None else min(size, most)
        self.register_buffer("embeddings", torch.zeros(rows, embedding_size))
        self.labels = torch.zeros(rows, dtype=torch.int64)
        self.filled = 0
        """Number of embeddings in the memory."""

    @torch.no_grad()
    def add(self, embeddings: Tensor, labels: Labels) -> None:
        """Add a batch of raw `embeddings` (N, D) with their `labels`, and drop the oldest ones if there is no room.

        N must not exceed the room. The old tensors stay unchanged, since a backward pass may still need them.
        """
        count, size = len(embeddings), len(self.labels)
        on_cpu = known_labels(labels, embeddings.device).on_cpu.cpu()
        self.embeddings = torch.cat([self.embeddings[count:], embeddings.to(self.embeddings.dtype)])
        self.labels = torch.cat([self.labels[count:], on_cpu])
        self.filled = min(self.filled + count, size)

    def recall(self, embeddings: Tensor, mode: EmbeddingMode) -> tuple[Tensor, Tensor]:
        """Return the m embeddings in the memory, (m, D), the oldest first, and their classes (m,), on the CPU.

        `mode` transforms the returned embeddings as `apply_batch_mode` transforms the batch `embeddings` (N, D): with
        `rescale`, it divides them by the batch's mean distance. No gradient flows through them or this mean distance.
        """
        first = len(self.labels) - self.filled
        return apply_batch_mode(self.embeddings[first:], embeddings, mode), self.labels[first:]

    @property
    def share_filled(self) -> float:
        """Share of the memory that holds embeddings, in percent."""
        return 100 * self.filled / self.size

    def get_extra_state(self) -> dict[str, Any]:
        """Return the labels and the fill level, which the state dict holds in addition to the embeddings."""
        return {"labels": self.labels, "filled": self.filled}

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *arguments: Any) -> None:
        """Load a state of a memory, which may have room for more embeddings than this memory, or for fewer."""
        saved: Tensor | None = state_dict.get(f"{prefix}embeddings")
        if saved is not None and len(saved) != len(self.embeddings):
            state_dict[f"{prefix}embeddings"] = _last_rows(saved, len(self.embeddings))
        super()._load_from_state_dict(state_dict, prefix, *arguments)

    def set_extra_state(self, state: dict[str, Any]) -> None:
        """Restore the labels and the fill level in `state`, the result of `get_extra_state`."""
        self.labels = _last_rows(state["labels"].cpu(), len(self.labels))
        self.filled = min(state["filled"], len(self.labels))

    def extra_repr(self) -> str:
        """Return the arguments, for `print(module)`."""
        return f"size={self.size}"


def _last_rows(tensor: Tensor, count: int) -> Tensor:
    """Return the last `count` rows of `tensor`, after rows of zeros if it has fewer."""
    missing = count - len(tensor)
    return torch.cat([tensor.new_zeros(missing, *tensor.shape[1:]), tensor]) if missing > 0 else tensor[-missing:]
