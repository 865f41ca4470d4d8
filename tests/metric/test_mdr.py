import math

import pytest
import torch

from mdr_tune.metric import MDRLoss, distance_tiles


def plain_loss(embeddings, levels, mean, std):
    """The formula, with the levels x pairs intermediate and autograd."""
    off_diagonal = ~torch.eye(len(embeddings), dtype=torch.bool)
    differences = embeddings[:, None] - embeddings[None, :]
    distances = differences[off_diagonal].square().sum(dim=1).sqrt()
    normalized = (distances - mean) / std
    return (normalized[:, None] - levels[None, :]).abs().min(dim=1).values.mean()


def with_averages(loss, mean, std):
    """Put `loss` in evaluation mode with the given averages."""
    loss.mean.fill_(mean)
    loss.std.fill_(std)
    loss.initialized.fill_(True)
    return loss.eval()


def line(*positions):
    """Embeddings on a line, exact distances."""
    return torch.tensor([[float(p), 0.0] for p in positions], dtype=torch.float64, requires_grad=True)


def test_equals_a_naive_loop():
    embeddings = torch.rand(6, 4, dtype=torch.float64)
    points = embeddings.tolist()
    distances = [[math.dist(a, b) for b in points] for a in points]
    everything = [d for row in distances for d in row]
    mean = sum(everything) / 36
    std = math.sqrt(sum((d - mean) ** 2 for d in everything) / 35)
    total = 0.0
    for i in range(6):
        for j in range(6):
            if i != j:
                total += min(abs((distances[i][j] - mean) / std - level) for level in (-3, 0, 3))
    loss = MDRLoss().double()
    assert loss(embeddings).item() == pytest.approx(total / 30, rel=1e-12)
    assert (loss.mean.item(), loss.std.item()) == pytest.approx((mean, std), rel=1e-12)


@pytest.mark.parametrize("tile_rows", [3, 8, 17, 512])
@pytest.mark.parametrize("levels", [(-3.0, 0.0, 3.0), (0.3,), (1.0, -2.0, 0.5, -0.5, 1.5), (0.0, 0.0)])
@pytest.mark.parametrize("statistics", ["official", "offdiagonal"])
def test_value_and_gradients_equal_autograd_s(monkeypatch, tile_rows, levels, statistics):
    monkeypatch.setattr(distance_tiles, "_TILE_ROWS_CPU", tile_rows)
    ours = torch.rand(17, 5, dtype=torch.float64, requires_grad=True)
    plain = ours.detach().clone().requires_grad_()
    loss = MDRLoss(levels, statistics=statistics).double()
    plain_levels = loss.levels.detach().clone().requires_grad_()
    value = loss(ours)
    (3 * value).backward()
    expected = plain_loss(plain, plain_levels, loss.mean, loss.std)
    (3 * expected).backward()
    torch.testing.assert_close(value, expected, rtol=1e-11, atol=0)
    torch.testing.assert_close(ours.grad, plain.grad, rtol=1e-10, atol=1e-14)
    torch.testing.assert_close(loss.levels.grad, plain_levels.grad, rtol=1e-11, atol=1e-15)


def test_gradcheck_in_evaluation_mode():
    loss = with_averages(MDRLoss((-1.0, 0.2, 1.3)).double(), 0.8, 0.3)
    generator = torch.Generator().manual_seed(0)  # no pair within a finite difference of a kink
    embeddings = torch.rand(6, 3, dtype=torch.float64, generator=generator, requires_grad=True)

    def by_levels(embeddings, levels):
        return torch.func.functional_call(loss, {"levels": levels}, (embeddings,))

    levels = loss.levels.detach().clone().requires_grad_()
    assert torch.autograd.gradcheck(by_levels, (embeddings, levels))


