"""Learning curves on training and test classes, and the authors' protocol: all training classes, no validation."""

import pytest
import torch

from mdr_tune.config.trial import TrialConfig
from mdr_tune.data import ImageDataset, ImageSplit
from mdr_tune.training import TrialSession
from tests.data.few_letters import few_letters, few_test_letters

SMALL = {"batch": {"size": 16}, "iterations_per_epoch": 2, "epochs": 2, "embedding": {"size": 8}}


@pytest.fixture(scope="module")
def dataset() -> ImageDataset:
    return few_letters()


@pytest.fixture(scope="module")
def test_split() -> ImageSplit:
    return few_test_letters()


def run(dataset: ImageDataset, test_split: ImageSplit, **changes: object) -> list[dict[str, float]]:
    session = TrialSession(TrialConfig.model_validate({**SMALL, **changes}), dataset, test=test_split)
    return [session.run_epoch() for _ in range(2)]


def without_curves_and_time(epochs: list[dict[str, float]]) -> list[dict[str, float]]:
    return [{k: v for k, v in epoch.items() if not k.startswith(("curves/", "time/", "memory/"))} for epoch in epochs]


def test_curves_change_no_number_of_the_trial(dataset: ImageDataset, test_split: ImageSplit) -> None:
    plain, curved = run(dataset, test_split), run(dataset, test_split, curves=["test", "train"])
    assert without_curves_and_time(curved) == without_curves_and_time(plain)
    assert not [key for key in plain[0] if key.startswith("curves/")]


def test_a_curve_is_the_evaluation_of_its_split(dataset: ImageDataset, test_split: ImageSplit) -> None:
    config = TrialConfig.model_validate({**SMALL, "curves": ["train", "test"]})
    session = TrialSession(config, dataset, test=test_split)
    metrics = session.run_epoch()
    on_train = {k.removeprefix("curves/train_"): v for k, v in metrics.items() if k.startswith("curves/train_")}
    on_test = {k.removeprefix("curves/test_"): v for k, v in metrics.items() if k.startswith("curves/test_")}
    assert {f"train/{k}": v for k, v in on_train.items()} == session.evaluate("train")
    assert {f"test/{k}": v for k, v in on_test.items()} == session.evaluate_test(test_split)


def test_the_authors_protocol_trains_on_all_training_classes(dataset: ImageDataset, test_split: ImageSplit) -> None:
    config = TrialConfig.model_validate({**SMALL, "protocol": "paper", "loss": {"name": "arcface"}, "embedding": {}})
    session = TrialSession(config, dataset, test=test_split)
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
    assert metrics["curves/test_recall_at_1"] == session.evaluate_test(test_split)["test/recall_at_1"]


def test_the_test_classes_must_be_given(dataset: ImageDataset) -> None:
    with pytest.raises(ValueError, match=r"give them \(test\)"):
        TrialSession(TrialConfig.model_validate({**SMALL, "curves": ["test"]}), dataset)
