"""benchmarks/input_pipeline.py on a few files."""

import os
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image
from rich.console import Console
from torchvision.transforms import PILToTensor

from mdr_tune.backbones import build_backbone

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

from input_pipeline import measure, one_core
from pipeline.photos import write_photos
from pipeline.sides import OurSide, PillowSide
from pipeline.tables import Measured, print_table, rows


def test_all_sides_are_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("input_pipeline.BATCH_SIZE", 8)
    measured = measure(tmp_path, count=5, rounds=2)
    assert list(measured.speeds) == [
        "Pillow",
        "Pillow, not normalised",
        "ours, cache on",
        "ours, cache on, not normalised",
        "ours, cache off",
    ]
    assert all(len(speeds) == 2 and min(speeds) > 0 for speeds in measured.speeds.values())
    assert measured.cache_bytes == 5 * 3 * 256 * 256
    assert measured.build_s > 0
    assert 50_000 < measured.file_bytes < 150_000


def test_the_ratio_is_that_of_the_medians(capsys: pytest.CaptureFixture[str]) -> None:
    speeds = {
        "Pillow": [10.0, 12.0, 11.0],
        "Pillow, not normalised": [20.0, 20.0, 20.0],
        "ours, cache on": [100.0, 110.0, 999.0],
        "ours, cache on, not normalised": [250.0, 250.0, 250.0],
        "ours, cache off": [22.0, 22.0, 22.0],
    }
    measured = Measured(5, 97e3, 2.0, 10**6, speeds)
    print_table(Console(width=120), measured)
    printed = capsys.readouterr().out
    assert "10.00" in printed  # 110 / 11
    assert "12.50" in printed  # 250 / 20
    assert "100 110 999" in printed
    assert [(row.ratio, row.is_met) for row in rows(measured)] == [(12.5, True), (10.0, None), (2.0, None)]


def test_pillow_s_side_makes_what_ours_makes(tmp_path: Path) -> None:
    """Without the chances, all of a photo: the same pixels, normalised alike."""
    write_photos(tmp_path, 1)
    side = PillowSide([tmp_path / "00000.jpg"])
    resize, _, _, *rest = side._transform.transforms
    with Image.open(tmp_path / "00000.jpg") as photo:
        expected = resize(photo)
        for transform in rest:
            expected = transform(expected)
        images = PILToTensor()(resize(photo))[None]
    normalized = build_backbone("bn_inception").normalize(images)
    torch.testing.assert_close(normalized[0], expected, rtol=0, atol=1e-4)


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
