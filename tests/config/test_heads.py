"""The keys of pooling, head and fine-tuning: what goes together, and that older records stay as they are."""

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from mdr_tune.config.configurations import configuration_key
from mdr_tune.config.explain import explain
from mdr_tune.config.space import apply_settings, choice_labels, trial_keys
from mdr_tune.config.strict_model import set_dotted
from mdr_tune.config.sweep_reading import read_sweep
from mdr_tune.config.trial import TrialConfig
from mdr_tune.report.names import format_parameters
from mdr_tune.util.errors import UserError

MLP = {"hidden": [64], "norm": "batch", "dropout": 0.25}
HEAD = "embedding.head: expected 'linear' or 'identity', or {hidden: ...}, got "
TRAIN = "backbone.train: expected 'all' or 'none', or {last_blocks: ...}, got "
NEW = {"backbone": ("train", "frozen_epochs"), "embedding": ("pool", "head"), "optimizer": ("layer_decay",)}


def problem(**trial: Any) -> str:
    with pytest.raises(ValidationError) as caught:
        TrialConfig.model_validate(trial)
    ((path, message),) = explain(caught.value, TrialConfig)
    return f"{'.'.join(path)}: {message}"


def test_a_trial_without_them_is_dumped_as_it_was_before_they_were_there() -> None:
    dump, flat = TrialConfig().model_dump(), TrialConfig().flat()
    assert dump["backbone"] == {"name": "conv4", "weights": "DEFAULT"}
    assert dump["embedding"] == {"size": 128, "mode": "auto"}
    for section, keys in NEW.items():
        for key in keys:
            assert key not in dump[section]
            assert f"{section}.{key}" not in flat
            assert f"{section}.{key}" in trial_keys(TrialConfig())  # and may be searched


@pytest.mark.parametrize(
    "trial",
    [
        {"embedding": {"pool": "gem", "head": MLP}, "backbone": {"name": "conv4", "train": {"last_blocks": 2}}},
        {"embedding": {"head": "identity"}, "optimizer": {"layer_decay": 0.7}},
        {"backbone": {"name": "conv4", "train": "none", "frozen_epochs": 1}},
    ],
)
def test_a_trial_with_them_survives_checkpoints_and_mlflow(trial: dict[str, Any]) -> None:
    config = TrialConfig.model_validate(trial)
    assert TrialConfig.model_validate(config.model_dump()) == config
    read: dict[str, Any] = {}
    for key, value in config.flat().items():  # as `tracking.reader` reads the parameters of a run
        set_dotted(read, key, value)
    again = TrialConfig.model_validate(read)
    assert (again.embedding.head, again.embedding.pool) == (config.embedding.head, config.embedding.pool)
    assert (again.embedding.size, again.backbone.train) == (config.embedding.size, config.backbone.train)


def test_the_size_of_an_identity_is_left_to_the_network() -> None:
    sizes = [
        TrialConfig.model_validate({"embedding": e}).embedding.size for e in ({"head": "identity"}, {"size": None})
    ]
    assert sizes == [None, None]
    assert TrialConfig.model_validate({"embedding": {"head": "identity", "size": 3}}).embedding.size == 3
    assert apply_settings(TrialConfig(), {"embedding.head": "identity"}).embedding.size == 128  # said by the network


@pytest.mark.parametrize(
    ("trial", "message"),
    [
        ({"embedding": {"head": "liner"}}, f"{HEAD}'liner' (text): write linear"),
        ({"embedding": {"head": [64]}}, f"{HEAD}[64]: write head: {{hidden: [64]}}"),
        ({"embedding": {"head": {"hidden": 64}}}, "embedding.head.hidden: expected a list, got 64: write [64]"),
        ({"embedding": {"head": {"hidden": []}}}, "embedding.head.hidden: must have at least 1 value, got []"),
        (
            {"embedding": {"head": {"hidden": [4], "dropout": 20}}},
            "embedding.head.dropout: must be less than 1, got 20: if percent is meant, write 0.2",
        ),
        (
            {"embedding": {"pool": "mean"}},
            "embedding.pool: expected 'auto', 'avg', 'max', 'avg_max', 'gem' or 'token', got 'mean' (text): write avg",
        ),
        ({"embedding": {"size": "auto"}}, "embedding.size: expected a whole number, got 'auto' (text): write null"),
        ({"backbone": {"train": 2}}, f"{TRAIN}2: write train: {{last_blocks: 2}}"),
        ({"backbone": {"train": None}}, f"{TRAIN}nothing (null): write none"),
        ({"backbone": {"freeze": True}}, "backbone.freeze: unknown key. Did you mean 'train'?"),
        ({"optimizer": {"layer_decay": 1.5}}, "optimizer.layer_decay: must be less than or equal to 1, got 1.5"),
        (
            {"backbone": {"train": "none"}, "embedding": {"head": "identity"}},
            "backbone.train: nothing of the model would be trained beside it, since embedding.head is identity",
        ),
        (
            {"backbone": {"frozen_epochs": 1}, "embedding": {"head": "identity"}},
            "backbone.frozen_epochs: nothing of the model would be trained beside it",
        ),
        (
            {"batch_norm": "frozen", "batch": {"chunk_size": 4}, "embedding": {"head": MLP}},
            "batch.chunk_size: does not go with norm: batch of embedding.head",
        ),
    ],
)
def test_what_makes_no_sense_is_named_with_its_key(trial: dict[str, Any], message: str) -> None:
    assert problem(**trial).startswith(message)


