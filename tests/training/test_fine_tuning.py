"""Heads, and backbones that are frozen as a whole, in part, or at first."""

import copy
import itertools
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional

from mdr_tune.backbones import build_backbone
from mdr_tune.config.datasets import GlyphsDataConfig
from mdr_tune.config.trial import TrialConfig
from mdr_tune.data import load_dataset
from mdr_tune.training import EmbeddingModel, TrialSession
from mdr_tune.training.fine_tuning import by_block
from mdr_tune.util.errors import UserError

TRIAL: dict[str, Any] = {
    "batch": {"size": 16, "images_per_class": 4},
    "embedding": {"size": 8},
    "optimizer": {"learning_rate": 1e-2},
    "epochs": 4,
    "iterations_per_epoch": 2,
}
MLP = {"size": 8, "pool": "gem", "head": {"hidden": [12], "norm": "batch", "dropout": 0.3}}


def new_session(dtype: torch.dtype = torch.float32, **changes: Any) -> TrialSession:
    return TrialSession(TrialConfig.model_validate({**TRIAL, **changes}), load_dataset(GlyphsDataConfig()), dtype=dtype)


def of_model(session: TrialSession) -> dict[str, torch.Tensor]:
    return copy.deepcopy(session.model.state_dict())


def changed(before: dict[str, torch.Tensor], after: dict[str, torch.Tensor]) -> set[str]:
    return {name for name in before if not torch.equal(before[name], after[name])}


def test_a_linear_head_keeps_its_names_and_others_add_theirs() -> None:
    def names(**embedding: Any) -> list[str]:
        model = EmbeddingModel.from_config(TrialConfig.model_validate({"embedding": embedding}))
        return [name for name in model.state_dict() if not name.startswith("backbone.")]

    assert names() == names(head="linear") == ["linear.weight", "linear.bias"]
    assert names(pool="gem", head={"hidden": [4], "dropout": 0.1}) == [
        *("pool.p", "hidden.0.weight", "hidden.0.bias", "hidden.1.weight", "hidden.1.bias"),
        *("linear.weight", "linear.bias"),
    ]
    assert names(head="identity", pool="max") == []
    with pytest.raises(
        UserError, match=r"^embedding.size: 8, but with head: identity an embedding is the 256 features"
    ):
        EmbeddingModel.from_config(TrialConfig.model_validate({"embedding": {"head": "identity", "size": 8}}))


@pytest.mark.parametrize(
    ("train", "trained"),
    [
        ("none", ()),
        ({"last_blocks": 2}, ("backbone.blocks.2.", "backbone.blocks.3.", "backbone.blocks.4")),
        ("all", ("backbone.",)),
    ],
)
def test_frozen_parts_stay_as_they_are(train: Any, trained: tuple[str, ...]) -> None:
    session = new_session(backbone={"name": "conv4", "train": train}, embedding=MLP)
    before = of_model(session)
    session.train_epoch()
    expected = {name for name in before if name.startswith(("pool.", "hidden.", "linear.", *trained))}
    assert changed(before, of_model(session)) == expected  # with the statistics of BatchNorm
    state = session.state_dict()["optimizer"]
    kept = sum(parameter.requires_grad for parameter in session.model.parameters()) + 1  # and the levels
    assert len(state["state"]) == kept
    groups = [group["name"] for group in state["param_groups"]]
    assert groups == [*(["backbone"] if trained else []), "head", "levels"]
    leaves = {name: layer for name, layer in session.model.backbone.named_modules() if not [*layer.children()]}
    in_training = {name for name, layer in leaves.items() if layer.training}
    assert in_training == {
        name for name in leaves if f"backbone.{name}".startswith(trained) or trained == ("backbone.",)
    }


def test_a_frozen_network_computes_as_in_evaluation() -> None:
    session = new_session(backbone={"name": "conv4", "train": "none"}, iterations_per_epoch=1)
    session.model.backbone.blocks.append(nn.Dropout(0.5))
    seen: list[tuple[torch.Tensor, torch.Tensor]] = []
    hook = session.model.backbone.register_forward_hook(lambda _, inputs, output: seen.append((inputs[0], output)))
    session.train_epoch()
    hook.remove()
    with torch.no_grad():
        assert all(output.equal(session.model.backbone.eval()(images)) for images, output in seen)


def test_the_head_alone_is_a_plain_loop_on_features() -> None:
    """The losses of five steps, and the head after them, are those of the loop that anybody would write."""
    session = new_session(
        torch.float64,
        backbone={"name": "conv4", "train": "none"},
        embedding={"size": 8, "mode": "l2", "head": {"hidden": [32], "norm": "layer"}},
        loss={"name": "contrastive"},
        mdr=None,
        optimizer={"name": "sgd", "learning_rate": 0.1, "momentum": 0.9, "weight_decay": 0.0},
        iterations_per_epoch=5,
    )
    head = nn.Sequential(nn.Linear(256, 32), nn.LayerNorm(32), nn.ReLU(), nn.Linear(32, 8)).double()
    head.load_state_dict(nn.Sequential(*session.model.hidden, session.model.linear).state_dict())
    optimizer = torch.optim.SGD(head.parameters(), lr=0.1, momentum=0.9)
    backbone, losses = copy.deepcopy(session.model.backbone).eval(), []
    for batch in session._input.epoch(0, session._sampler.epoch_batches(0, 5)):
        with torch.no_grad():
            features = backbone(backbone.normalize(batch.images).double())
        embeddings = functional.normalize(head(features))
        distances = (embeddings[:, None] - embeddings).square().sum(2).add(torch.eye(16)).sqrt()
        same = torch.as_tensor(session._labels[session._sampler.epoch_batches(0, 5)[len(losses)]])
        same = same[:, None] == same
        positives, negatives = distances[same & ~torch.eye(16, dtype=torch.bool)], functional.relu(1 - distances[~same])
        loss = positives[positives > 0].mean() + negatives[negatives > 0].mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert session.train_epoch()["train/loss"] == pytest.approx(sum(losses) / 5, rel=1e-9)
    torch.testing.assert_close(
        nn.Sequential(*session.model.hidden, session.model.linear).state_dict(),
        head.state_dict(),
        rtol=1e-9,
        atol=1e-12,
    )


