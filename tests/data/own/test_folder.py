import logging
import os
import unicodedata
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from mdr_tune.data.listings.class_split import with_test, with_validation
from mdr_tune.data.listings.listing import Listing
from mdr_tune.data.listings.listing_checks import check_disjoint
from mdr_tune.data.listings.open_listing import open_listed
from mdr_tune.data.own.folder import list_folder, listed_folder
from mdr_tune.util.errors import UserError
from mdr_tune.util.progress import no_progress
from tests.data.listings.listings import written


def touch(root: Path, *paths: str) -> None:
    """Make empty files; a listing does not open them."""
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).touch()


def listed(listing: Listing) -> list[tuple[str, str]]:
    return list(zip(listing.paths, written(listing), strict=True))


def test_class_folders(tmp_path: Path) -> None:
    touch(tmp_path, "dog/2.jpg", "cat/b.JPEG", "cat/a.png", "dog/10.webp", "Zebra/x.bmp", "cat/notes.txt")
    listing = list_folder(tmp_path)
    assert listed(listing) == [
        ("Zebra/x.bmp", "train Zebra"),
        ("cat/a.png", "train cat"),
        ("cat/b.JPEG", "train cat"),
        ("dog/10.webp", "train dog"),
        ("dog/2.jpg", "train dog"),
    ]
    assert (listing.root, listing.class_names) == (tmp_path, ("Zebra", "cat", "dog"))
    assert (listing.class_ids.dtype, listing.splits.dtype, listing.roles.dtype) == (np.int64, np.int8, np.int8)


def test_folders_within_a_class_belong_to_it(tmp_path: Path) -> None:
    touch(tmp_path, "cat/b.jpg", "cat/a/deep/1.jpg", "cat/c/2.jpg", "cat b/train/3.jpg")
    assert listed(list_folder(tmp_path)) == [
        ("cat/a/deep/1.jpg", "train cat"),
        ("cat/b.jpg", "train cat"),
        ("cat/c/2.jpg", "train cat"),
        ("cat b/train/3.jpg", "train cat b"),
    ]


@pytest.mark.parametrize("validation", ["validation", "val", "Val"])
def test_split_folders(tmp_path: Path, validation: str) -> None:
    touch(tmp_path, "train/a/1.jpg", f"{validation}/b/1.jpg", "test/c/1.jpg", "train/d/x/1.jpg")
    assert dict(listed(list_folder(tmp_path))) == {
        "train/a/1.jpg": "train a",
        "train/d/x/1.jpg": "train d",
        f"{validation}/b/1.jpg": "validation b",
        "test/c/1.jpg": "test c",
    }


def test_query_and_gallery_are_of_the_test_split_and_share_classes(tmp_path: Path) -> None:
    touch(tmp_path, "train/a/1.jpg", "query/c/1.jpg", "query/b/1.jpg", "gallery/b/2.jpg", "gallery/c/2.jpg")
    listing = list_folder(tmp_path)
    assert listed(listing) == [
        ("gallery/b/2.jpg", "test b gallery"),
        ("gallery/c/2.jpg", "test c gallery"),
        ("query/b/1.jpg", "test b query"),
        ("query/c/1.jpg", "test c query"),
        ("train/a/1.jpg", "train a"),
    ]
    assert listing.class_names == ("a", "b", "c")


def test_one_folder_named_as_a_split_may_be_a_class(tmp_path: Path) -> None:
    touch(tmp_path, "bus/1.jpg", "train/1.jpg")
    assert listed(list_folder(tmp_path)) == [("bus/1.jpg", "train bus"), ("train/1.jpg", "train train")]


def test_splits_beside_other_folders_are_an_error(tmp_path: Path) -> None:
    touch(tmp_path, "train/a/1.jpg", "test/b/1.jpg", "extra/c/1.jpg")
    with pytest.raises(UserError, match=r"data\.root: .*'test', 'train' are named as splits, and 'extra' not"):
        list_folder(tmp_path)


