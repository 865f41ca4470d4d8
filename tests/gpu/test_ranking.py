"""Retrieval on a GPU is that on a CPU, to the last query."""

import pytest
import torch

from mdr_tune.metric import retrieval_metrics

pytestmark = pytest.mark.gpu


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("count", [6, 7, 300, 5_003])
def test_metrics_are_equal(device: torch.device, dtype: torch.dtype, count: int) -> None:
    generator = torch.Generator().manual_seed(count)
    labels = torch.arange(2 * count) // 4
    centres = torch.randn(len(labels) // 4 + 1, 64, generator=generator)
    embeddings = (centres[labels] + 1.5 * torch.randn(len(labels), 64, generator=generator)).to(dtype)
    embeddings[1] = embeddings[0]  # a tie
    expected = retrieval_metrics(embeddings, labels, (1, 2, 4, 8))
    found = retrieval_metrics(embeddings.to(device), labels.to(device), (1, 2, 4, 8))
    assert found == pytest.approx(expected, abs=1e-9)  # sums of queries, in another order
