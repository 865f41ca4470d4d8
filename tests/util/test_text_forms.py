import unicodedata
from pathlib import Path

import pytest

from mdr_tune.util.text_forms import NamesOnDisk, one_form


@pytest.mark.parametrize(
    "text",
    [
        "café",
        unicodedata.normalize("NFD", "café"),
        "caf\u00e9\u200b",  # zero-width space
        "\ufeffcafé",  # byte order mark
        "ca\u00adf\u00e9",  # soft hyphen
        "ca\u200d\u200cfé",  # joiners
        "café\u202c\u2060\ufe0f",
        " café\u00a0",
        "\tcafé\r\n",
        "café\x00",
    ],
)
def test_what_looks_the_same_has_one_form(text: str) -> None:
    assert one_form(text) == "café"


def test_blanks_within_a_text_are_spaces() -> None:
    assert [one_form(text) for text in ("red mug", "red\u00a0mug", "red\u2003mug", "red\u3000mug ")] == ["red mug"] * 4


@pytest.mark.parametrize(
    "text", ["Cat", "cat", "x²", "x2", "ﬁ", "fi", "Å", "A", "a-b", "🏴", "🏴\U000e0067\U000e0062\U000e007f"]
)
def test_what_looks_different_stays_as_it_is(text: str) -> None:
    assert one_form(text) == text


def test_names_are_found_as_the_disk_has_them(tmp_path: Path) -> None:
    composed, decomposed = "é", unicodedata.normalize("NFD", "é")
    for path in (f"{decomposed}/{composed}/1.png", f"both/{composed}", f"both/{decomposed}", f"both/{decomposed}x"):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).touch()
    names = NamesOnDisk(tmp_path, lambda name: unicodedata.normalize("NFC", name))
    for written in (f"{composed}/{decomposed}/1.png", f"./both/../{composed}/{composed}/1.png"):
        found = names.find(written)
        assert found is not None
        assert (tmp_path / found).samefile(tmp_path / decomposed / composed / "1.png")
    absolute = f"{tmp_path}/{composed}/{composed}/1.png"
    assert names.find(absolute) == f"{tmp_path}/{decomposed}/{composed}/1.png"
    assert names.find(f"both/{composed}") == f"both/{composed}"
    assert names.find(f"both/{composed}x") == f"both/{decomposed}x"
    for none in (f"both/{composed}y", "nowhere/é", f"both/{composed}x/é"):
        assert names.find(none) is None


def test_a_name_that_several_files_could_be_is_none_of_them(tmp_path: Path) -> None:
    for name in ("A.png", "a.png"):
        (tmp_path / name).touch()
    names = NamesOnDisk(tmp_path, str.casefold)
    assert (names.find("a.PNG"), names.find("a.png")) == (None, "a.png")