def test_what_is_hidden_is_left_out(tmp_path: Path) -> None:
    touch(tmp_path, "train/a/1.jpg", "train/a/._1.jpg", "train/.cache/b/1.jpg", "train/a/.thumbs/1.jpg")
    touch(tmp_path, "__MACOSX/a/1.jpg", "train/__MACOSX/a/1.jpg", ".DS_Store", "train/a/.DS_Store", ".git/x/1.jpg")
    assert listed(list_folder(tmp_path)) == [("train/a/1.jpg", "train a")]


def test_what_systems_keep_is_left_out_and_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    images = [f"{name}/{number}.png" for name in "abc" for number in range(2)]
    touch(tmp_path, *images, *(f"{name}/@eaDir/1.png/SYNOPHOTO_THUMB_M.jpg" for name in "abc"))
    touch(tmp_path, "#recycle/a/9.png", "$RECYCLE.BIN/S-1-5/$R1.png", "lost+found/x.png", "a/deep/@eaDir/x.jpg")
    touch(tmp_path, "a/Thumbs.db", "b/Thumbs.db", "b/.@__thumb/x.jpg", "System Volume Information/x.png")
    listing = list_folder(tmp_path)
    assert (sorted(listing.paths), listing.class_names) == (images, ("a", "b", "c"))
    assert caplog.messages == [
        f"{tmp_path}: left out what systems keep beside images, by name: "
        "@eaDir 4, Thumbs.db 2, #recycle 1, $RECYCLE.BIN 1, System Volume Information 1, ..."
    ]


def test_a_system_s_folder_beside_splits_is_no_other_folder(tmp_path: Path) -> None:
    touch(tmp_path, "train/a/1.jpg", "test/b/1.jpg", "@eaDir/x.jpg", "lost+found/x.jpg")
    assert listed(list_folder(tmp_path)) == [("test/b/1.jpg", "test b"), ("train/a/1.jpg", "train a")]


@pytest.mark.parametrize("other", ["\uff43ufi", "cu\ufb01", "cufi\U000e0041", "\u1d9cufi"])
def test_folders_whose_names_look_alike_are_told_and_stay_two_classes(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, other: str
) -> None:
    touch(tmp_path, "cufi/1.jpg", "bar/2.jpg", f"{other}/3.jpg")
    assert len(list_folder(tmp_path).class_names) == 3
    (message,) = caplog.messages
    assert message.startswith(f"{tmp_path}: classes that look alike, and stay different classes: ")
    assert ascii(other) in message


def test_folders_of_splits_within_classes_are_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    touch(tmp_path, *(f"{name}/{part}/1.jpg" for name in ("ant", "bee", "cat", "dog") for part in ("train", "test")))
    list_folder(tmp_path)
    (message,) = caplog.messages
    assert "in them are folders named as splits, 'ant/test', 'ant/train', " in message
    assert "a split's folder is to be above its classes, train/CLASS/IMAGE" in message


@pytest.mark.parametrize("other", [unicodedata.normalize("NFD", "café"), "café\u200b", "café\u00a0", "café "])
def test_folders_whose_names_look_the_same_are_one_class(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, other: str
) -> None:
    touch(tmp_path, "train/café/1.jpg", "train/bar/2.jpg", f"test/{other}/3.jpg")
    listing = list_folder(tmp_path)
    assert listing.class_names == ("bar", "café")
    assert dict(listed(listing))[f"test/{other}/3.jpg"] == "test café"
    (message,) = caplog.messages
    assert message.startswith(
        f"{tmp_path}: names that look the same but have different characters are taken for one class: "
    )
    assert "'caf\\xe9' and" in message or "and 'caf\\xe9'" in message
    with pytest.raises(
        UserError, match=r"data: classes in more than one split \(train, test\): 1 of 2, such as 'café'"
    ):
        check_disjoint(listing)


@pytest.mark.parametrize(
    ("train", "validation", "test"),
    [("train", "valid", "test"), ("training", "dev", "testing"), ("Train", "Valid", "Testing")],
)
def test_other_names_of_splits(tmp_path: Path, train: str, validation: str, test: str) -> None:
    touch(tmp_path, f"{train}/a/1.jpg", f"{validation}/b/1.jpg", f"{test}/c/1.jpg")
    assert sorted(written(list_folder(tmp_path))) == ["test c", "train a", "validation b"]


