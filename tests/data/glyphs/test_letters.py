import unicodedata

from mdr_tune.data.glyphs.letters import FACES, distinct_letters, font_path, shared_letters


def test_all_faces_are_there_and_different() -> None:
    assert len({font_path(face).read_bytes() for face in FACES}) == 12


def test_number_of_letters_in_all_faces() -> None:
    assert len(shared_letters()) == 1511
    assert all(unicodedata.category(chr(code)).startswith("L") for code in shared_letters())


def test_number_of_letters_of_different_shape() -> None:
    assert len(distinct_letters()) == 1384
    assert set(distinct_letters()) < set(shared_letters())


def test_same_shape_counts_once_as_the_lowest_code_point() -> None:
    letters = set(distinct_letters())
    assert [code for code in map(ord, "A\u0391\u0410") if code in letters] == [ord("A")]  # Alpha, Cyrillic A
    assert [code for code in map(ord, "o\u03bf\u043e\u0585") if code in letters] == [ord("o")]
    assert {ord("A"), ord("a"), 0x00C4, 0x03A9, 0x0416} <= letters  # A a Ä Omega Zhe
