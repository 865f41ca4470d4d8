from collections.abc import Callable

import pytest
import torch

from mdr_tune.metric.full_precision import full_float32

SIDE = 256  # large enough for oneDNN to take the product over


def settings() -> tuple[str, ...]:
    return (
        torch.get_float32_matmul_precision(),
        torch.backends.cuda.matmul.fp32_precision,
        torch.backends.mkldnn.matmul.fp32_precision,
        *convolutions(),
    )


def convolutions() -> tuple[str, str, str, bool | None]:
    """The last is None where torch refuses to tell it, since it contradicts the others."""
    cudnn = torch.backends.cudnn
    newer = torch.backends.mkldnn.conv.fp32_precision, cudnn.conv.fp32_precision, cudnn.rnn.fp32_precision
    try:
        return *newer, cudnn.allow_tf32
    except RuntimeError:
        return *newer, None


@pytest.fixture(autouse=True)
def _restored():
    gpu, cpu = torch.backends.cuda.matmul, torch.backends.mkldnn.matmul
    older, saved = torch.get_float32_matmul_precision(), (gpu.fp32_precision, cpu.fp32_precision)
    yield
    torch.backends.cudnn.allow_tf32 = True
    gpu.fp32_precision = cpu.fp32_precision = "ieee"
    torch.set_float32_matmul_precision(older)
    gpu.fp32_precision, cpu.fp32_precision = saved


@pytest.mark.parametrize("precision", ["highest", "high", "medium"])
@pytest.mark.parametrize("autocast", [False, True])
def test_products_are_exact_and_settings_come_back(precision: str, autocast: bool) -> None:
    factor = torch.randn(SIDE, SIDE, generator=torch.Generator().manual_seed(0))
    exact = factor.double() @ factor.double()
    torch.set_float32_matmul_precision(precision)
    before = settings()
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        with full_float32("cpu"):
            product = factor @ factor
        assert torch.is_autocast_enabled("cpu") == autocast
    assert product.dtype == torch.float32
    assert (product - exact).abs().max() < 1e-4  # with bfloat16 factors it is above 0.1
    assert settings() == before


def test_settings_of_the_newer_kind_come_back() -> None:
    torch.backends.cuda.matmul.fp32_precision = "tf32"  # the older setting does not know: torch will not tell it now
    with full_float32("cpu"):
        assert settings()[:3] == ("highest", "ieee", "ieee")
    assert torch.backends.cuda.matmul.fp32_precision == "tf32"


def allow_tf32(allowed: bool) -> None:
    torch.backends.cudnn.allow_tf32 = allowed


def choose_ieee() -> None:
    torch.backends.cudnn.conv.fp32_precision = "ieee"  # the older setting contradicts: torch will not tell it now


@pytest.mark.parametrize("choose", [lambda: allow_tf32(True), lambda: allow_tf32(False), choose_ieee])
def test_convolutions_are_exact_whatever_was_chosen_for_them(choose: Callable[[], None]) -> None:
    choose()
    before = convolutions()
    with full_float32("cpu"):
        assert convolutions() == ("ieee", "ieee", "ieee", False)  # no contradiction: torch.compile may ask
    assert convolutions() == before


def test_convolutions_of_a_gpu_are_in_tf32_by_default() -> None:
    """The docs of trial.precision say so."""
    assert convolutions()[1:] == ("tf32", "tf32", True)


def test_settings_come_back_after_an_exception() -> None:
    torch.set_float32_matmul_precision("medium")
    before = settings()
    with pytest.raises(KeyError), full_float32("cpu"):
        raise KeyError
    assert settings() == before
    assert before[0] == "medium"


@pytest.mark.gpu
def test_products_are_exact_on_a_gpu() -> None:
    factor = torch.randn(SIDE, SIDE, device="cuda")
    exact = factor.double() @ factor.double()
    torch.set_float32_matmul_precision("medium")
    with torch.autocast("cuda", torch.bfloat16), full_float32("cuda"):
        product = factor @ factor
    assert (product - exact).abs().max() < 1e-4


@pytest.mark.gpu
def test_convolutions_are_exact_on_a_gpu() -> None:
    images, kernels = torch.randn(8, 64, 28, 28, device="cuda"), torch.randn(64, 64, 3, 3, device="cuda")
    exact = torch.nn.functional.conv2d(images.double(), kernels.double())
    with full_float32("cuda"):
        full = torch.nn.functional.conv2d(images, kernels)
    assert (full - exact).abs().max() < 1e-3  # in TF32 it is above 0.01: 576 products of factors with 10 bits