def error_of(root: Path) -> str:
    """Return what is wrong with the splits of a folder whose images are not looked at."""
    listing = list_folder(root)
    with pytest.raises(UserError) as caught:
        with_validation(with_test(listing, {"fraction": 0.3, "seed": 0}), {"fraction": 0.2, "seed": 0})
    return str(caught.value)


def test_a_root_that_is_one_level_too_high(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    touch(tmp_path, *(f"images/{name}/{number}.jpg" for name in "abcdef" for number in range(3)), "list.txt")
    taken = f"Taken for classes in {tmp_path}: 'images'; their images lie in folders within them, such as 'images/a', "
    taken += "'images/b', 'images/c': if those are the classes, root is one level too high (set data.root to "
    taken += f"{tmp_path}/images)"
    assert f"draw fewer, or add classes. {taken}; folders of splits would be named train, training, val" in error_of(
        tmp_path
    )
    assert not caplog.messages


def test_a_root_that_is_several_levels_too_high(tmp_path: Path) -> None:
    touch(tmp_path, *(f"photos/2024/{name}/{number}.jpg" for name in "abcdef" for number in range(3)))
    assert f"(set data.root to {tmp_path}/photos/2024)" in error_of(tmp_path)


@pytest.mark.parametrize("other", ["eval", "a class"])
def test_what_keeps_folders_from_being_splits_is_named(tmp_path: Path, other: str) -> None:
    touch(tmp_path, *(f"{split}/{name}/1.jpg" for split in ("train", other) for name in "abcdef"))
    assert f"; 'train' would be a split's, but '{other}' would not; folders of splits would be" in error_of(tmp_path)


def test_a_level_too_many_in_each_split(tmp_path: Path) -> None:
    touch(tmp_path, *(f"{split}/images/{split}{name}/1.jpg" for split in ("train", "val", "test") for name in "abc"))
    with pytest.raises(
        UserError, match=r"1 of 1, such as 'images'\. .* split\. Taken for classes in .*'val/images'; their"
    ):
        check_disjoint(list_folder(tmp_path))


def test_several_folders_of_class_folders(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    touch(tmp_path, *(f"part{part}/{name}/1.jpg" for part in range(5) for name in "abcdef"))
    list_folder(tmp_path)
    (message,) = caplog.messages
    assert message.startswith(f"Taken for classes in {tmp_path}: 'part0', 'part1', 'part2', ...; their images lie in")
    assert message.endswith("root is one level too high (set data.root to the folder that they are in)")


def test_a_few_images_beside_class_folders_do_not_hide_that_root_is_too_high(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    touch(tmp_path, *(f"two/{part}/{name}/1.jpg" for part in "ab" for name in "cdef"), "two/a/readme.jpg")
    two = "'a', 'b'; their images lie in folders within them, such as 'a/c', 'a/d', 'a/e': if those are the classes, "
    assert f"{two}root is one level too high (set data.root to the folder that" in error_of(tmp_path / "two")
    touch(tmp_path, *(f"one/photos/2024/{name}/1.jpg" for name in "cdef"), "one/photos/2024/plan.png")
    assert f"(set data.root to {tmp_path}/one/photos/2024)" in error_of(tmp_path / "one")
    touch(tmp_path, *(f"many/part{part}/{name}/1.jpg" for part in range(5) for name in "cdef"), "many/part3/1.jpg")
    caplog.clear()
    list_folder(tmp_path / "many")
    assert ["one level too high" in message for message in caplog.messages] == [True]


def test_splits_of_unknown_names_are_told_the_known_ones(tmp_path: Path) -> None:
    touch(tmp_path, *(f"{split}/{name}/1.jpg" for split in ("learn", "probe") for name in "abcdef"))
    assert "'learn', 'probe'" in error_of(tmp_path)
    assert "folders of splits would be named train, training, validation, val, valid, dev, test," in error_of(tmp_path)


def test_folders_within_classes_are_no_matter(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    touch(tmp_path, "a/1.jpg", "a/x/1.jpg", "b/x/1.jpg", "b/y/1.jpg", "c/x/1.jpg", "c/y/2.jpg")
    list_folder(tmp_path)
    assert not caplog.messages
    for name in "abc":
        touch(tmp_path, f"flat/{name}/images/1.jpg")
    list_folder(tmp_path / "flat")
    assert not caplog.messages


def test_a_root_that_is_a_class_folder(tmp_path: Path) -> None:
    touch(tmp_path, "cat/1.jpg")
    with pytest.raises(
        UserError, match=r"names ending in .*\. Images lie in .*/cat itself: if it is a class folder, set"
    ):
        list_folder(tmp_path / "cat")


def test_the_order_is_not_that_of_the_file_system(tmp_path: Path) -> None:
    names = [f"class{number}/{image}.jpg" for number in range(5) for image in "abc"]
    touch(tmp_path / "one", *names)
    touch(tmp_path / "two", *np.random.default_rng(0).permutation(names).tolist())
    assert listed(list_folder(tmp_path / "one")) == listed(list_folder(tmp_path / "two"))


def test_links_are_followed_but_never_in_circles(tmp_path: Path) -> None:
    root = tmp_path / "root"
    touch(tmp_path, "elsewhere/a.jpg", "elsewhere/more/b.jpg", "root/cat/1.jpg", "root/dog/1.jpg")
    (root / "cat" / "linked.jpg").symlink_to(tmp_path / "elsewhere" / "a.jpg")
    (root / "dog" / "linked").symlink_to(tmp_path / "elsewhere")
    (root / "dog" / "again").symlink_to(tmp_path / "elsewhere")
    (root / "ant").symlink_to(root / "cat")
    (root / "dog" / "up").symlink_to(root)
    (root / "dog" / "self").symlink_to(root / "dog")
    (root / "cat" / "circle.jpg").symlink_to(root / "cat" / "circle.jpg")
    assert list_folder(root).paths == (
        "ant/1.jpg",
        "ant/circle.jpg",
        "ant/linked.jpg",
        "cat/1.jpg",
        "cat/circle.jpg",  # a link that leads nowhere is a missing image, and no image less
        "cat/linked.jpg",
        "dog/1.jpg",
        "dog/again/a.jpg",
        "dog/again/more/b.jpg",
    )


def test_images_and_folders_that_are_left_out_are_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    touch(tmp_path, "cat/1.jpg", "preview.jpg", "readme.md", "empty/notes.txt")
    with caplog.at_level(logging.WARNING):
        listing = list_folder(tmp_path)
    assert listed(listing) == [("cat/1.jpg", "train cat")]
    assert listing.class_names == ("cat",)
    assert "left out 1 image in no class folder, such as 'preview.jpg'" in caplog.text
    assert "no images in 1 class folder, such as 'empty'" in caplog.text


def test_other_files_in_class_folders_are_counted_by_suffix(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    touch(tmp_path, "cat/1.gif", "cat/2.TIF", "dog/3.tiff", "dog/4.jfif", "dog/.DS_Store", "notes.txt", "dog/.x/5.heic")
    assert list_folder(tmp_path).paths == ("cat/1.gif", "cat/2.TIF", "dog/3.tiff", "dog/4.jfif")
    assert not caplog.records
    touch(tmp_path, "cat/README")
    list_folder(tmp_path)
    assert caplog.messages == [f"{tmp_path}: left out 1 file that is no image by its name: without a suffix 1"]
    caplog.clear()
    touch(tmp_path, "cat/1.txt", "dog/2.TXT", "dog/a/3.heic", "dog/4.heic", "dog/5.heic", "cat/x.b", "cat/x.a")
    list_folder(tmp_path)
    files = "left out 8 files that are no images by their name"
    shown = ".heic 3, .txt 2, without a suffix 1, .a 1, .b 1"
    assert caplog.messages == [f"{tmp_path}: {files}: {shown}"]
    caplog.clear()
    touch(tmp_path, "cat/x.c")
    list_folder(tmp_path)
    assert caplog.messages == [f"{tmp_path}: {files.replace('8', '9')}: {shown}, ..."]


def test_of_several_frames_the_first_is_read(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "lime")]
    for name in ("1.gif", "2.tif", "3.tiff"):
        for folder in "abcd":
            (tmp_path / folder).mkdir(exist_ok=True)
            frames[0].save(tmp_path / folder / name, save_all=True, append_images=frames[1:])
    searched, _ = open_listed(
        listed_folder(
            root=str(tmp_path),
            recall_ks=[1],
            resize=8,
            cache=False,
            corrupt="refuse",
            single_image_classes="refuse",
            duplicates="keep",
            validation={"folds": 3, "fold": 0, "seed": 0},
            test={"folds": 4, "fold": 0, "seed": 0},
        ),
        tmp_path / "cache",
        no_progress,
    )
    images = searched.split("train").images[torch.arange(6)]
    assert (images == torch.tensor([255, 0, 0]).view(3, 1, 1)).all()


@pytest.mark.parametrize("files", [[], ["cat/1.txt"], ["1.jpg", "2.jpg"], ["train/1.jpg", "test/1.jpg"]])
def test_no_images_in_class_folders_is_an_error(tmp_path: Path, files: list[str]) -> None:
    touch(tmp_path, *files)
    with pytest.raises(UserError, match=r"data\.root: no images in class folders of .* names ending in \.bmp, \.gif"):
        list_folder(tmp_path)


@pytest.mark.parametrize("name", ["nowhere", "file"])
def test_a_root_that_is_no_folder_is_an_error(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=rf"data\.root: there is no folder {tmp_path / name}"):
        list_folder(tmp_path / name)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_folder_that_cannot_be_read_is_an_error(tmp_path: Path) -> None:
    touch(tmp_path, "cat/1.jpg")
    (tmp_path / "cat").chmod(0)
    try:
        with pytest.raises(UserError, match=r"data\.root: cannot read the folder .*cat \(Permission denied\)"):
            list_folder(tmp_path)
    finally:
        (tmp_path / "cat").chmod(0o700)


def test_names_that_are_not_utf8_are_an_error(tmp_path: Path) -> None:
    touch(tmp_path, "cat/ä.jpg", os.fsdecode(b"cat/\xe4.jpg"))
    with pytest.raises(UserError, match=r"data\.root: cat/\\xe4\.jpg is not UTF-8: rename it"):
        list_folder(tmp_path)


def test_a_folder_is_opened(tmp_path: Path) -> None:
    colours = {}
    for number, path in enumerate(["a/1.png", "a/2.jpg", "b/1.png", "b/2.png", "c/1.webp", "c/2.bmp", "d/1.png"]):
        for name in (path, f"e{path}"):  # a, b, c, d, ea, eb, ec, ed
            (tmp_path / "root" / name).parent.mkdir(parents=True, exist_ok=True)
            colours[name] = (30 * number, 200, 90)
            Image.new("RGB", (9, 7), colours[name]).save(tmp_path / "root" / name)
    searched, test = open_listed(
        listed_folder(
            root=str(tmp_path / "root"),
            recall_ks=[1, 2],
            resize=8,
            cache=False,
            corrupt="refuse",
            single_image_classes="drop",
            duplicates="keep",
            validation={"fraction": 0.5, "seed": 0},
            test={"folds": 3, "fold": 0, "seed": 0},
        ),
        tmp_path / "cache",
        no_progress,
    )
    assert [len(searched.split("train")), len(searched.split("validation")), len(test)] == [4, 4, 4]
    assert (searched.name, searched.recall_ks, searched.image_shape) == ("folder", (1, 2), (3, 8, 8))
    seen = [
        int(value)
        for split in (searched.split("train"), searched.split("validation"), test)
        for value in split.images[torch.arange(4)][:, 0, 4, 4]
    ]
    expected = [colours[name][0] for name in colours if not name.endswith("d/1.png")]
    assert np.allclose(sorted(seen), sorted(expected), atol=3)  # JPEG and WebP lose a little
