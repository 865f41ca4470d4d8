"""Image files to embeddings: the pixels of an evaluation, in order, whatever the batch; unreadable ones named."""

import dataclasses
import os
import stat
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision import transforms

from mdr_tune.data.augmentations.cropping import center_crop
from mdr_tune.data.images.image_files import open_images
from mdr_tune.retrieve import LeftOut, embed_folder, embed_images, read_index
from mdr_tune.util.errors import UserError
from mdr_tune.util.progress import no_progress
from tests.data.images.pictures import expected_images, truncate, write_pictures
from tests.retrieve.make import embedder


@pytest.mark.parametrize("interpolation", ["lanczos", "bicubic"])
def test_pixels_are_those_of_an_evaluation(tmp_path: Path, interpolation: Any) -> None:
    paths = write_pictures(tmp_path, 3)
    expected = center_crop(expected_images(tmp_path, paths, 40, interpolation), 32)
    model = dataclasses.replace(embedder((3, 32, 32), resize=40), interpolation=interpolation)
    assert torch.equal(torch.stack([model.read(tmp_path / path) for path in paths]), expected)


def test_pixels_are_those_of_the_cache_of_a_sweep(tmp_path: Path) -> None:
    """What a sweep reads with `data: {name: folder}` is what `embed` reads."""
    paths = write_pictures(tmp_path / "images", 5)
    (tmp_path / "cache").mkdir()
    cached, _ = open_images(
        "folder",
        tmp_path / "images",
        paths,
        tmp_path / "cache",
        no_progress,
        resize=40,
        cache=True,
        corrupt="refuse",
    )
    read = [embedder((3, 32, 32), resize=40).read(tmp_path / "images" / path) for path in paths]
    assert torch.equal(torch.stack(read), center_crop(cached[torch.arange(5)], 32))


def test_a_grey_network_gets_grey_pixels(tmp_path: Path) -> None:
    write_pictures(tmp_path, 1)
    found = embedder((1, 24, 24), resize=24).read(tmp_path / "a" / "0.jpg")
    resized = Image.open(tmp_path / "a" / "0.jpg").convert("RGB").resize((24, 24), Image.Resampling.LANCZOS)
    expected = np.asarray(transforms.Grayscale()(resized))
    assert found.shape == (1, 24, 24)
    assert np.array_equal(found[0].numpy(), expected)


def test_a_grey_file_keeps_its_values(tmp_path: Path) -> None:
    values = np.random.default_rng(0).integers(0, 256, (32, 32), dtype=np.uint8)
    Image.fromarray(values).save(tmp_path / "x.png")
    assert np.array_equal(embedder((1, 32, 32), resize=32).read(tmp_path / "x.png")[0].numpy(), values)


@pytest.mark.parametrize("batch_size", [1, 4, 5, 64])
def test_a_folder_becomes_a_file(tmp_path: Path, batch_size: int) -> None:
    paths = sorted(write_pictures(tmp_path / "images", 9))
    model = embedder((3, 32, 32), resize=40)
    told: list[tuple[int, int]] = []
    done = embed_folder(
        model,
        tmp_path / "images",
        tmp_path / "e.parquet",
        batch_size=batch_size,
        progress=lambda _what, number, total: told.append((number, total)),
    )
    index = read_index(tmp_path / "e.parquet")
    assert (done.images, done.left_out) == (9, [])
    assert index.paths.to_pylist() == paths
    assert index.labels.to_pylist() == [path[0] for path in paths]
    expected = model.network(torch.stack([model.read(tmp_path / "images" / path) for path in paths]))
    torch.testing.assert_close(index.embeddings(), expected, rtol=1e-5, atol=1e-2)  # of projections of 10,000
    assert (index.info.root, index.info.resize, index.info.interpolation) == (str(tmp_path / "images"), 40, "lanczos")
    assert (told[0], told[-1]) == ((0, 9), (9, 9))


def test_unreadable_images_are_left_out_and_named(tmp_path: Path) -> None:
    images = tmp_path / "images"
    write_pictures(images, 6)
    truncate(images / "a" / "2.jpg")
    (images / "b" / "3.jpg").write_bytes(b"")
    os.symlink(tmp_path / "nowhere", images / "b" / "9.jpg")
    done = embed_folder(embedder((3, 32, 32), 40), images, tmp_path / "e.parquet", batch_size=2)
    reasons = [("a/2.jpg", "truncated"), ("b/3.jpg", "empty file"), ("b/9.jpg", "no such file or directory")]
    assert done.left_out == [LeftOut(*pair) for pair in reasons]
    assert done.images == 4
    assert read_index(tmp_path / "e.parquet").paths.to_pylist() == ["a/0.jpg", "a/4.jpg", "b/1.jpg", "b/5.jpg"]


def test_strict_stops_and_writes_nothing(tmp_path: Path) -> None:
    write_pictures(tmp_path / "images", 4)
    truncate(tmp_path / "images" / "a" / "2.jpg")
    with pytest.raises(UserError, match=r"a/2\.jpg cannot be decoded \(truncated\)"):
        embed_folder(embedder((3, 32, 32), 40), tmp_path / "images", tmp_path / "e.parquet", strict=True)
    assert [entry.name for entry in tmp_path.iterdir()] == ["images"]


def test_nothing_readable_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"?")
    with pytest.raises(UserError, match="1 of 1 images cannot be decoded"):
        embed_folder(embedder((3, 32, 32), 40), tmp_path, tmp_path / "e.parquet")
    assert not (tmp_path / "e.parquet").exists()


def test_the_file_may_be_read_by_others(tmp_path: Path) -> None:
    write_pictures(tmp_path, 1)
    embed_folder(embedder((3, 32, 32), 40), tmp_path, tmp_path / "e.parquet")
    assert stat.S_IMODE((tmp_path / "e.parquet").stat().st_mode) == 0o644


def test_a_broken_model_is_refused(tmp_path: Path) -> None:
    write_pictures(tmp_path, 1)
    model = embedder((3, 32, 32), 40)
    broken = dataclasses.replace(model, network=lambda images: torch.full((len(images), 4), torch.nan))
    with pytest.raises(UserError, match="not finite"):
        list(embed_images(broken, tmp_path, ["a/0.jpg"]))


def test_the_network_computes_in_full_float32_as_in_an_evaluation() -> None:
    seen = []

    def network(images: torch.Tensor) -> torch.Tensor:
        seen.append(torch.backends.cudnn.conv.fp32_precision)
        return images.flatten(1)

    dataclasses.replace(embedder((1, 2, 2), 2), network=network).embed(torch.zeros(3, 1, 2, 2, dtype=torch.uint8))
    assert seen == ["ieee"]