def test_moving_averages():
    loss = MDRLoss(momentum=0.75).double()
    means, stds = [], []
    for scale in (1.0, 3.0, 0.5):
        embeddings = scale * torch.rand(5, 3, dtype=torch.float64)
        distances = torch.cdist(embeddings, embeddings)
        means.append(distances.mean().item())
        stds.append(distances.std().item())
        loss(embeddings)
    expected_mean = 0.25 * means[2] + 0.75 * (0.25 * means[1] + 0.75 * means[0])
    expected_std = 0.25 * stds[2] + 0.75 * (0.25 * stds[1] + 0.75 * stds[0])
    assert loss.mean.item() == pytest.approx(expected_mean, rel=1e-9)
    assert loss.std.item() == pytest.approx(expected_std, rel=1e-9)


def test_offdiagonal_statistics_leave_the_diagonal_out():
    embeddings = torch.rand(9, 4, dtype=torch.float64)
    distances = torch.cdist(embeddings, embeddings)[~torch.eye(9, dtype=torch.bool)]
    loss = MDRLoss(statistics="offdiagonal").double()
    loss(embeddings)
    assert loss.mean.item() == pytest.approx(distances.mean().item(), rel=1e-9)
    assert loss.std.item() == pytest.approx(distances.std().item(), rel=1e-9)


def test_evaluation_uses_the_averages_and_leaves_them():
    loss = MDRLoss().double()
    loss(torch.rand(5, 3, dtype=torch.float64))
    before = {name: value.clone() for name, value in loss.state_dict().items()}
    embeddings = torch.rand(8, 3, dtype=torch.float64)
    value = loss.eval()(embeddings)
    torch.testing.assert_close(value, plain_loss(embeddings, loss.levels, loss.mean, loss.std))
    for name, kept in loss.state_dict().items():
        assert torch.equal(kept, before[name])


def test_evaluation_without_averages_uses_the_batch_s():
    embeddings = torch.rand(8, 3, dtype=torch.float64)
    fresh = MDRLoss().double().eval()
    assert torch.equal(fresh(embeddings), MDRLoss().double()(embeddings))
    assert not fresh.initialized
    assert fresh.mean == 0


def test_state_dict_round_trip_goes_on_as_if_nothing_happened():
    batches = [torch.rand(6, 3) for _ in range(3)]
    straight, saved, loaded = MDRLoss(), MDRLoss(), MDRLoss()
    shapes = {name: value.shape for name, value in loaded.state_dict().items()}
    for batch in batches[:2]:
        straight(batch)
        saved(batch)
    loaded.load_state_dict(saved.state_dict())
    assert set(shapes) == {"levels", "mean", "std", "initialized"}
    assert {name: value.shape for name, value in saved.state_dict().items()} == shapes
    assert torch.equal(loaded(batches[2]), straight(batches[2]))
    assert torch.equal(loaded.std, straight.std)


def test_a_pair_on_a_level_has_no_gradient():
    loss = with_averages(MDRLoss((1.0, 5.0)).double(), 0.0, 1.0)
    embeddings = line(0, 1)
    value = loss(embeddings)
    value.backward()
    assert value == 0
    assert not embeddings.grad.any()
    assert not loss.levels.grad.any()


def test_a_tie_goes_to_the_lower_level():
    loss = with_averages(MDRLoss((1.0, 3.0)).double(), 0.0, 1.0)
    embeddings = line(0, 2)
    value = loss(embeddings)
    value.backward()
    assert value == 1
    assert loss.levels.grad.tolist() == [-1.0, 0.0]
    assert embeddings.grad[:, 0].tolist() == [-1.0, 1.0]


def test_equal_levels_count_as_the_first():
    loss = with_averages(MDRLoss((9.0, 1.0, 1.0)).double(), 0.0, 1.0)
    loss(line(0, 2)).backward()
    assert loss.levels.grad.tolist() == [0.0, -1.0, 0.0]


@pytest.mark.parametrize("statistics", ["official", "offdiagonal"])
def test_duplicates_have_no_gradient(statistics):
    loss = MDRLoss(statistics=statistics).double()
    embeddings = line(1, 1, 1, 1)
    value = loss(embeddings)
    value.backward()
    assert value.isfinite()
    assert not embeddings.grad.any()


