import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import scipy.io

from mdr_tune.data.published.cars196 import CARS196, read
from mdr_tune.util.errors import UserError
from tests.data.published.layouts import Pictures, full_cars196, write_cars196, write_cars196_devkit

FEW = [2, 1, 3] + [1] * 94 + [2, 3, 1] + [1] * 95 + [4]  # classes 1 .. 196


def plainly(path: Path, file_field: str, folder: str = "") -> list[tuple[str, int]]:
    """Read an annotation file struct by struct, as MATLAB has it, without any convenience of loadmat."""
    structs = scipy.io.loadmat(path)["annotations"][0]
    return [(folder + str(struct[file_field][0]), int(struct["class"][0, 0])) for struct in structs]


def plain_names(path: Path) -> tuple[str, ...]:
    return tuple(str(cell[0]) for cell in scipy.io.loadmat(path)["class_names"][0])


def test_the_authors_layout_equals_a_plain_reading(tmp_path: Path) -> None:
    home = write_cars196(tmp_path, FEW, pictures="linked")
    listing = read(tmp_path)
    expected = plainly(home / "cars_annos.mat", "relative_im_path")
    assert len(expected) == sum(FEW)
    assert list(zip(listing.paths, (listing.class_ids + 1).tolist(), strict=True)) == expected
    assert listing.splits.tolist() == [0 if class_id <= 98 else 2 for _, class_id in expected]
    assert listing.class_names == plain_names(home / "cars_annos.mat")
    assert all((listing.root / path).is_file() for path in listing.paths)


@pytest.mark.parametrize("labels_in", ["", "devkit"], ids=["beside devkit", "in devkit"])
def test_the_devkits_layout_equals_a_plain_reading(labels_in: str, tmp_path: Path) -> None:
    home = write_cars196_devkit(tmp_path, FEW, pictures="linked")
    if labels_in:
        (home / "cars_test_annos_withlabels.mat").rename(home / labels_in / "cars_test_annos_withlabels.mat")
    listing = read(tmp_path)
    expected = plainly(home / "devkit" / "cars_train_annos.mat", "fname", "cars_train/")
    expected += plainly(home / labels_in / "cars_test_annos_withlabels.mat", "fname", "cars_test/")
    assert len(expected) == sum(FEW)
    assert list(zip(listing.paths, (listing.class_ids + 1).tolist(), strict=True)) == expected
    # the split is by class: each of its parts has images of the devkit's train and of its test folder
    assert listing.splits.tolist() == [0 if class_id <= 98 else 2 for _, class_id in expected]
    for split in ("train", "test"):
        assert {listing.paths[row].split("/")[0] for row in listing.rows(split)} == {"cars_train", "cars_test"}
    assert listing.class_names == plain_names(home / "devkit" / "cars_meta.mat")
    assert all((listing.root / path).is_file() for path in listing.paths)


def test_both_layouts_have_the_same_classes(tmp_path: Path) -> None:
    one, other = read(write_cars196(tmp_path / "1", FEW)), read(write_cars196_devkit(tmp_path / "2", FEW))
    assert one.class_names == other.class_names
    assert np.bincount(one.class_ids).tolist() == np.bincount(other.class_ids).tolist() == FEW


@pytest.mark.parametrize("home", ["Cars196", "cars196", "stanford_cars"])
def test_the_usual_folders_are_found(home: str, tmp_path: Path) -> None:
    write = write_cars196_devkit if home == "stanford_cars" else write_cars196
    write(tmp_path / home, FEW, pictures="none")
    assert read(tmp_path).root == tmp_path / home


def test_kaggles_folders_within_folders_are_found(tmp_path: Path) -> None:
    home = write_cars196_devkit(tmp_path, FEW, pictures="linked")
    for folder in ("cars_train", "cars_test"):
        (home / folder).rename(home / "moved")
        (home / folder).mkdir()
        (home / "moved").rename(home / folder / folder)
    listing = read(home)
    assert listing.paths[0] == "cars_train/cars_train/00001.jpg"
    assert all((home / path).is_file() for path in listing.paths)


