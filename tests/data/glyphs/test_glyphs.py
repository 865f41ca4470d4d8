import logging
import multiprocessing
import shutil
import threading
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch

from mdr_tune.config.datasets import ClassFold, GlyphsDataConfig
from mdr_tune.data import SPLIT_NAMES, ImageDataset, ImageSplit, read_test_split
from mdr_tune.data.glyphs import glyphs
from mdr_tune.data.glyphs.letters import FACES, distinct_letters
from mdr_tune.data.glyphs.render import GlyphRenderer


@pytest.fixture(scope="session")
def arrow_file(glyphs_dataset: ImageDataset, glyph_cache: Path) -> Path:
    return glyphs.prepare(glyph_cache)


@pytest.fixture(scope="session")
def batch(arrow_file: Path) -> pa.RecordBatch:
    reader = pa.ipc.open_file(arrow_file.read_bytes())
    assert reader.num_record_batches == 1
    return reader.get_batch(0)


@pytest.fixture
def renderings(monkeypatch: pytest.MonkeyPatch, batch: pa.RecordBatch) -> list[int]:
    """Replace the rendering by a copy of its result; the list grows by one entry each time."""
    calls: list[int] = []

    def render_table() -> pa.RecordBatch:
        calls.append(1)
        return batch

    monkeypatch.setattr(glyphs, "_render_table", render_table)
    return calls


def all_splits(dataset: ImageDataset) -> dict[str, ImageSplit]:
    return {**dataset.splits, "test": read_test_split(GlyphsDataConfig())}


def test_sizes_of_the_splits(glyphs_dataset: ImageDataset) -> None:
    splits = all_splits(glyphs_dataset)
    sizes = {name: split.num_classes for name, split in splits.items()}
    assert sizes == {"train": 692, "validation": 207, "test": 485}
    for name, split in splits.items():
        assert split.images.shape == (12 * sizes[name], 1, 32, 32)
        assert torch.all(torch.unique(split.labels, return_counts=True)[1] == 12)


def test_labels_count_through_the_splits(glyphs_dataset: ImageDataset) -> None:
    labels = torch.cat([split.labels for split in all_splits(glyphs_dataset).values()])
    assert torch.equal(labels, torch.arange(1384).repeat_interleave(12))


def test_splits_share_no_letter_and_use_all(batch: pa.RecordBatch) -> None:
    letters_of: dict[str, set[int]] = {name: set() for name in SPLIT_NAMES}
    for name, code in zip(batch["split"].to_pylist(), batch["codepoint"].to_pylist(), strict=True):
        letters_of[name].add(code)
    assert sum(map(len, letters_of.values())) == 1384
    assert set.union(*letters_of.values()) == set(distinct_letters())
    assert letters_of == {name: set(codes) for name, codes in glyphs.split_letters().items()}


def test_split_never_changes() -> None:
    # Other letters here would make results of this version incomparable with those before.
    assert {name: codes[:3] for name, codes in glyphs.split_letters().items()} == {
        "train": [66, 68, 69],
        "validation": [75, 81, 84],
        "test": [65, 67, 77],
    }


def test_file_holds_what_the_renderer_draws(batch: pa.RecordBatch) -> None:
    for row in range(7, len(batch), 1501):
        face = FACES.index(batch["face"][row].as_py())
        image = GlyphRenderer(face, glyphs.SEED).render(batch["codepoint"][row].as_py())
        assert batch["image"][row].as_py() == image.tobytes()


def test_images_are_views_of_the_mapped_file(glyph_cache: Path, arrow_file: Path) -> None:
    searched, test = glyphs.open_glyphs(glyph_cache)
    mapped = [
        tuple(int(end, 16) for end in line.split()[0].split("-"))
        for line in Path("/proc/self/maps").read_text().splitlines()
        if line.endswith(str(arrow_file))
    ]
    for split in (*searched.splits.values(), test):
        assert isinstance(split.images, torch.Tensor)
        address = split.images.data_ptr()
        assert any(start <= address and address + split.images.nbytes <= end for start, end in mapped)


