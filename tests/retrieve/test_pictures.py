"""Which images below a folder are found, in which order, and which class they are said to be of."""

import os
from pathlib import Path

import pytest

from mdr_tune.data.own.folder import list_folder
from mdr_tune.retrieve.pictures import class_labels, list_images
from mdr_tune.util.errors import UserError


def touch(root: Path, *paths: str) -> None:
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(b"?")


def test_all_images_in_a_stable_order(tmp_path: Path) -> None:
    touch(
        tmp_path,
        "b/2.png",
        "b/10.JPG",
        "a/deep/er/x.webp",
        "z.gif",
        "Z.tif",
        "a/notes.txt",
        ".hidden/x.png",
        "a/.x.png",
    )
    assert list_images(tmp_path) == ["Z.tif", "z.gif", "a/deep/er/x.webp", "b/10.JPG", "b/2.png"]


def test_links_are_followed_and_each_folder_is_read_once(tmp_path: Path) -> None:
    touch(tmp_path / "root", "a/1.png")
    touch(tmp_path, "elsewhere/2.png")
    os.symlink(tmp_path / "root", tmp_path / "root" / "a" / "back")
    os.symlink(tmp_path / "elsewhere", tmp_path / "root" / "b")
    assert list_images(tmp_path / "root") == ["a/1.png", "b/2.png"]


@pytest.mark.parametrize(
    ("paths", "labels"),
    [
        (["top.png", "cat/1.png", "cat/deep/2.png"], [None, "cat", "cat"]),
        (["test/cat/1.png", "train/dog/x/2.png", "train/3.png"], ["cat", "dog", None]),
        (["test/1.png", "cat/2.png"], ["test", "cat"]),  # a class may be called test
    ],
)
def test_labels(paths: list[str], labels: list[str | None]) -> None:
    assert class_labels(paths) == labels


@pytest.mark.parametrize(
    "layout",
    [
        ("a/1.png", "a/x/2.png", "b/1.png"),
        ("train/a/1.png", "test/b/1.png"),
        ("Training/a/1.png", "valid/cafe\u0301/1.png"),
    ],
)
def test_labels_are_the_classes_of_a_sweep_s_folder(tmp_path: Path, layout: tuple[str, ...]) -> None:
    touch(tmp_path, *layout)
    listing = list_folder(tmp_path)
    classes = dict(zip(listing.paths, (listing.class_names[i] for i in listing.class_ids.tolist()), strict=True))
    paths = list_images(tmp_path)
    assert dict(zip(paths, class_labels(paths), strict=True)) == classes


def test_what_systems_keep_is_left_out_and_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    touch(tmp_path, "a/1.png", "a/@eaDir/1.png/SYNOPHOTO_THUMB_M.jpg", "b/2.png", "b/@eaDir/2.png/x.jpg")
    touch(tmp_path, "#recycle/3.png", "__MACOSX/a/1.png", "a/Thumbs.db", "a/.ipynb_checkpoints/1.png")
    assert list_images(tmp_path) == ["a/1.png", "b/2.png"]
    assert caplog.messages == [
        f"{tmp_path}: left out what systems keep beside images, by name: @eaDir 2, #recycle 1, Thumbs.db 1, __MACOSX 1"
    ]


def test_labels_that_look_the_same_are_one() -> None:
    paths = ["caf\u00e9/1.png", "cafe\u0301/2.png", "caf\u00e9\u200b/3.png"]
    assert class_labels(paths) == ["caf\u00e9"] * 3


def test_mistakes(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no folder"):
        list_images(tmp_path / "none")
    touch(tmp_path, "a/notes.txt")
    with pytest.raises(UserError, match=r"a/notes\.txt is a file: give the folder that it is in"):
        list_images(tmp_path / "a" / "notes.txt")
    with pytest.raises(UserError, match=r"no images below .*\.jpeg"):
        list_images(tmp_path)
    touch(tmp_path, "a/\udcff.png")
    with pytest.raises(UserError, match=r"a/\\xff\.png is not UTF-8: rename it"):
        list_images(tmp_path)
