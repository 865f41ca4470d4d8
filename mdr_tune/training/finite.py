"""Check that embeddings and losses are finite: at each step on a CPU, at the end of an epoch on a GPU."""

import math

import torch


class TrialDiverged(RuntimeError):  # noqa: N818 - an outcome of a trial more than an error of the program
    """A trial's embeddings or losses stopped being finite, or its embeddings collapsed. The message is one sentence."""


class FiniteNumbers:
    """End a trial whose embeddings or loss are not finite. The error names the first such step of `epoch`, from 1.

    On a CPU the trial ends at that step. On a GPU, a check in each step would make the CPU wait for the GPU each time.
    The numbers are therefore kept, and checked at the end of the epoch; the error is the same. Until then, if a batch
    has embeddings that are not all finite, the losses get zeros in place of the batch. Otherwise a kernel that turns
    NaN into an index might end the process's whole CUDA context. The weights and averages that result from the rest of
    such an epoch are of no use.
    """

    def __init__(self, epoch: int) -> None:
        self._epoch = epoch
        self._seen: list[torch.Tensor] = []  # two scalars a step: 0, or NaN if an embedding is not finite; and the loss

    def embeddings(self, embeddings: torch.Tensor, step: int) -> torch.Tensor:
        """Check the `embeddings` (N, D) of a `step`, from 0; return the embeddings to compute the losses with.

        On a CPU, raise TrialDiverged if they are not finite. On a GPU, `end_epoch` does that.
        """
        if embeddings.device.type == "cpu":
            if not bool(torch.isfinite(embeddings).all()):
                raise self._diverged(2 * step)
            return embeddings
        finite = (embeddings.detach() * 0).sum()
        self._seen.append(finite)
        return embeddings.masked_fill(finite != 0, 0.0)

    def loss(self, loss: torch.Tensor, step: int) -> None:
        """Check the `loss` () of a `step`, for which `embeddings` was called before.

        On a CPU, raise TrialDiverged if it is not finite. On a GPU, `end_epoch` does that.
        """
        if loss.device.type != "cpu":
            self._seen.append(loss.detach())
        elif not math.isfinite(loss.detach()):
            raise self._diverged(2 * step + 1)

    def end_epoch(self) -> None:
        """Raise TrialDiverged if an embedding or a loss that was on a GPU during the epoch is not finite."""
        if not self._seen:
            return
        for number, value in enumerate(torch.stack(self._seen).tolist()):
            if not math.isfinite(value):
                raise self._diverged(number)

    def _diverged(self, number: int) -> TrialDiverged:
        step, is_loss = divmod(number, 2)
        what = "the loss" if is_loss else "an embedding"
        return TrialDiverged(f"{what} is not finite in epoch {self._epoch}, step {step + 1}")
