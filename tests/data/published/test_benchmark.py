import dataclasses
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from mdr_tune.data.dataset import ImageSplit, OpenedDataset
from mdr_tune.data.listings.open_listing import open_listed
from mdr_tune.data.published.benchmark import Benchmark, Count
from mdr_tune.data.published.cars196 import CARS196
from mdr_tune.data.published.cub200 import CUB200
from mdr_tune.data.published.inshop import INSHOP
from mdr_tune.data.published.sop import SOP
from mdr_tune.util.errors import UserError
from mdr_tune.util.progress import no_progress
from tests.data.published.layouts import write_cars196, write_cars196_devkit, write_cub200, write_inshop, write_sop

PX = 16


def write_small_inshop(root: Path) -> Path:
    return write_inshop(root, [3, 2, 2, 4, 2], [2, 1, 1], [1, 2, 1])


def write_small_sop(root: Path) -> Path:
    return write_sop(root, [3, 2, 2, 4, 2, 1], [2, 3, 1])


# The benchmark, how to write it, its counts in small, and a class of an image file by its path alone. The class of the
# flat layouts is known by the order in which their writers go through the classes.
CUB_SIZES, CAR_SIZES = [1, 2] * 50 + [2, 1] * 50, [1, 2] * 49 + [2, 1] * 49
CAR_CLASSES = [class_id for class_id, many in enumerate(CAR_SIZES) for _ in range(many)]
CASES = {
    "cub200": (
        dataclasses.replace(CUB200, expected={"train": Count(150, 100), "test": Count(150, 100)}),
        lambda root: write_cub200(root, CUB_SIZES),
        lambda path: path.parent.name,
        lambda name: int(name[:3]) > 100,
    ),
    "cars196": (
        dataclasses.replace(CARS196, expected={"train": Count(147, 98), "test": Count(147, 98)}),
        lambda root: write_cars196(root, CAR_SIZES),
        lambda path: CAR_CLASSES[int(path.stem) - 1],
        lambda class_id: class_id >= 98,
    ),
    "sop": (
        dataclasses.replace(SOP, expected={"train": Count(14, 6), "test": Count(6, 3)}),
        write_small_sop,
        lambda path: (int(path.stem.partition("_")[0]) - 251000000000) // 811,
        lambda class_id: class_id > 6,
    ),
    "inshop": (
        dataclasses.replace(INSHOP, expected={"train": Count(13, 5), "query": Count(4, 3), "gallery": Count(4, 3)}),
        write_small_inshop,
        lambda path: path.parent.name,
        lambda item: item in ("id_00000002", "id_00000004", "id_00000006"),
    ),
}


def opened(benchmark: Benchmark, root: Path, cache: bool = False) -> OpenedDataset:
    listed = benchmark.listed(
        root=str(root),
        recall_ks=(1, 10),
        resize=PX,
        cache=cache,
        corrupt="refuse",
        validation={"fraction": 0.2, "seed": 0},
    )
    return open_listed(listed, root.parent / "cache", no_progress)


def by_label(split: ImageSplit) -> dict[int, list[bytes]]:
    """Return the pixels, as rows of RGB, of a split's images and its gallery's, by label."""
    found: dict[int, list[bytes]] = defaultdict(list)
    for part in (split, split.gallery):
        if part is not None:
            pixels = part.images[torch.arange(len(part))].permute(0, 2, 3, 1).numpy()
            for label, image in zip(part.labels.tolist(), pixels, strict=True):
                found[label].append(image.tobytes())
    return found


@pytest.mark.parametrize("cache", [False, True], ids=["decoded", "cached"])
@pytest.mark.parametrize("case", CASES)
def test_pixels_classes_and_splits_equal_a_reading_with_pil(case: str, cache: bool, tmp_path: Path) -> None:
    benchmark, write, class_of, is_test = CASES[case]
    root = tmp_path / "root"
    write(root)
    searched, test = opened(benchmark, root, cache)

    expected: dict[object, list[bytes]] = defaultdict(list)
    for path in root.rglob("*.[jJ][pP][gG]"):
        with Image.open(path) as image:
            pixels = np.asarray(image.convert("RGB").resize((PX, PX), Image.Resampling.LANCZOS))
        expected[class_of(path)].append(pixels.tobytes())
    class_of_pixels = {pixels: name for name, images in expected.items() for pixels in images}
    assert len(class_of_pixels) == sum(map(len, expected.values())), "two pictures are alike"

    found = {split: by_label(searched.splits[split]) for split in ("train", "validation")} | {"test": by_label(test)}
    classes = {}
    for split, labelled in found.items():
        for label, images in labelled.items():
            classes[split, label] = class_of_pixels[images[0]]
            assert sorted(images) == sorted(expected[class_of_pixels[images[0]]])
    assert len(classes) == len(set(classes.values())) == len(expected)
    assert sorted(label for _, label in classes) == list(range(len(expected)))
    assert {name for (split, _), name in classes.items() if split == "test"} == set(filter(is_test, expected))
    assert sum(split == "validation" for split, _ in classes) == round(
        0.2 * sum(split != "test" for split, _ in classes)
    )


