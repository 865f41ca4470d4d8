"""Whether embeddings and losses are finite numbers: asked at each step on a CPU, at the end of an epoch on a GPU."""

import math

import torch


class TrialDiverged(RuntimeError):  # noqa: N818 - an outcome of a trial more than an error of the program
    """Embeddings or losses stopped being finite numbers, or all embeddings became one. The text is one sentence."""


class FiniteNumbers:
    """Ends a trial at the first step of an epoch whose embeddings or loss are not finite.

    On a CPU it ends there. To look at a number on a GPU would be to wait for the GPU, in each step. There, what is seen
    is kept, and looked at when the epoch is over; the sentence is the same. Until then the losses are given zeros for
    embeddings that are not finite, as a kernel that makes an index of NaN may end the process's whole CUDA context.
    What the other steps of such an epoch make of weights and averages is of no use.

    Args:
        epoch: From 1.
    """

    def __init__(self, epoch: int) -> None:
        self._epoch = epoch
        self._seen: list[torch.Tensor] = []  # of each step, two of (): zero or NaN for its embeddings, and its loss

    def embeddings(self, embeddings: torch.Tensor, step: int) -> torch.Tensor:
        """Note the embeddings (N, D) of a step, from 0; returns those that the losses shall see.

        Raises:
            TrialDiverged: They are on a CPU, and not finite.
        """
        if embeddings.device.type == "cpu":
            if not bool(torch.isfinite(embeddings).all()):
                raise self._diverged(2 * step)
            return embeddings
        finite = (embeddings.detach() * 0).sum()
        self._seen.append(finite)
        return embeddings.masked_fill(finite != 0, 0.0)

    def loss(self, loss: torch.Tensor, step: int) -> None:
        """Note the loss () of a step, from 0, after its embeddings.

        Raises:
            TrialDiverged: It is on a CPU, and not finite.
        """
        if loss.device.type != "cpu":
            self._seen.append(loss.detach())
        elif not math.isfinite(loss.detach()):
            raise self._diverged(2 * step + 1)

    def end_epoch(self) -> None:
        """Look at what was noted on a GPU.

        Raises:
            TrialDiverged: Something was not finite.
        """
        if not self._seen:
            return
        for number, value in enumerate(torch.stack(self._seen).tolist()):
            if not math.isfinite(value):
                raise self._diverged(number)

    def _diverged(self, number: int) -> TrialDiverged:
        step, is_loss = divmod(number, 2)
        what = "the loss" if is_loss else "an embedding"
        return TrialDiverged(f"{what} is not finite in epoch {self._epoch}, step {step + 1}")