def test_writing_into_the_images_leaves_the_file_alone(glyph_cache: Path, arrow_file: Path) -> None:
    before = arrow_file.read_bytes()
    images = glyphs.open_glyphs(glyph_cache).test.images
    assert isinstance(images, torch.Tensor)
    images.fill_(7)
    assert arrow_file.read_bytes() == before
    assert not torch.all(glyphs.open_glyphs(glyph_cache).test.images[torch.arange(9)] == 7)


def test_valid_file_is_not_rendered_again(glyph_cache: Path, arrow_file: Path, renderings: list[int]) -> None:
    assert glyphs.prepare(glyph_cache) == arrow_file
    assert not renderings


def damage(content: bytes, how: str) -> bytes:
    middle = len(content) // 2
    return {
        "empty": b"",
        "cut short": content[:middle],
        "no footer": content[:-20],
        "one bit": content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :],
        "foreign": b"something else",
    }[how]


@pytest.mark.parametrize("how", ["empty", "cut short", "no footer", "one bit", "foreign"])
def test_damaged_file_is_rendered_anew_with_a_warning(
    how: str, arrow_file: Path, renderings: list[int], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / arrow_file.name
    path.write_bytes(damage(arrow_file.read_bytes(), how))
    with caplog.at_level(logging.WARNING):
        assert glyphs.prepare(tmp_path) == path
    assert len(renderings) == 1
    assert "is damaged" in caplog.text
    assert path.read_bytes() == arrow_file.read_bytes()


def test_file_of_other_parameters_is_left_alone(
    arrow_file: Path, renderings: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copy(arrow_file, tmp_path)
    glyphs._fingerprint.cache_clear()
    with monkeypatch.context() as patch:
        patch.setattr(glyphs, "SEED", glyphs.SEED + 1)
        other = glyphs.prepare(tmp_path)
    glyphs._fingerprint.cache_clear()
    assert other.name != arrow_file.name
    assert len(renderings) == 1


def test_failed_rendering_leaves_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> None:
        raise MemoryError

    monkeypatch.setattr(glyphs, "_render_table", fail)
    with pytest.raises(MemoryError):
        glyphs.prepare(tmp_path)
    assert [path.suffix for path in tmp_path.iterdir()] == [".lock"]


def test_of_several_threads_one_renders(tmp_path: Path, arrow_file: Path, renderings: list[int]) -> None:
    threads = [threading.Thread(target=glyphs.prepare, args=(tmp_path,)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(renderings) == 1
    assert (tmp_path / arrow_file.name).read_bytes() == arrow_file.read_bytes()


def test_two_processes_end_with_one_file_of_the_same_bytes(tmp_path: Path, arrow_file: Path) -> None:
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        paths = pool.map(glyphs.prepare, [tmp_path, tmp_path], chunksize=1)
    assert paths == [tmp_path / arrow_file.name] * 2
    assert {path.suffix for path in tmp_path.iterdir()} == {".arrow", ".lock"}
    assert paths[0].read_bytes() == arrow_file.read_bytes()


def test_folds_part_the_classes_that_are_not_test_classes(glyph_cache: Path) -> None:
    fixed = glyphs.open_glyphs(glyph_cache)
    every = {bytes(image) for name in ("train", "validation") for image in _pixels(fixed.searched.split(name))}
    held_out = []
    for fold in range(4):
        config = GlyphsDataConfig(validation=ClassFold(folds=4, fold=fold, seed=3))
        opened = glyphs.open_glyphs(glyph_cache, {"folds": 4, "fold": fold, "seed": 3})
        assert opened.outline() == config.outline()
        train, validation = opened.searched.split("train"), opened.searched.split("validation")
        mine = [bytes(image) for image in _pixels(validation)]
        assert {bytes(image) for image in _pixels(train)}.isdisjoint(mine)
        assert torch.equal(torch.unique(train.labels), torch.arange(train.num_classes))
        assert int(validation.labels.min()) == train.num_classes
        assert torch.equal(opened.test.labels, fixed.test.labels)
        held_out += mine
    assert len(held_out) == len(set(held_out))
    assert set(held_out) == every


def _pixels(split: ImageSplit) -> np.ndarray:
    return split.images[torch.arange(len(split))].numpy()