def test_annotations_without_their_images_give_way_to_a_whole_devkit(tmp_path: Path) -> None:
    home = write_cars196_devkit(tmp_path, FEW, pictures="linked")
    write_cars196(home, FEW, pictures="none")
    assert all((home / path).is_file() for path in read(home).paths)


def test_one_annotation_is_read_too(tmp_path: Path) -> None:
    listing = read(write_cars196(tmp_path, [1], pictures="none"))
    assert (listing.paths, listing.class_ids.tolist()) == (("car_ims/000001.jpg",), [0])


@pytest.mark.parametrize("write", [write_cars196, write_cars196_devkit])
def test_a_full_copy_has_the_published_counts(
    write: Callable[[Path, list[int], Pictures], Path], tmp_path: Path
) -> None:
    write(tmp_path, full_cars196(), "none")
    listing = read(tmp_path)
    CARS196.check_counts(listing)
    assert (len(listing), len(listing.class_names)) == (16_185, 196)
    assert (len(listing.rows("train")), len(listing.rows("test"))) == (8_054, 8_131)
    assert listing.classes("train").tolist() == list(range(98))
    assert listing.classes("test").tolist() == list(range(98, 196))


def test_test_annotations_without_labels_do_not_do(tmp_path: Path) -> None:
    home = write_cars196_devkit(tmp_path, FEW, pictures="none")
    labelled = home / "cars_test_annos_withlabels.mat"
    labelled.unlink()
    with pytest.raises(
        UserError, match=r"cars_test_annos_withlabels.mat is missing.*cars_test_annos.mat is there, but has no labels"
    ):
        read(home)
    shutil.copy(home / "devkit" / "cars_test_annos.mat", labelled)
    with pytest.raises(UserError, match=r"withlabels.mat has no class among its annotations"):
        read(home)
    labelled.unlink()
    (home / "devkit" / "cars_test_annos.mat").unlink()
    with pytest.raises(UserError) as caught:
        read(home)
    assert "has no labels" not in str(caught.value)


def test_damaged_and_other_files_are_named(tmp_path: Path) -> None:
    home = write_cars196(tmp_path, FEW, pictures="none")
    path = home / "cars_annos.mat"
    whole = path.read_bytes()
    for damaged in (b"", b"no MATLAB file" * 30, whole[:1000], whole[: len(whole) // 2], whole[:-100]):
        path.write_bytes(damaged)
        with pytest.raises(UserError, match=r"^data.root: .*cars_annos.mat"):
            read(home)
    scipy.io.savemat(path, {"something": np.zeros(3)})
    with pytest.raises(UserError, match=r"cars_annos.mat has no annotations"):
        read(home)
    scipy.io.savemat(path, {"annotations": np.zeros(3)})
    with pytest.raises(UserError, match=r"cars_annos.mat has no relative_im_path and no class among"):
        read(home)


def test_a_class_without_a_name_is_named(tmp_path: Path) -> None:
    home = write_cars196_devkit(tmp_path, FEW, pictures="none")
    write_cars196_devkit(tmp_path / "fewer", FEW[:-1], pictures="none")
    shutil.copy(tmp_path / "fewer" / "devkit" / "cars_meta.mat", home / "devkit")
    with pytest.raises(UserError, match=r"give cars_t\w+/\d+.jpg the class 196, but there are 195 class names"):
        read(home)
    (home / "devkit" / "cars_meta.mat").unlink()
    with pytest.raises(UserError, match=r"there is no .*devkit/cars_meta.mat"):
        read(home)


def test_no_copy_says_where_it_was_looked_for(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no Cars-196 in .*cars_annos.mat or .*cars_train_annos.mat.*stanford_cars"):
        read(tmp_path)
