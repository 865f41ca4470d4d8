"""A data set of vectors: read, checked, split and trained on like images."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest
import torch

from mdr_tune.config.datasets import Dataset, read_data
from mdr_tune.config.trial import TrialConfig
from mdr_tune.data import load_dataset, outline_files, read_test_split
from mdr_tune.data.vectors import Vectors, write_vectors
from mdr_tune.retrieve.index_file import IndexInfo, writing_index
from mdr_tune.training import TrialSession
from mdr_tune.util.errors import UserError

F = 6


def vectors(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(count, F)).astype(np.float32)


def write(file: Path, column: Any, labels: list[Any], **more: list[Any]) -> Path:
    pa.parquet.write_table(pa.table({"embedding": column, "label": labels, **more}), file)
    return file


def fixed(numbers: np.ndarray) -> pa.Array:
    return pa.FixedSizeListArray.from_arrays(pa.array(numbers.ravel()), numbers.shape[1])


def of(file: Path, **keys: Any) -> Dataset:
    return read_data("features", file=str(file), **keys)


LABELS = [f"class {number // 4}" for number in range(40)]


@pytest.mark.parametrize("kind", ["fixed", "list", "large", "float64", "in two files"])
def test_each_vector_is_read_with_its_label_however_the_file_has_it(kind: str, tmp_path: Path) -> None:
    numbers = vectors(40)
    if kind == "in two files":
        (tmp_path / "v").mkdir()
        file = tmp_path / "v"
        write(file / "a.parquet", fixed(numbers[:13]), LABELS[:13])
        write(file / "b.parquet", fixed(numbers[13:]), LABELS[13:])
    else:
        column = {
            "fixed": lambda: fixed(numbers),
            "list": lambda: pa.array(numbers.tolist(), pa.list_(pa.float32())),
            "large": lambda: pa.array(numbers.tolist(), pa.large_list(pa.float32())),
            "float64": lambda: pa.array(numbers.astype(np.float64).tolist(), pa.list_(pa.float64())),
        }[kind]()
        file = write(tmp_path / "v.parquet", column, LABELS)
    data = of(file)
    assert data.input_shape == (1, 1, F)
    dataset, test = load_dataset(data), read_test_split(data)
    assert data.outline() == outline_files(data)
    splits = [dataset.split("train"), dataset.split("validation"), test]
    assert [len(split) for split in splits] == [24, 4, 12]
    label_of = {tuple(vector): label for vector, label in zip(numbers.tolist(), LABELS, strict=True)}
    found = set()
    for split in splits:
        read = split.images[torch.arange(len(split))]
        assert (read.dtype, tuple(read.shape[1:])) == (torch.float32, (1, 1, F))
        names = [label_of[tuple(vector.flatten().tolist())] for vector in read]
        found |= {(name, int(label)) for name, label in zip(names, split.labels, strict=True)}
    assert len(found) == len(set(LABELS))  # one number for each class


def test_splits_and_roles_of_the_file_are_kept(tmp_path: Path) -> None:
    split = ["train"] * 24 + ["validation"] * 8 + ["query", "query", "gallery", "gallery"] * 2
    data = of(write(tmp_path / "v.parquet", fixed(vectors(40)), LABELS, part=split), split_column="part")
    test = read_test_split(data)
    assert test.gallery is not None
    assert (len(test), len(test.gallery)) == (4, 4)
    assert torch.equal(test.images[torch.tensor([2])].flatten(), torch.from_numpy(vectors(40)[36]))


def test_a_changed_file_is_read_anew(tmp_path: Path) -> None:
    file = write(tmp_path / "v.parquet", fixed(vectors(40)), LABELS)
    assert of(file).input_shape[-1] == F
    write(file, fixed(vectors(40)[:, :3]), LABELS)
    assert of(file).input_shape[-1] == 3


BROKEN = {
    "of 2 lengths": (
        pa.array([[1.0, 2.0], [1.0], *[[0.0, 1.0]] * 38]),
        r"data.vector_column: in column 'embedding' of .*, 1 of 40 rows have a vector of another length than the first "
        r"row, 2 \(row 1; the first is row 0\)",
    ),
    "null": (pa.array([None, *[[0.0, 1.0]] * 39]), r"1 of 40 rows have no vector: leave them out \(row 0"),
    "a number is null": (
        pa.array([*[[0.0, 1.0]] * 39, [None, 1.0]]),
        r"1 of 40 rows have a vector with a number that is missing, or not finite in float32 \(row 39",
    ),
    "infinite": (pa.array([[np.inf, 1.0], *[[0.0, 1.0]] * 39]), "not finite in float32"),
    "too large for float32": (pa.array([[1e300, 1.0], *[[0.0, 1.0]] * 39]), "not finite in float32"),
    "empty": (pa.array([[]] * 40, pa.list_(pa.float32())), "40 of 40 rows have an empty vector"),
    "text": (pa.array([["a"]] * 40), "holds list<.*string>, and not a list of numbers in each row"),
    "numbers": (pa.array([1.0] * 40), "holds double, and not a list of numbers in each row"),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_a_column_that_holds_no_vectors_is_refused(kind: str, tmp_path: Path) -> None:
    column, message = BROKEN[kind]
    data = of(write(tmp_path / "v.parquet", column, LABELS))
    for function in (lambda data: data.outline(), load_dataset):
        with pytest.raises(UserError, match=message):
            function(data)


def test_a_class_in_two_splits_and_a_csv_are_refused(tmp_path: Path) -> None:
    split = ["train", "test"] * 20
    data = of(write(tmp_path / "v.parquet", fixed(vectors(40)), LABELS, part=split), split_column="part")
    with pytest.raises(UserError, match="class 0"):
        data.outline()
    (tmp_path / "v.csv").write_text("embedding,label\n1,a\n")
    with pytest.raises(UserError, match="is a CSV, which has no column of vectors: write a Parquet file"):
        of(tmp_path / "v.csv").outline()


def test_what_is_written_is_what_was_given(tmp_path: Path) -> None:
    numbers = vectors(10)
    write_vectors(tmp_path / "v.npy", 10, F, [numbers[:3], numbers[3:].astype(np.float64)])
    assert np.array_equal(np.load(tmp_path / "v.npy"), numbers)
    assert torch.equal(Vectors(tmp_path / "v.npy")[torch.tensor([9, 0])][:, 0, 0], torch.from_numpy(numbers[[9, 0]]))
    with pytest.raises(ValueError, match="7 vectors were given, not 8"):
        write_vectors(tmp_path / "w.npy", 8, F, [numbers[3:]])
    assert not (tmp_path / "w.npy").exists()


def test_a_trial_trains_the_embedding_layer_alone_as_a_plain_loop_does(tmp_path: Path) -> None:
    file = write(tmp_path / "v.parquet", fixed(vectors(40)), LABELS)
    keys = {
        "data": {"name": "features", "file": str(file)},
        "batch": {"size": 12, "images_per_class": 4},
        "embedding": {"size": 5, "mode": "none"},
        "miner": "all",
        "mdr": None,
        "optimizer": {"name": "sgd", "momentum": 0, "weight_decay": 0, "learning_rate": 0.1},
        "iterations_per_epoch": 3,
    }
    config = TrialConfig.from_keys(keys)
    assert config.backbone.name == "identity"
    session = TrialSession.from_config(config, dtype=torch.float64)
    linear = torch.nn.Linear(F, 5, dtype=torch.float64)
    linear.load_state_dict(session.model.linear.state_dict())
    train = session.dataset.split("train")
    for batch in session._sampler.epoch_batches(0, 3):
        inputs = train.images[batch].flatten(1).double()
        embeddings, labels = linear(inputs), train.labels[batch]
        same = labels[:, None] == labels
        loss = [
            torch.nn.functional.triplet_margin_loss(embeddings[a], embeddings[p], embeddings[n], margin=0.2)
            for a in range(12)
            for p in range(12)
            for n in range(12)
            if a != p and same[a, p] and not same[a, n]
        ]
        torch.stack(loss).mean().backward()
        with torch.no_grad():
            for parameter in linear.parameters():
                parameter -= 0.1 * parameter.grad
                parameter.grad = None
    session.train_epoch()
    torch.testing.assert_close(session.model.linear.weight, linear.weight, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"backbone": "conv4"}, "backbone.name: conv4 takes images, and the data set features has vectors: leave"),
        ({"augmentation": "affine"}, "augmentation.name: affine changes images, and features has vectors: use none"),
        ({"data": "glyphs", "backbone": "identity"}, "backbone.name: identity takes the vectors of data: features"),
    ],
)
def test_what_does_not_go_with_vectors_is_refused(keys: dict[str, Any], message: str, tmp_path: Path) -> None:
    file = write(tmp_path / "v.parquet", fixed(vectors(40)), LABELS)
    with pytest.raises(UserError, match=message):
        TrialConfig.from_keys({"data": {"name": "features", "file": str(file)}, **keys})


def test_the_index_that_embed_writes_is_such_a_file(tmp_path: Path) -> None:
    numbers = torch.from_numpy(vectors(40))
    info = IndexInfo("models:/m/1", "m", None, str(tmp_path), (3, 8, 8), 8, "2026-11-30T00:00:00", "1")
    with writing_index(tmp_path / "index.parquet", info, F) as index:
        index.add([f"{number}.jpg" for number in range(40)], LABELS, numbers)
    train = load_dataset(of(tmp_path / "index.parquet")).split("train")
    read = train.images[torch.arange(len(train))].flatten(1)
    assert {tuple(row) for row in read.tolist()} <= {tuple(row) for row in numbers.tolist()}
    assert len(train) == 24
