from pathlib import Path

import pytest

from mdr_tune.data.listings.listing import BOTH, GALLERY, QUERY
from mdr_tune.data.published.inshop import INSHOP, read
from mdr_tune.util.errors import UserError
from tests.data.published.layouts import full_inshop, write_inshop

TRAIN, QUERIES, GALLERIES = [2, 1, 3, 5, 2], [2, 1, 3, 2], [1, 4, 2, 2]
OF_STATUS = {"train": (0, BOTH), "query": (2, QUERY), "gallery": (2, GALLERY)}


def plainly(list_file: Path) -> list[tuple[str, str, str]]:
    """Return (path, item, status) line by line."""
    return [(path, item, status) for path, item, status in map(str.split, list_file.read_text().splitlines()[2:])]


@pytest.mark.parametrize(
    ("home", "list_folder", "image_folder"),
    [
        ("", "", ""),
        ("Inshop", "", ""),
        ("In-shop Clothes Retrieval Benchmark", "Eval", "Img"),
        ("inshop", "Eval", ""),
    ],
)
def test_equals_a_plain_reading(home: str, list_folder: str, image_folder: str, tmp_path: Path) -> None:
    folders = {"list_folder": list_folder, "image_folder": image_folder}
    written = write_inshop(tmp_path / home, TRAIN, QUERIES, GALLERIES, pictures="linked", **folders)
    listing = read(tmp_path)
    assert listing.root == written
    expected = plainly(written / list_folder / "list_eval_partition.txt")
    assert len(expected) == sum(TRAIN) + sum(QUERIES) + sum(GALLERIES)
    above = f"{image_folder}/" if image_folder else ""
    assert listing.paths == tuple(above + path for path, _, _ in expected)
    assert [listing.class_names[class_id] for class_id in listing.class_ids] == [item for _, item, _ in expected]
    assert listing.class_names == tuple(sorted({item for _, item, _ in expected}))
    assert list(zip(listing.splits.tolist(), listing.roles.tolist(), strict=True)) == [
        OF_STATUS[status] for _, _, status in expected
    ]
    assert all((listing.root / path).is_file() for path in listing.paths)


def test_a_full_copy_has_the_published_counts(tmp_path: Path) -> None:
    write_inshop(tmp_path, *full_inshop(), pictures="none")
    listing = read(tmp_path)
    INSHOP.check_counts(listing)
    assert (len(listing), len(listing.class_names)) == (52_712, 7_982)
    assert len(listing.rows("train")) == 25_882
    assert (len(listing.rows("test", QUERY)), len(listing.rows("test", GALLERY))) == (14_218, 12_612)
    assert (len(listing.classes("train")), len(listing.classes("test"))) == (3_997, 3_985)


def test_a_list_that_was_cut_short_says_so(tmp_path: Path) -> None:
    path = write_inshop(tmp_path, TRAIN, QUERIES, GALLERIES, pictures="none") / "list_eval_partition.txt"
    lines = path.read_text().splitlines()
    path.write_text("\n".join(lines[:-4]))
    with pytest.raises(UserError, match=rf"announces {len(lines) - 2} images in line 1 and lists {len(lines) - 6}"):
        read(tmp_path)
    path.write_text("\n".join(lines[1:]))
    with pytest.raises(UserError, match=r"list_eval_partition.txt, line 2: expected the header"):
        read(tmp_path)
    path.write_text("\n".join(["many", *lines[1:]]))
    with pytest.raises(UserError, match=r"line 1: expected the number of images, found 'many'"):
        read(tmp_path)


def test_an_unknown_status_is_named(tmp_path: Path) -> None:
    path = write_inshop(tmp_path, TRAIN, QUERIES, GALLERIES, pictures="none") / "list_eval_partition.txt"
    path.write_text(path.read_text().replace("gallery", "galery"))
    first = next(number for number, line in enumerate(path.read_text().splitlines(), 1) if line.endswith("galery"))
    with pytest.raises(
        UserError, match=f"line {first}: evaluation_status must be one of train, query, gallery, found 'galery'"
    ):
        read(tmp_path)


def test_no_copy_says_where_it_was_looked_for(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no In-Shop Clothes Retrieval in .*Eval/list_eval_partition.txt.*Inshop"):
        read(tmp_path)
