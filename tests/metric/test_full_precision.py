import pytest
import torch

from mdr_tune.metric.full_precision import full_float32

SIDE = 256  # large enough for oneDNN to take the product over


def settings() -> tuple[str, str, str]:
    return (
        torch.get_float32_matmul_precision(),
        torch.backends.cuda.matmul.fp32_precision,
        torch.backends.mkldnn.matmul.fp32_precision,
    )


@pytest.fixture(autouse=True)
def _restored():
    gpu, cpu = torch.backends.cuda.matmul, torch.backends.mkldnn.matmul
    older, saved = torch.get_float32_matmul_precision(), (gpu.fp32_precision, cpu.fp32_precision)
    yield
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
        assert settings() == ("highest", "ieee", "ieee")
    assert torch.backends.cuda.matmul.fp32_precision == "tf32"


def test_settings_come_back_after_an_exception() -> None:
    torch.set_float32_matmul_precision("medium")
    before = settings()
    with pytest.raises(KeyError), full_float32("cpu"):
        raise KeyError
    assert settings() == before
    assert before[0] == "medium"


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_products_are_exact_on_a_gpu() -> None:
    factor = torch.randn(SIDE, SIDE, device="cuda")
    exact = factor.double() @ factor.double()
    torch.set_float32_matmul_precision("medium")
    with torch.autocast("cuda", torch.bfloat16), full_float32("cuda"):
        product = factor @ factor
    assert (product - exact).abs().max() < 1e-4