def test_some_duplicates_leave_the_rest_its_gradient():
    loss = MDRLoss().double()
    embeddings = line(0, 0, 1, 3)
    loss(embeddings).backward()
    assert embeddings.grad.isfinite().all()
    assert torch.equal(embeddings.grad[0], embeddings.grad[1])
    assert embeddings.grad[2].any()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_equal_distances_give_no_nan(dtype):
    embeddings = (2 * torch.eye(8, dtype=dtype)).requires_grad_()
    loss = MDRLoss(statistics="offdiagonal").to(dtype)
    value = loss(embeddings)
    value.backward()
    assert value.isfinite()
    assert embeddings.grad.isfinite().all()
    assert loss.levels.grad.isfinite().all()


def test_a_level_gone_nan_is_not_hidden():
    loss = MDRLoss()
    with torch.no_grad():
        loss.levels[0] = torch.nan
    assert loss(torch.rand(5, 3)).isnan()


def test_levels_that_are_not_learned():
    fixed, learned = MDRLoss(learn_levels=False).double(), MDRLoss().double()
    embeddings = torch.rand(7, 4, dtype=torch.float64, requires_grad=True)
    (gradient,) = torch.autograd.grad(fixed(embeddings), embeddings)
    (expected,) = torch.autograd.grad(learned(embeddings), embeddings)
    assert torch.equal(gradient, expected)
    assert not fixed(embeddings.detach()).requires_grad
    assert list(fixed.state_dict()) == list(learned.state_dict())
    learned.load_state_dict(fixed.state_dict())
    assert learned.levels.requires_grad


def test_backward_twice_gives_the_same():
    loss = MDRLoss()
    embeddings = torch.rand(5, 3, requires_grad=True)
    value = loss(embeddings)
    (first,) = torch.autograd.grad(value, embeddings, retain_graph=True)
    (second,) = torch.autograd.grad(value, embeddings)
    assert torch.equal(first, second)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"levels": ()}, "levels must be"),
        ({"levels": (0.0, math.nan)}, "levels must be"),
        ({"momentum": 1.0}, "momentum must be"),
        ({"momentum": -0.1}, "momentum must be"),
        ({"statistics": "diagonal"}, "'official' or 'offdiagonal'"),
    ],
)
def test_wrong_arguments_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        MDRLoss(**arguments)


@pytest.mark.parametrize(("statistics", "count"), [("official", 1), ("offdiagonal", 2)])
def test_small_batches_are_refused(statistics, count):
    with pytest.raises(ValueError, match="use a larger batch"):
        MDRLoss(statistics=statistics)(torch.rand(count, 3))
    MDRLoss(statistics=statistics)(torch.rand(count + 1, 3))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64], ids=str)
def test_other_dtypes_are_computed_in_float32(dtype):
    embeddings = torch.rand(9, 5, dtype=dtype).requires_grad_()
    converted = embeddings.detach().float().requires_grad_()
    mdr, expected = MDRLoss(), MDRLoss()
    for _ in range(2):  # the second time with averages
        embeddings.grad = converted.grad = None
        value, expected_value = mdr(embeddings), expected(converted)
        value.backward()
        expected_value.backward()
        assert value.dtype == torch.float32
        assert torch.equal(value, expected_value)
        assert embeddings.grad.dtype == dtype
        assert torch.equal(embeddings.grad, converted.grad.to(dtype))
    assert (mdr.levels.dtype, mdr.mean.dtype) == (torch.float32, torch.float32)
    assert torch.equal(mdr.levels.grad, expected.levels.grad)
    assert torch.equal(mdr.mean, expected.mean)


def test_a_module_in_half_precision_computes_in_float32_too():
    embeddings = torch.rand(9, 5, dtype=torch.bfloat16)
    mdr = MDRLoss().bfloat16()
    value = mdr(embeddings)
    assert torch.equal(value, MDRLoss()(embeddings))
    value.backward()
    assert mdr.levels.grad.dtype == mdr.mean.dtype == torch.bfloat16
    assert mdr.eval()(embeddings).dtype == torch.float32