def test_a_backbone_thaws_and_a_resumed_trial_gives_the_same_bits() -> None:
    trial = {"backbone": {"name": "conv4", "train": {"last_blocks": 2}, "frozen_epochs": 2}, "embedding": MLP}
    undisturbed = new_session(**trial)
    states, metrics, models = [], [], [of_model(undisturbed)]
    for _ in range(4):
        metrics.append(undisturbed.train_epoch())
        states.append(copy.deepcopy(undisturbed.state_dict()))
        models.append(of_model(undisturbed))
    of_backbone = [{n for n in changed(*pair) if n.startswith("backbone.")} for pair in itertools.pairwise(models)]
    assert of_backbone[:2] == [set(), set()]
    assert of_backbone[2] == {n for n in models[0] if n.startswith(("backbone.blocks.2.", "backbone.blocks.3."))}
    for epoch in (1, 2, 3):  # frozen still, about to thaw, thawed
        resumed = new_session(**trial)
        resumed.load_state_dict(states[epoch - 1])
        assert [resumed.train_epoch() for _ in range(4 - epoch)] == metrics[epoch:]
        torch.testing.assert_close(resumed.model.state_dict(), models[-1], rtol=0, atol=0)


def test_the_rate_of_a_block_is_decayed_by_the_number_of_blocks_after_it() -> None:
    def moved(layer_decay: float) -> dict[str, torch.Tensor]:
        optimizer = {"name": "sgd", "momentum": 0.0, "weight_decay": 0.0, "layer_decay": layer_decay}
        session = new_session(torch.float64, optimizer=optimizer, iterations_per_epoch=1)
        before = of_model(session)
        rates = session.train_epoch()
        assert {name: rate for name, rate in rates.items() if name.endswith("rate")} == {"train/learning_rate": 1e-3}
        return {n: p.detach() - before[n] for n, p in session.model.named_parameters()}

    plain = moved(1.0)
    for name, change in moved(0.5).items():
        factor = 0.5 ** (3 - int(name.split(".")[2])) if name.startswith("backbone") else 1.0
        torch.testing.assert_close(change, factor * plain[name], rtol=1e-9, atol=1e-15, msg=name)


def test_the_embedding_of_a_transformer_is_its_first_block_and_its_last_norm_has_the_whole_rate() -> None:
    with torch.device("meta"):
        network = build_backbone("vit_b_16", "none")
    names = {parameter: name for name, parameter in network.named_parameters()}
    groups = [({names[parameter] for parameter in group}, after) for group, after in by_block(network)]
    assert [after for _, after in groups] == list(range(12, -1, -1))
    stem = {"class_token", "conv_proj.weight", "conv_proj.bias", "encoder.pos_embedding"}
    assert groups[0][0] == {f"network.{name}" for name in stem}
    assert {"network.encoder.ln.weight", "network.encoder.layers.encoder_layer_11.ln_1.bias"} <= groups[-1][0]


@pytest.mark.parametrize("embedding", [MLP, {"head": "identity", "pool": "avg_max"}])
def test_an_exported_model_is_the_trained_one(embedding: dict[str, Any]) -> None:
    session = new_session(embedding=embedding)
    session.train_epoch()
    model = session.model.eval().requires_grad_(False)
    images = load_dataset(GlyphsDataConfig()).split("validation").images[torch.arange(5)]
    shapes = ({0: torch.export.Dim("n", min=1, max=1024)},)
    exported = torch.export.export(model, (images[:2],), dynamic_shapes=shapes).module()
    for some in (images, images[:1]):
        torch.testing.assert_close(exported(some), model(some), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_a_head_with_all_parts_trains_in_half_precision(precision: str) -> None:
    one, other = new_session(embedding=MLP), new_session(embedding=MLP, precision=precision)
    assert other.train_epoch()["train/loss"] == pytest.approx(one.train_epoch()["train/loss"], rel=0.2)


def test_parameters_without_a_gradient_stay_and_a_checkpoint_of_older_versions_fits() -> None:
    """The optimiser keeps them in its groups, as it did before they were frozen, and gives them no weight decay."""
    config = {
        "backbone": {"name": "tests.own_components:Classifier", "frozen_epochs": 1},
        "optimizer": {"name": "sgd", "weight_decay": 0.5},
        "batch": {"size": 16, "images_per_class": 4},
        "iterations_per_epoch": 4,
        "epochs": 2,
    }
    session = TrialSession.from_config(config)
    network = session.model.backbone.network
    before = {key: tensor.clone() for key, tensor in network.state_dict().items()}
    for _ in range(2):
        session.train_epoch()
    assert len(session.state_dict()["optimizer"]["param_groups"][0]["params"]) == len(before)
    changed = {key for key, tensor in network.state_dict().items() if not torch.equal(tensor, before[key])}
    assert changed == {"layers.0.weight", "layers.0.bias", "more.weight", "more.bias"}
