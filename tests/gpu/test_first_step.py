"""The first training step on a GPU is that on a CPU, but for rounding.

How much rounding may do was measured on a CPU, for the step of `first_steps.TRIAL` with different losses (length of the
difference of two gradients in that of the gradient; largest difference of a metric):

| what differs | gradients | metrics |
| --- | --- | --- |
| float64, sums in another order | 7e-15 | 1e-15 |
| pixels by 1e-3 grey values, as an affine change in float32 rounds | 0.01 | 5e-6 |
| pixels by half a grey value: a crop on a CPU is rounded to whole ones | 0.2 | 4e-3 |
| float32 in place of float64 | 1e-5, with some seeds 2e-3 on one of two processors | 8e-7 |
| factors of convolutions rounded to TF32 | 0.05 | 2e-4 |
| autocast to bfloat16 | 0.25 | 4e-3 |
| autocast to float16 | 0.07 | 3e-4 |

Nearly all of it is computed in float64, where an error cannot hide in rounding.
"""

from collections.abc import Iterator
from typing import Any

import pytest
import torch

from mdr_tune.metric.library_loss import library_loss_names
from tests.gpu.first_steps import Step, difference, first_step, new_session, worst_metric
from tests.metric.by_name import LOSSES, MINERS
from tests.metric.loss_cases import KNOWN_WARNINGS, NEEDED

CPU = torch.device("cpu")
FROZEN = {"batch_norm": "frozen"}
EXACT = 1e-6
"""Images are normalised in float32, where a division may be rounded otherwise."""

pytestmark = [pytest.mark.gpu, *KNOWN_WARNINGS]


def assert_near(found: Step, expected: Step, gradient: float, metrics: float) -> None:
    assert expected.gradient.norm() > 0
    assert difference(found.gradient, expected.gradient) < gradient
    assert worst_metric(found.metrics, expected.metrics) < metrics


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"mdr": None},
        {"mdr": {"statistics": "offdiagonal", "learn_levels": False}},
        {"channels_last": False},
        {"batch": {"size": 24, "images_per_class": 4, "chunk_size": 7}, **FROZEN},
        {"optimizer": {"name": "adamw", "clip_gradient_norm": 0.1}},
        {"backbone": {"name": "resnet18", "weights": "none"}},
        {"backbone": {"name": "efficientnet_b0", "weights": "none"}},  # drops at random
    ],
    ids=str,
)
def test_a_step_in_float64(device: torch.device, changes: dict[str, Any]) -> None:
    assert_near(first_step(device, **changes), first_step(CPU, **changes), EXACT, EXACT)


@pytest.mark.parametrize(("name", "gradient", "metrics"), [("affine", 0.05, 5e-5), ("random_resized_crop", 0.5, 2e-2)])
def test_each_augmentation(device: torch.device, name: str, gradient: float, metrics: float) -> None:
    changes = {"augmentation": {"name": name}, "miner": "all"}
    assert_near(first_step(device, **changes), first_step(CPU, **changes), gradient, metrics)


@pytest.mark.parametrize("miner", list(MINERS))
def test_each_miner(device: torch.device, miner: str) -> None:
    assert_near(first_step(device, miner=miner), first_step(CPU, miner=miner), EXACT, EXACT)


@pytest.mark.parametrize("loss", [*LOSSES, *(f"pml.{name}" for name in library_loss_names())])
def test_each_loss(device: torch.device, loss: str) -> None:
    section = {"name": loss, **NEEDED.get(loss, {})}
    assert_near(first_step(device, loss=section), first_step(CPU, loss=section), EXACT, EXACT)


def test_an_epoch_with_its_evaluation(device: torch.device) -> None:
    found, expected = new_session(device).run_epoch(), new_session(CPU).run_epoch()
    found, expected = ({k: v for k, v in m.items() if k.startswith(("train/", "val/"))} for m in (found, expected))
    assert worst_metric(found, expected) < EXACT


@pytest.fixture
def _without_tf32() -> Iterator[None]:
    before, torch.backends.cudnn.allow_tf32 = torch.backends.cudnn.allow_tf32, False
    yield
    torch.backends.cudnn.allow_tf32 = before


@pytest.mark.usefixtures("_without_tf32")
@pytest.mark.parametrize("compiled", [False, True])
def test_a_step_in_full_float32(device: torch.device, compiled: bool) -> None:
    changes = {"compile": compiled, "miner": "all"}
    assert_near(first_step(device, torch.float32, **changes), first_step(CPU, miner="all"), 0.01, 1e-5)


@pytest.mark.parametrize(
    ("precision", "gradient", "metrics"), [("fp32", 0.15, 1e-3), ("bf16", 0.5, 1e-2), ("fp16", 0.2, 2e-3)]
)
@pytest.mark.parametrize("changes", [{}, FROZEN], ids=str)
def test_a_step_in_each_precision(
    device: torch.device, precision: str, gradient: float, metrics: float, changes: dict[str, Any]
) -> None:
    """With all triplets: with drawn ones rounding leads to other negatives."""
    found = first_step(device, torch.float32, precision=precision, miner="all", **changes)
    assert found.metrics.pop("train/skipped_steps", 0) == 0
    assert_near(found, first_step(CPU, miner="all", **changes), gradient, metrics)