def test_query_and_gallery_are_apart(tmp_path: Path) -> None:
    benchmark, write, _, _ = CASES["inshop"]
    write(tmp_path / "root")
    searched, test = opened(benchmark, tmp_path / "root")
    assert test.gallery is not None
    assert (len(test), len(test.gallery)) == (4, 4)
    assert torch.bincount(test.labels)[-3:].tolist() == [2, 1, 1]
    assert torch.bincount(test.gallery.labels)[-3:].tolist() == [1, 2, 1]
    assert all(searched.splits[split].gallery is None for split in ("train", "validation"))


def test_the_ranks_that_are_asked_for(tmp_path: Path) -> None:
    benchmark, write, _, _ = CASES["sop"]
    write(tmp_path / "root")
    searched, _ = opened(benchmark, tmp_path / "root")
    assert (searched.name, searched.recall_ks) == ("sop", (1, 10))


def test_the_same_in_both_layouts_of_cars(tmp_path: Path) -> None:
    benchmark, write, _, _ = CASES["cars196"]
    write(tmp_path / "root")
    write_cars196_devkit(tmp_path / "devkit", CAR_SIZES)
    one, other = opened(benchmark, tmp_path / "root"), opened(benchmark, tmp_path / "devkit")
    for split in ("train", "validation"):
        labels = [torch.bincount(dataset.searched.splits[split].labels).tolist() for dataset in (one, other)]
        assert labels[0] == labels[1]


def message_of(benchmark: Benchmark, root: Path) -> str:
    with pytest.raises(UserError) as caught:
        opened(benchmark, root)
    return str(caught.value)


CUT = "cut short: delete that folder and unpack the original archive anew"
MIXED = "mixed up: unpack the original archive anew"


@pytest.mark.parametrize(
    ("train", "test", "parts"),
    [
        ([3, 2, 2, 4, 2], [2, 3, 1], ["train has 13 images of 5 classes and should have 14 images of 6 classes", CUT]),
        ([3, 2, 2, 4, 2, 1], [2], ["test has 2 images of 1 class and should have 6 images of 3 classes", CUT]),
        ([2, 3, 1], [3, 2, 2, 4, 2, 1], ["train has 6 images", "test has 14 images", MIXED]),
        ([3, 2, 2, 4, 2, 1], [2, 3, 1, 1], ["test has 7 images of 4 classes", "another version"]),
    ],
)
def test_a_copy_of_another_size_says_what_is_missing(
    train: list[int], test: list[int], parts: list[str], tmp_path: Path
) -> None:
    home = write_sop(tmp_path / "root", train, test, "none")
    message = message_of(CASES["sop"][0], tmp_path / "root")
    assert message.startswith(
        f"data.root: the lists of Stanford Online Products in {home} are not the published ones: "
    )
    for part in parts:
        assert part in message


def test_classes_in_both_lists_are_counted(tmp_path: Path) -> None:
    home = write_small_sop(tmp_path / "root")
    lines = (home / "Ebay_test.txt").read_text()
    (home / "Ebay_test.txt").write_text(lines.replace(" 7 7 ", " 2 2 "))
    message = message_of(CASES["sop"][0], tmp_path / "root")
    assert "no class in common, share 1." in message
    assert MIXED in message
    assert "train has" not in message


def test_a_query_that_is_missing_is_counted(tmp_path: Path) -> None:
    write_inshop(tmp_path / "root", [3, 2, 2, 4, 2], [2, 1], [1, 2, 1][:2], "none")
    message = message_of(CASES["inshop"][0], tmp_path / "root")
    assert "query has 3 images of 2 classes and should have 4 images of 3 classes" in message
    assert "gallery has 3 images of 2 classes and should have 4 images of 3 classes" in message
    assert "train has" not in message


@pytest.mark.parametrize("benchmark", [CUB200, CARS196, SOP, INSHOP], ids=lambda benchmark: benchmark.name)
def test_a_copy_of_a_few_images_is_not_taken_for_the_data_set(benchmark: Benchmark, tmp_path: Path) -> None:
    write: Callable[[Path], Path] = CASES[benchmark.name][1]
    write(tmp_path / "root")
    assert CUT in message_of(benchmark, tmp_path / "root")


@pytest.mark.parametrize("case", CASES)
def test_an_image_that_is_missing_is_named(case: str, tmp_path: Path) -> None:
    benchmark, write, _, _ = CASES[case]
    write(tmp_path / "root")
    gone = sorted((tmp_path / "root").rglob("*.[jJ][pP][gG]"))[1]
    gone.unlink()
    message = message_of(benchmark, tmp_path / "root")
    assert message.startswith("data.root: 1 of ")
    assert gone.name in message


def test_no_folder_at_all(tmp_path: Path) -> None:
    assert message_of(CUB200, tmp_path / "nowhere").startswith(f"data.root: there is no folder {tmp_path / 'nowhere'}")


def test_copies_across_splits_are_told_and_kept_as_published(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    root = write_small_sop(tmp_path / "data")
    images = sorted(tmp_path.rglob("*.JPG"))
    images[-1].write_bytes(images[0].read_bytes())
    assert len(opened(CASES["sop"][0], root, cache=True).test) == 6
    assert (
        "2 of 20 images (2 classes) have the same pixels as another one: 2 of them (2 classes) as one in" in caplog.text
    )
