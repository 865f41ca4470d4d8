from collections.abc import Callable
from pathlib import Path

import pytest

from mdr_tune.data.listings.listing import BOTH
from mdr_tune.data.published.cub200 import CUB200, read
from mdr_tune.util.errors import UserError
from tests.data.published.layouts import full_cub200, write_cub200

FEW = [2, 1, 3] + [1] * 96 + [2, 3, 1] + [1] * 97 + [4]  # classes 1 .. 200


def classes_by_folder(home: Path) -> dict[str, int]:
    """Return the class, from 0, of each image file, as a reader that knows nothing but the folders would."""
    folders = sorted(folder.name for folder in (home / "images").iterdir())
    return {
        f"images/{name}/{file.name}": class_id
        for class_id, name in enumerate(folders)
        for file in (home / "images" / name).iterdir()
    }


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return write_cub200(tmp_path, FEW, pictures="linked")


def test_equals_a_reading_of_the_folders(home: Path) -> None:
    listing = read(home.parent)
    expected = classes_by_folder(home)
    assert len(expected) == sum(FEW)
    assert dict(zip(listing.paths, listing.class_ids.tolist(), strict=True)) == expected
    assert listing.splits.tolist() == [0 if class_id < 100 else 2 for class_id in listing.class_ids.tolist()]
    assert set(listing.roles.tolist()) == {BOTH}
    assert listing.class_names == tuple(sorted(folder.name for folder in (home / "images").iterdir()))
    assert all((listing.root / path).is_file() for path in listing.paths)


def test_order_is_that_of_the_list(home: Path) -> None:
    lines = (home / "images.txt").read_text().splitlines()
    assert read(home).paths == tuple("images/" + line.split()[1] for line in lines)
    (home / "images.txt").write_text("\n".join(reversed(lines)))
    labels = (home / "image_class_labels.txt").read_text().splitlines()
    (home / "image_class_labels.txt").write_text("\n".join(reversed(labels)))
    listing = read(home)
    assert listing.paths == tuple("images/" + line.split()[1] for line in reversed(lines))
    assert dict(zip(listing.paths, listing.class_ids.tolist(), strict=True)) == classes_by_folder(home)


def test_the_folder_itself_may_be_given(home: Path) -> None:
    inside, above = read(home), read(home.parent)
    assert inside.root == above.root == home
    assert inside.paths == above.paths


def test_a_full_copy_has_the_published_counts(tmp_path: Path) -> None:
    write_cub200(tmp_path, full_cub200(), pictures="none")
    listing = read(tmp_path)
    CUB200.check_counts(listing)
    assert (len(listing), len(listing.class_names)) == (11_788, 200)
    assert (len(listing.rows("train")), len(listing.rows("test"))) == (5_864, 5_924)
    assert listing.classes("train").tolist() == list(range(100))
    assert listing.classes("test").tolist() == list(range(100, 200))


def replace_line(name: str, number: int, line: str | None) -> Callable[[Path], None]:
    """Return what replaces a line, from 1, of a list; None removes it."""

    def change(home: Path) -> None:
        lines = (home / name).read_text().splitlines()
        lines[number - 1 : number] = [] if line is None else [line]
        (home / name).write_text("\n".join(lines) + "\n")

    return change


def rename_class(home: Path) -> None:
    (home / "classes.txt").write_text((home / "classes.txt").read_text().replace("002.Bird", "002.Fish"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (replace_line("images.txt", 3, "3"), r"images.txt, line 3: expected 2 columns \(image_id path\), found '3'"),
        (replace_line("image_class_labels.txt", 5, "5 x"), "labels.txt, line 5: class_id must be a whole number"),
        (replace_line("image_class_labels.txt", 5, "7 3"), "labels.txt, line 5: expected image 5, as in images.txt"),
        (replace_line("image_class_labels.txt", 5, "5 201"), r"labels.txt, line 5: class 201 is not in classes.txt"),
        (replace_line("image_class_labels.txt", 5, "5 0"), r"labels.txt, line 5: class 0 is not in classes.txt"),
        (replace_line("image_class_labels.txt", 5, "5 9"), r"line 5: class 9 is 009.Bird_j, but the image is 003.Bird"),
        (
            replace_line("image_class_labels.txt", sum(FEW), None),
            rf"images.txt, line {sum(FEW)}: the other list .*ends",
        ),
        (replace_line("images.txt", sum(FEW), None), rf"class_labels.txt, line {sum(FEW)}: the other list .*ends"),
        (replace_line("classes.txt", 4, None), r"classes.txt, line 4: expected class 4, found 5"),
        (rename_class, r"labels.txt, line 3: class 2 is 002.Fish_c, but the image is 002.Bird_c/"),
        (lambda home: (home / "classes.txt").unlink(), r"there is no .*classes.txt"),
    ],
)
def test_what_is_wrong_with_a_list_is_said(change: Callable[[Path], None], message: str, home: Path) -> None:
    change(home)
    with pytest.raises(UserError, match=f"^data.root: .*{message}"):
        read(home)


def test_no_copy_says_where_it_was_looked_for(tmp_path: Path) -> None:
    with pytest.raises(
        UserError,
        match=r"data.root: there is no CUB-200-2011 in .*looked for images.txt in it and in its folders "
        r"CUB_200_2011.*mdr-tune data prepare cub200 --root",
    ):
        read(tmp_path)
    with pytest.raises(UserError, match=r"data.root: there is no folder .*nowhere"):
        read(tmp_path / "nowhere")
