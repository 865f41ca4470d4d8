from pathlib import Path

import pytest

from mdr_tune.data.published.sop import SOP, read
from mdr_tune.util.errors import UserError
from tests.data.published.layouts import full_sop, write_sop

TRAIN, TEST = [2, 1, 3, 5, 2, 2, 2, 2, 2, 2, 2, 4, 3], [4, 2, 2]


def plainly(home: Path) -> list[tuple[str, int, str]]:
    """Return (path, class id, split) line by line."""
    rows = []
    for split in ("train", "test"):
        with (home / f"Ebay_{split}.txt").open() as file:
            next(file)
            for line in file:
                _, class_id, _, path = line.split()
                rows.append((path, int(class_id), split))
    return rows


def test_equals_a_plain_reading(tmp_path: Path) -> None:
    home = write_sop(tmp_path, TRAIN, TEST, pictures="linked")
    listing = read(tmp_path)
    expected = plainly(home)
    assert len(expected) == sum(TRAIN) + sum(TEST)
    assert listing.paths == tuple(path for path, _, _ in expected)
    assert [int(listing.class_names[i].rpartition("_")[2]) for i in listing.class_ids] == [row[1] for row in expected]
    assert listing.splits.tolist() == [0 if split == "train" else 2 for _, _, split in expected]
    assert listing.class_ids.tolist() == [class_id - 1 for _, class_id, _ in expected]
    assert listing.class_names[:5] == ("bicycle_1", "cabinet_2", "chair_3", "coffee_maker_4", "fan_5")
    assert listing.class_names[12] == "bicycle_13"
    assert all((listing.root / path).is_file() for path in listing.paths)


def test_the_folder_itself_may_be_given(tmp_path: Path) -> None:
    home = write_sop(tmp_path, TRAIN, TEST, pictures="none")
    assert read(home).paths == read(tmp_path).paths
    assert read(home).root == home


def test_classes_are_in_the_order_of_their_ids(tmp_path: Path) -> None:
    home = write_sop(tmp_path, [1, 1], [1], pictures="none")
    header = "image_id class_id super_class_id path\n"
    (home / "Ebay_train.txt").write_text(header + "1 10 1 bicycle_final/a.JPG\n2 9 3 chair_final/b.JPG\n")
    (home / "Ebay_test.txt").write_text(header + "3 2 3 chair_final/c.JPG\n")
    listing = read(home)
    assert listing.class_names == ("chair_2", "chair_9", "bicycle_10")
    assert listing.class_ids.tolist() == [2, 1, 0]


def test_a_full_copy_has_the_published_counts(tmp_path: Path) -> None:
    write_sop(tmp_path, *full_sop(), pictures="none")
    listing = read(tmp_path)
    SOP.check_counts(listing)
    assert (len(listing), len(listing.class_names)) == (120_053, 22_634)
    assert (len(listing.rows("train")), len(listing.rows("test"))) == (59_551, 60_502)
    assert listing.classes("train").tolist() == list(range(11_318))
    assert listing.classes("test").tolist() == list(range(11_318, 22_634))


def test_one_list_alone_does_not_do(tmp_path: Path) -> None:
    home = write_sop(tmp_path, TRAIN, TEST, pictures="none")
    (home / "Ebay_train.txt").unlink()
    with pytest.raises(UserError, match=r"data.root: there is no .*Ebay_train.txt"):
        read(tmp_path)


def test_a_malformed_line_is_named(tmp_path: Path) -> None:
    home = write_sop(tmp_path, TRAIN, TEST, pictures="none")
    lines = (home / "Ebay_test.txt").read_text().splitlines()
    (home / "Ebay_test.txt").write_text("\n".join([*lines[:4], lines[4][:6]]))
    with pytest.raises(UserError, match=r"Ebay_test.txt, line 5: expected 4 columns"):
        read(tmp_path)
    (home / "Ebay_test.txt").write_text("\n".join(lines[1:]))
    with pytest.raises(UserError, match=r"Ebay_test.txt, line 1: expected the header 'image_id class_id"):
        read(tmp_path)
    (home / "Ebay_test.txt").write_text("\n".join([lines[0], "1 one 1 chair_final/a.JPG"]))
    with pytest.raises(UserError, match=r"Ebay_test.txt, line 2: class_id must be a whole number, found 'one'"):
        read(tmp_path)


def test_no_copy_says_where_it_was_looked_for(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no Stanford Online Products in .*Ebay_train.txt.*Stanford_Online_Products"):
        read(tmp_path)
