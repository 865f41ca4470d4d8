"""benchmarks/input_pipeline.py on a few files, without the authors' code, which no test has."""

import os
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image
from rich.console import Console

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

from input_pipeline import main, measure, one_core
from pipeline.photos import write_photos
from pipeline.sides import OurSide
from pipeline.tables import Measured, print_table


def test_our_sides_are_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("input_pipeline.BATCH_SIZE", 8)
    measured = measure(tmp_path, count=5, rounds=2, authors=None)
    assert list(measured.speeds) == ["ours, cache on", "ours, cache on, not normalised", "ours, cache off"]
    assert all(len(speeds) == 2 and min(speeds) > 0 for speeds in measured.speeds.values())
    assert measured.cache_bytes == 5 * 3 * 256 * 256
    assert measured.build_s > 0
    assert 50_000 < measured.file_bytes < 150_000


def test_the_ratio_is_that_of_the_medians(capsys: pytest.CaptureFixture[str]) -> None:
    speeds = {
        "authors": [10.0, 12.0, 11.0],
        "authors, not normalised": [20.0, 20.0, 20.0],
        "ours": [100.0, 110.0, 999.0],
        "ours, not normalised": [250.0, 250.0, 250.0],
    }
    print_table(Console(width=120), Measured(5, 97e3, 2.0, 10**6, speeds))
    printed = capsys.readouterr().out
    assert "10.00" in printed  # 110 / 11
    assert "12.50" in printed  # 250 / 20
    assert "100 110 999" in printed
    assert "--authors" not in printed


def test_without_the_authors_there_is_no_ratio(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(Console(width=120), Measured(5, 97e3, 2.0, 10**6, {"ours": [100.0]}))
    assert "give a checkout of it with --authors DIR" in capsys.readouterr().out


def test_sides_with_and_without_normalising_see_the_same_images() -> None:
    images = torch.randint(0, 256, (4, 3, 256, 256), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    indices = torch.tensor([[0, 3, 1]])
    (normalized,) = OurSide("a", images, 1).batches(2, indices)
    (plain,) = OurSide("b", images, 1, normalize=False).batches(2, indices)
    mean = torch.tensor([104.0, 117.0, 128.0])[:, None, None]  # blue, green, red, as the authors'
    assert torch.equal(normalized, plain.flip(1).float() - mean)


def test_the_files_are_different_photos(tmp_path: Path) -> None:
    names = write_photos(tmp_path, 3)
    assert sorted(path.name for path in tmp_path.iterdir()) == names
    assert len({(tmp_path / name).read_bytes() for name in names}) == 3
    with Image.open(tmp_path / names[0]) as photo:
        assert (photo.size, photo.mode, photo.format) == ((500, 375), "RGB", "JPEG")


def test_one_core_is_given_back() -> None:
    before = os.sched_getaffinity(0), torch.get_num_threads()
    with one_core():
        assert len(os.sched_getaffinity(0)) == 1
        assert torch.get_num_threads() == 1
    assert (os.sched_getaffinity(0), torch.get_num_threads()) == before


def test_a_folder_without_the_authors_code_is_refused(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["--authors", str(tmp_path)]) == 2
    assert "no checkout of AAAI2021_MDR" in capsys.readouterr().err
