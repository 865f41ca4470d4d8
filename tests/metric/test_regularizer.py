import re
from pathlib import Path

import pytest
import torch
from pytorch_metric_learning import losses, reducers
from pytorch_metric_learning.distances import CosineSimilarity, LpDistance

from mdr_tune.metric import MDRLoss
from mdr_tune.metric.library_loss import library_loss_names
from mdr_tune.metric.regularizer import MDRRegularizer
from tests.metric.loss_cases import KNOWN_WARNINGS

pytestmark = KNOWN_WARNINGS

DOCUMENT = Path(__file__).parents[2] / "docs" / "regularizer.md"


def batch():
    generator = torch.Generator().manual_seed(0)
    return torch.randn(12, 5, generator=generator, dtype=torch.float64), torch.arange(12) % 4


def test_the_authors_total():
    embeddings, labels = batch()
    weight, level_decay = 0.6, 0.01
    regularizer = MDRRegularizer((-2, 0, 1), level_decay=level_decay / weight)
    distance = LpDistance(normalize_embeddings=False)
    loss = losses.TripletMarginLoss(
        distance=distance, embedding_regularizer=regularizer, embedding_reg_weight=weight
    ).double()
    alone, mdr = losses.TripletMarginLoss(distance=distance), MDRLoss((-2, 0, 1)).double()
    for scale in (1, 3):  # twice, for the moving averages
        leaf, other_leaf = (scale * embeddings).requires_grad_(), (scale * embeddings).requires_grad_()
        value = loss(leaf, labels)
        ours = alone(other_leaf, labels) + weight * mdr(other_leaf) + level_decay * mdr.levels.square().sum()
        value.backward()
        ours.backward()
        torch.testing.assert_close(value, ours, rtol=1e-12, atol=0)
        torch.testing.assert_close(leaf.grad, other_leaf.grad, rtol=1e-12, atol=1e-15)
        torch.testing.assert_close(regularizer.levels.grad, mdr.levels.grad, rtol=1e-12, atol=1e-15)


REDUCERS = [
    reducers.MeanReducer(),
    reducers.SumReducer(),
    reducers.AvgNonZeroReducer(),
    reducers.ThresholdReducer(low=0.1),
    reducers.ClassWeightedReducer(torch.ones(4)),
    reducers.MultipleReducers({"embedding_reg_loss": reducers.MeanReducer()}),
]


@pytest.mark.parametrize("reducer", REDUCERS, ids=lambda reducer: type(reducer).__name__)
def test_the_library_s_reducers_leave_it_alone(reducer):
    embeddings, labels = batch()
    with_mdr = losses.TripletMarginLoss(reducer=reducer, embedding_regularizer=MDRRegularizer()).double()
    without = losses.TripletMarginLoss(reducer=reducer).double()
    difference = with_mdr(embeddings, labels) - without(embeddings, labels)
    assert difference.item() == pytest.approx(MDRLoss().double()(embeddings).item(), rel=1e-12)


@pytest.mark.parametrize("name", library_loss_names())
def test_works_with_every_loss(name):
    embeddings, labels = batch()
    sizes = {"num_classes": 4, "embedding_size": 5}
    needed = {
        "P2SGradLoss": {"descriptors_dim": 5, "num_classes": 4},
        "RankedListLoss": {"margin": 0.4, "Tn": 1},
    }
    kind = getattr(losses, name)

    def build(**more):
        torch.manual_seed(0)
        try:
            return kind(**needed.get(name, {}), **more).double()
        except (TypeError, KeyError):  # it has a parameter for each class
            torch.manual_seed(0)
            return kind(**sizes, **more).double()

    with_mdr, without = build(embedding_regularizer=MDRRegularizer(), embedding_reg_weight=0.5), build()
    difference = with_mdr(embeddings, labels) - without(embeddings, labels)
    assert difference.item() == pytest.approx(0.5 * MDRLoss().double()(embeddings).item(), rel=1e-6)


def test_levels_are_parameters_and_averages_are_state():
    embeddings, labels = batch()
    loss = losses.TripletMarginLoss(embedding_regularizer=MDRRegularizer((-1, 1))).double()
    assert [parameter.tolist() for parameter in loss.parameters()] == [[-1.0, 1.0]]
    loss(embeddings, labels)
    loss(2 * embeddings, labels)
    other = losses.TripletMarginLoss(embedding_regularizer=MDRRegularizer((5, 6))).double()
    other.load_state_dict(loss.state_dict())
    assert other(embeddings, labels) == loss(embeddings, labels)
    loss.eval()
    mean = loss.embedding_regularizer.mdr.mean.clone()
    loss(5 * embeddings, labels)
    assert loss.embedding_regularizer.mdr.mean == mean


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("inside", [True, False], ids=["loss inside", "loss outside"])
def test_distances_are_float32_under_autocast(dtype, inside):
    features, labels = batch()
    layer = torch.nn.Linear(5, 6)
    cosine, regularizer = CosineSimilarity(), MDRRegularizer(level_decay=0.1)
    loss = losses.ContrastiveLoss(-1.1, 1.1, distance=cosine, embedding_regularizer=regularizer)
    with torch.autocast("cpu", dtype):
        embeddings = layer(features.float())
        assert embeddings.dtype == dtype
        with torch.autocast("cpu", dtype, enabled=inside):
            value = loss(embeddings, labels)  # of MDR alone: no pair violates a margin
    value.backward()
    leaf, mdr = embeddings.detach().float().requires_grad_(), MDRLoss()
    expected = mdr(leaf) + 0.1 * mdr.levels.square().sum()
    expected.backward()
    assert value == expected.to(value.dtype)  # on a CPU the library rounds its sum to the embeddings' dtype
    assert layer.weight.grad.any()
    torch.testing.assert_close(loss.embedding_regularizer.levels.grad, mdr.levels.grad)


def test_levels_can_be_fixed_and_wrong_arguments_are_refused():
    assert not MDRRegularizer(learn_levels=False).levels.requires_grad
    with pytest.raises(ValueError, match="level_decay must be"):
        MDRRegularizer(level_decay=-1)
    with pytest.raises(ValueError, match="levels must be"):
        MDRRegularizer(levels=())


def test_the_document_s_example_runs(capsys):
    (code,) = re.findall(r"```python\n(.*?)```", DOCUMENT.read_text(), re.DOTALL)
    with torch.random.fork_rng():
        exec(compile(code, str(DOCUMENT), "exec"), {})
    assert re.fullmatch(r"loss \d\.\d+, levels \[.*\]\n", capsys.readouterr().out)
