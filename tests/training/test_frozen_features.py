"""Features of a frozen backbone that are computed once: the same bits as without, shared, resumed, found by content."""

import json
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from mdr_tune.cli.main import main
from mdr_tune.config.datasets import GlyphsDataConfig
from mdr_tune.config.trial import TrialConfig
from mdr_tune.data import ImageDataset, ImageSplit, load_dataset
from mdr_tune.training import TrialSession, frozen_features
from mdr_tune.training.frozen_features import BLOCK, about_features
from mdr_tune.util.errors import UserError
from tests.data.images.pictures import write_pictures
from tests.ranks import run_ranks
from tests.waiting import HANG_S

STEPS = {"epochs": 2, "iterations_per_epoch": 3, "batch": {"size": 16, "images_per_class": 4}}
FIXED = {
    "one view": {"augmentation": "none", "backbone": {"name": "conv4", "train": "none"}},
    "three views": {"backbone": {"name": "conv4", "train": "none", "views": 3}},
}


def part_of_letters() -> ImageDataset:
    """A part of the letters whose number of images no block divides."""
    whole = load_dataset(GlyphsDataConfig())

    def part(split: ImageSplit, classes: int) -> ImageSplit:
        rows = torch.arange(12 * classes)
        return ImageSplit(split.images[rows], split.labels[rows])

    splits = {"train": part(whole.split("train"), 50), "validation": part(whole.split("validation"), 20)}
    return replace(whole, splits=splits, content=f"{whole.content} in part")  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def small() -> ImageDataset:
    return part_of_letters()


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MDR_TUNE_CACHE", str(tmp_path))
    return tmp_path / "features"


def session(dataset: ImageDataset, **keys: Any) -> TrialSession:
    config = TrialConfig.from_keys({**STEPS, "embedding": {"size": 8, "head": {"hidden": [12]}}, **keys})
    return TrialSession(config, dataset)


def seen(trial: TrialSession) -> tuple[list[dict[str, float]], dict[str, Any]]:
    epochs = [trial.run_epoch() for _ in range(trial.config.epochs)]
    metrics = [{k: v for k, v in epoch.items() if not k.startswith(("time/", "memory/"))} for epoch in epochs]
    return metrics, trial.state_dict()


def files(cache: Path) -> list[Path]:
    return sorted(cache.glob("*.npy"))


@pytest.mark.parametrize("kind", FIXED)
def test_a_trial_has_the_same_bits_as_one_that_keeps_nothing(kind: str, small: ImageDataset, cache: Path) -> None:
    kept, plain = session(small, **FIXED[kind]), session(replace(small, content=""), **FIXED[kind])
    assert (kept.model.reads_features, plain.model.reads_features) == (True, False)
    (metrics, state), (expected, expected_state) = seen(kept), seen(plain)
    assert metrics == expected
    for part in ("model", "objective"):
        torch.testing.assert_close(state[part], expected_state[part], rtol=0, atol=0)
    momenta, expected_momenta = state["optimizer"]["state"], expected_state["optimizer"]["state"]
    torch.testing.assert_close(momenta, expected_momenta, rtol=0, atol=0)
    assert len(files(cache)) == 2  # training and validation
    assert kept.evaluate_test(small.split("validation")) == plain.evaluate_test(small.split("validation"))
    assert kept.examine_test(small.split("validation"))[1].shown  # pictures, which features are not


