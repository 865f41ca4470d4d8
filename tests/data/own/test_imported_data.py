"""A data set of the user's own code: its splits are those that `split` returns, and mistakes are told."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from mdr_tune.config.trial import TrialConfig
from mdr_tune.data import load_dataset, read_test_split
from mdr_tune.util.errors import UserError
from mdr_tune.util.import_path import look_for_code_in

CODE = """\
import numpy as np


class Parts:
    def __init__(self, own_validation: bool = False, size: int = 16):
        self.own_validation, self.size = own_validation, size

    def split(self, name):
        if name == "validation" and not self.own_validation:
            return None
        letter = {"train": "a", "validation": "b", "test": "c"}[name]
        labels = np.repeat([f"{letter}{number}" for number in range(5)], 3)
        return np.random.default_rng(ord(letter)).integers(0, 256, (15, 3, self.size, self.size), np.uint8), labels


class Floats(Parts):
    def split(self, name):
        part = super().split(name)
        return None if part is None else (part[0] / 255, part[1])


class Again(Parts):
    def split(self, name):
        return super().split("train")


class Fails(Parts):
    def split(self, name):
        return self.nothing
"""


@pytest.fixture(autouse=True)
def code(tmp_path: Path) -> Iterator[Path]:
    (tmp_path / "parts.py").write_text(CODE)
    look_for_code_in([tmp_path])
    yield tmp_path
    look_for_code_in([])


def test_the_splits_are_those_of_the_code() -> None:
    config = TrialConfig.from_keys({"data": {"name": "parts:Parts", "own_validation": True}, "batch": {"size": 8}})
    assert config.data.input_shape == (3, 16, 16)
    data, test = load_dataset(config.data), read_test_split(config.data)
    train, validation = data.split("train"), data.split("validation")
    assert [split.labels.unique().tolist() for split in (train, validation, test)] == [
        [0, 1, 2, 3, 4],
        [5, 6, 7, 8, 9],
        [10, 11, 12, 13, 14],
    ]
    expected = np.random.default_rng(ord("c")).integers(0, 256, (15, 3, 16, 16), np.uint8)
    assert torch.equal(test.images[torch.tensor([7, 2])], torch.from_numpy(expected[[7, 2]]))


def test_classes_are_held_out_where_there_is_no_validation_split() -> None:
    keys = {"name": "parts:Parts", "validation": {"folds": 5, "fold": 1}}
    data = load_dataset(TrialConfig.from_keys({"data": keys, "batch": {"size": 8}}).data)
    train, validation = data.split("train"), data.split("validation")
    assert (train.num_classes, validation.num_classes) == (4, 1)
    assert train.labels.unique().tolist() == [0, 1, 2, 3]
    both = torch.cat([split.images[torch.arange(len(split))] for split in (train, validation)])
    whole = np.random.default_rng(ord("a")).integers(0, 256, (15, 3, 16, 16), np.uint8)
    assert both.sum(dtype=torch.int64) == int(whole.sum())


@pytest.mark.parametrize(
    ("keys", "told"),
    [
        ({"name": "parts:Floats"}, r"data\.name: parts:Floats \(.*parts\.py:17\): images of train are float64: retu"),
        ({"name": "parts:Again"}, r"the class 'a\d' of validation is in another split, too: split by classes"),
        ({"name": "parts:Fails"}, r"parts:Fails fails: .*parts\.py:29: AttributeError"),
        ({"name": "parts:Parts", "size": "16"}, r"data\.size: expected int .*, got '16' \(text\)"),
        ({"name": "parts:Parts", "sise": 16}, r"data\.sise: unknown key\. Did you mean 'size'\?"),
    ],
)
def test_a_mistake_is_told(keys: dict[str, object], told: str) -> None:
    with pytest.raises(UserError, match=told):
        TrialConfig.from_keys({"data": keys})
