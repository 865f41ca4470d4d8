"""Learning curves on training and test classes, and the authors' protocol: all training classes, no validation."""

import pytest
import torch

from mdr_tune.config.datasets import GlyphsDataConfig
from mdr_tune.config.trial import TrialConfig
from mdr_tune.data import load_dataset, read_test_split
from mdr_tune.training import TrialSession

GLYPHS = GlyphsDataConfig()
SMALL = {"batch": {"size": 16}, "iterations_per_epoch": 2, "epochs": 2, "embedding": {"size": 8}}


def run(**changes: object) -> list[dict[str, float]]:
    session = TrialSession(
        TrialConfig.model_validate({**SMALL, **changes}),
        load_dataset(GLYPHS),
        test=read_test_split(GLYPHS),
    )
    return [session.run_epoch() for _ in range(2)]


def without_curves_and_time(epochs: list[dict[str, float]]) -> list[dict[str, float]]:
    return [{k: v for k, v in epoch.items() if not k.startswith(("curves/", "time/", "memory/"))} for epoch in epochs]


def test_curves_change_no_number_of_the_trial() -> None:
    plain, curved = run(), run(curves=["test", "train"])
    assert without_curves_and_time(curved) == without_curves_and_time(plain)
    assert not [key for key in plain[0] if key.startswith("curves/")]


def test_a_curve_is_the_evaluation_of_its_split() -> None:
    config = TrialConfig.model_validate({**SMALL, "curves": ["train", "test"]})
    session = TrialSession(config, load_dataset(GLYPHS), test=read_test_split(GLYPHS))
    metrics = session.run_epoch()
    on_train = {k.removeprefix("curves/train_"): v for k, v in metrics.items() if k.startswith("curves/train_")}
    on_test = {k.removeprefix("curves/test_"): v for k, v in metrics.items() if k.startswith("curves/test_")}
    assert {f"train/{k}": v for k, v in on_train.items()} == session.evaluate("train")
    assert {f"test/{k}": v for k, v in on_test.items()} == session.evaluate_test(read_test_split(GLYPHS))


def test_the_authors_protocol_trains_on_all_training_classes() -> None:
    config = TrialConfig.model_validate({**SMALL, "protocol": "paper", "loss": {"name": "arcface"}, "embedding": {}})
    dataset = load_dataset(GLYPHS)
    session = TrialSession(config, dataset, test=read_test_split(GLYPHS))
    train, validation = dataset.split("train"), dataset.split("validation")
    joined = session.dataset.split("train")
    assert joined.num_classes == train.num_classes + validation.num_classes
    some = torch.tensor([len(train) + 5, 3, len(train), len(train) - 1])
    expected = torch.cat([train.images, validation.images])[some]
    assert torch.equal(joined.images[some], expected)
    assert torch.equal(joined.labels, torch.cat([train.labels, validation.labels]))
    assert joined.labels.unique().tolist() == list(range(joined.num_classes))  # a proxy for each
    metrics = session.run_epoch()
    assert not [key for key in metrics if key.startswith("val/")]
    assert metrics["curves/test_recall_at_1"] == session.evaluate_test(read_test_split(GLYPHS))["test/recall_at_1"]


def test_the_test_classes_must_be_given() -> None:
    with pytest.raises(ValueError, match=r"give them \(test\)"):
        TrialSession(TrialConfig.model_validate({**SMALL, "curves": ["test"]}), load_dataset(GLYPHS))