def test_a_frozen_backbone_needs_no_frozen_batch_norm_beside_chunks() -> None:
    config = TrialConfig.model_validate({"backbone": {"train": "none"}, "batch": {"chunk_size": 4}})
    assert config.flat()["batch_norm"] == "frozen"


@pytest.mark.parametrize(
    ("base", "one", "other", "same"),
    [
        ({"backbone.train": "none"}, {"optimizer.layer_decay": 0.5}, {}, True),
        ({"backbone.train": "none"}, {"backbone.frozen_epochs": 2}, {}, True),
        ({"backbone.train": "none"}, {"batch_norm": "synced"}, {"batch_norm": "frozen"}, True),
        ({}, {"backbone.frozen_epochs": 8}, {"backbone.frozen_epochs": 9}, True),  # of 8 epochs
        ({"embedding": {"head": "identity"}}, {"optimizer.head_learning_rate": 0.5}, {}, True),
        ({}, {"optimizer.layer_decay": 0.5}, {}, False),
        ({}, {"backbone.frozen_epochs": 2}, {}, False),
        ({}, {"embedding.head": MLP}, {"embedding.head": {**MLP, "norm": "layer"}}, False),
        ({}, {"embedding.pool": "gem"}, {}, False),
    ],
)
def test_values_without_effect_make_no_other_configuration(
    base: dict[str, Any], one: dict[str, Any], other: dict[str, Any], same: bool
) -> None:
    trial = apply_settings(TrialConfig(), base)
    keys = [configuration_key(apply_settings(trial, change)) for change in (one, other)]
    assert (keys[0] == keys[1]) == same


SPACE = """
name: heads
trial: {embedding: {size: null}}
space:
  embedding.pool: [auto, avg, gem]
  embedding.head: [linear, identity, {hidden: {choice: [[64], [128, 64]]}, dropout: {uniform: [0, 0.5]}}]
  backbone.train: [all, {last_blocks: 2}]
"""


def test_a_head_is_searched_and_named_in_tables(tmp_path: Path) -> None:
    file = tmp_path / "sweep.yaml"
    file.write_text(SPACE)
    sweep, notes = read_sweep(file, [])
    assert notes == []
    labels = choice_labels(sweep.space["embedding.head"].choice)  # type: ignore[union-attr, arg-type]
    assert labels[:2] == ["linear", "identity"]
    drawn = {"embedding.pool": "gem", "embedding.head": {"hidden": [64], "norm": "batch"}, "backbone.train": "none"}
    assert format_parameters(drawn) == "pool gem, head hidden [64] norm batch, train none"
    file.write_text("name: x\nspace: {embedding.head.dropout: {uniform: [0, 0.5]}}")
    with pytest.raises(
        UserError, match=r"cannot be searched: trial.embedding.head is no mapping; give it one, or search"
    ):
        read_sweep(file, [])


def test_what_does_nothing_is_noted(tmp_path: Path) -> None:
    file = tmp_path / "sweep.yaml"
    file.write_text("name: x\ntrial: {epochs: 2}\nspace: {mdr.weight: [0.1, 0.2]}")
    frozen = ["trial.backbone.train=none", "trial.backbone.frozen_epochs=1", "trial.optimizer.layer_decay=0.5"]
    views = "trial.backbone.views: not set, so that the frozen network computes anew in each step, as affine changes"
    assert read_sweep(file, frozen)[1][1].startswith(views)
    frozen.append("trial.backbone.views=2")
    assert read_sweep(file, frozen)[1] == [
        "trial.backbone.frozen_epochs: does nothing beside train: none, which freezes the backbone in all epochs",
        "trial.optimizer.layer_decay: does nothing where the backbone is never trained",
    ]
    assert read_sweep(file, ["trial.backbone.frozen_epochs=2"])[1] == [
        "trial.backbone.frozen_epochs: 2, of 2 epochs: the backbone is never trained"
    ]