def test_a_second_trial_reads_them_whatever_its_head_and_seed(
    small: ImageDataset, cache: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    path = tmp_path / "weights.pt"
    torch.save(session(small).model.backbone.state_dict(), path)
    keys = {"augmentation": "none", "backbone": {"name": "conv4", "train": "none", "weights": str(path)}}
    session(small, **keys).run_epoch()
    assert len(files(cache)) == 2
    monkeypatch.setattr(frozen_features.FrozenFeatures, "_batch", lambda *_: pytest.fail("computed again"))
    session(small, **keys, seed=7, embedding={"size": 5}).run_epoch()


def test_other_weights_or_views_have_features_of_their_own(small: ImageDataset, cache: Path) -> None:
    for number, keys in enumerate([{}, {"seed": 1}, {"backbone": {"name": "conv4", "train": "none", "views": 2}}], 1):
        session(small, **{**FIXED["one view"], **keys}).train_epoch()
        assert len(files(cache)) == number


def test_images_that_are_read_in_another_way_have_features_of_their_own(tmp_path: Path, cache: Path) -> None:
    """Without a cache of images, its key does not tell them apart."""
    paths = write_pictures(tmp_path / "images", 48)
    for number, path in enumerate(paths):
        (tmp_path / "classes" / str(number // 4)).mkdir(parents=True, exist_ok=True)
        (tmp_path / "images" / path).rename(tmp_path / "classes" / str(number // 4) / f"{number}.jpg")
    images = {"name": "folder", "root": str(tmp_path / "classes"), "image_size": 16}
    ways: list[dict[str, Any]] = [{"resize": 24}, {"resize": 20}, {"resize": 24, "interpolation": "bilinear"}]
    for number, way in enumerate([{**way, "cache": cached} for cached in (True, False) for way in ways], 1):
        keys = {"backbone": {"name": "resnet18", "weights": "none", "train": "none"}, "augmentation": "none"}
        trial = TrialConfig.from_keys({**STEPS, "data": {**images, **way}, **keys})
        TrialSession(trial, load_dataset(trial.data)).train_epoch()
        assert len(files(cache)) == number


def numbers_of(trial: TrialSession) -> torch.Tensor:
    """The features of the first 40 training images, (40, F)."""
    trial.train_epoch()
    return trial._input._split.images[torch.arange(40)].flatten(1)


def test_versions_of_the_library_that_makes_the_network_count(
    small: ImageDataset, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its kernels round otherwise in other batches, so that features of batches of 64 equal those of 8 to rounding."""
    keys = {"augmentation": "none", "backbone": {"name": "timm.resnet10t", "weights": "none", "train": "none"}}
    trial = session(small, **keys)
    features = numbers_of(trial)
    with torch.no_grad():
        expected = torch.cat([trial.model.features(part) for part in small.split("train").images[:40].split(8)])
    torch.testing.assert_close(features, expected, rtol=1e-5, atol=1e-5 * float(expected.abs().max()))
    monkeypatch.setattr(frozen_features, "version_of", {"timm": "0.1"}.get)
    session(small, **keys).train_epoch()
    assert len(files(cache)) == 2


def test_a_network_that_reads_another_file_has_features_of_its_own(
    small: ImageDataset, cache: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    weights = tmp_path / "weights.pt"
    backbone = {"name": "tests.own_components:FromFile", "file": str(weights), "train": "none"}
    found = []
    for seed in (0, 1, 0):
        torch.save(torch.randn(48, 8, generator=torch.Generator().manual_seed(seed)), weights)
        trial = session(small, augmentation="none", backbone=backbone)
        found.append(numbers_of(trial))
        with torch.no_grad():
            expected = trial.model.features(small.split("train").images[:40])
        torch.testing.assert_close(found[-1], expected)
        assert "are of another network" in caplog.text or seed == 0
        caplog.clear()
    assert len(files(cache)) == 2


def test_damaged_files_are_named_and_computed_anew(
    small: ImageDataset, cache: Path, caplog: pytest.LogCaptureFixture
) -> None:
    features = numbers_of(session(small, **FIXED["one view"]))
    (file,) = files(cache)
    for content in (file.read_bytes()[:-1000], b""):
        file.write_bytes(content)
        parts = file.with_suffix(".parts")
        parts.mkdir()
        (parts / "0.npy").write_bytes(content[:5])
        assert torch.equal(numbers_of(session(small, **FIXED["one view"])), features)
        assert f"the kept features {file} are damaged" in caplog.text
        assert f"the features {parts / '0.npy'} are damaged" in caplog.text


def test_a_cache_that_can_only_be_read_is_read(
    small: ImageDataset, small_disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MDR_TUNE_CACHE", str(small_disk))
    own = {"augmentation": "none", "backbone": {"name": "tests.own_components:make_features", "train": "none"}}
    kinds = [FIXED["one view"], own]
    expected = [session(small, **keys).run_epoch()["train/loss"] for keys in kinds]
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    assert [session(small, **keys).run_epoch()["train/loss"] for keys in kinds] == expected
    assert main(["data", "list"]) == 0
    with pytest.raises(UserError, match=r"(Read-only file system).*MDR_TUNE_CACHE"):
        session(small, **FIXED["one view"], seed=1).train_epoch()


def test_progress_is_told(small: ImageDataset, cache: Path) -> None:
    told: list[tuple[str, int, int]] = []
    session(small, **FIXED["one view"]).prepare_features(lambda *one: told.append(one))
    steps = [*range(64, 513, 64), 576, 600, 600]
    assert told[: len(steps)] == [("features of conv4", done, 600) for done in steps]
    assert told[-1] == ("features of conv4", 240, 240)


def test_features_of_loaded_weights_are_read(small: ImageDataset, cache: Path) -> None:
    trial, other = session(small, **FIXED["one view"]), session(small, **FIXED["one view"], seed=5)
    trial.run_epoch()
    other.load_state_dict(trial.state_dict())
    assert other.evaluate("validation") == trial.evaluate("validation")


def test_blocks_that_are_there_are_not_computed_again(small: ImageDataset, cache: Path) -> None:
    trial = session(small, **FIXED["one view"])
    trial.train_epoch()
    (file,) = files(cache)
    features = np.load(file)
    assert len(features) == 600 > BLOCK
    file.unlink()
    parts = file.with_suffix(".parts")
    parts.mkdir()
    marked = features[BLOCK:] + 1
    np.save(parts / f"{BLOCK}.npy", marked)
    session(small, **FIXED["one view"]).train_epoch()
    assert np.array_equal(np.load(file), np.concatenate([features[:BLOCK], marked]))
    assert not parts.exists()


def test_several_that_need_them_share_the_work(
    small: ImageDataset, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two threads with file locks of their own stand for two processes; each waits in its first block for the other."""
    blocks: list[int] = []
    together = threading.Barrier(2, timeout=HANG_S)
    compute = frozen_features.FrozenFeatures._compute

    def counted(self: Any, split: Any, rows: slice, *others: Any) -> Any:
        if rows.stop - rows.start > 1:
            blocks.append(rows.start)
            together.wait()
        return compute(self, split, rows, *others)

    monkeypatch.setattr(frozen_features.FrozenFeatures, "_compute", counted)
    trials = [session(small, **FIXED["one view"]) for _ in range(2)]
    threads = [threading.Thread(target=trial._read_features) for trial in trials]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(blocks) == [0, BLOCK]
    read = [trial._input._split.images[torch.arange(600)] for trial in trials]
    assert torch.equal(*read)


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def test_two_workers_with_a_cache_folder_each_compute_what_one_computes(tmp_path: Path) -> None:
    """As on two nodes of a cluster: each fills its folder, before the first epoch, and they train as one rank does."""
    for world_size in (1, 2):
        run_ranks(Path(__file__).with_name("features_rank.py"), world_size, str(tmp_path))
    (one,) = [torch.load(tmp_path / "1_ranks_0.pt")]
    for rank in (0, 1):
        seen = torch.load(tmp_path / f"2_ranks_{rank}.pt")
        for mine, alone in zip(seen["metrics"], one["metrics"], strict=True):
            for key in ("train/loss", "val/recall_at_1"):
                assert mine[key] == pytest.approx(alone[key], rel=1e-9)
        torch.testing.assert_close(seen["model"], one["model"], rtol=1e-9, atol=1e-10)
        kept = [file.read_bytes() for file in files(tmp_path / f"node {rank} of 2" / "features")]
        assert kept == [file.read_bytes() for file in files(tmp_path / "node 0 of 1" / "features")]
        assert len(kept) == 2
        assert seen["batches"] == one["batches"]  # of features: all of them, on each node, before the first epoch


def test_what_they_are_of_is_written_listed_and_removed(
    small: ImageDataset, cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    trial = session(small, **FIXED["three views"])
    trial.run_epoch()
    unfinished = cache / "0.parts"
    unfinished.mkdir()
    (unfinished / "0.npy").write_bytes(bytes(2000))
    abouts = [json.loads(file.with_suffix(".json").read_text()) for file in files(cache)]
    splits = ("training", "validation")
    expected = [{**about_features(trial.config, split, "cpu"), "content": small.content} for split in splits]
    assert sorted(abouts, key=lambda about: about["split"]) == expected
    assert main(["data", "list"]) == 0
    out = capsys.readouterr().out
    for text in (
        "conv4: glyphs, training, 1,800 x 256   1.84 MB",
        "validation, 240 x 256",
        "partly computed:      2 kB",
    ):
        assert text in out
    assert main(["data", "remove", "--older-than", "1"]) == 0
    assert len(files(cache)) == 2
    assert main(["data", "remove", "--older-than", "0"]) == 0
    assert [file.suffix for file in cache.iterdir()] == [".lock", ".lock"]
    assert "2.09 MB freed" in capsys.readouterr().out


@pytest.mark.parametrize(("batch", "told"), [(1, "not enough disk space for the features"), (2, "cannot be kept in")])
def test_a_full_disk_is_told_and_leaves_no_half_file(
    small: ImageDataset, small_disk: Path, monkeypatch: pytest.MonkeyPatch, batch: int, told: str
) -> None:
    """The disk is full before any block is computed, or when the first one is to be written."""
    monkeypatch.setenv("MDR_TUNE_CACHE", str(small_disk))
    trial = session(small, **FIXED["one view"])
    batches = iter(range(1, 100))

    def fill() -> None:
        if next(batches) == batch:
            with pytest.raises(OSError, match="No space left"):
                (small_disk / "filler").write_bytes(bytes(8 << 20))

    monkeypatch.setattr(trial, "_count_progress", fill)
    with pytest.raises(UserError, match=told):
        trial.train_epoch()
    assert [*small_disk.rglob("*.npy"), *small_disk.rglob("*.tmp")] == []


def test_a_folder_that_cannot_be_written_is_told(small: ImageDataset, cache: Path) -> None:
    cache.write_text("in the way")
    with pytest.raises(UserError, match=rf"cannot be kept in {cache} \(.*MDR_TUNE_CACHE"):
        session(small, **FIXED["one view"]).train_epoch()
