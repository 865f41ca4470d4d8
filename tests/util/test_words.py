"""Sentences' small helpers."""

import pytest

from mdr_tune.util.words import count, escaped, not_utf_8, without_password


@pytest.mark.parametrize(
    ("number", "unit", "said"),
    [(1, "class", "1 class"), (2, "class", "2 classes"), (0, "lane", "0 lanes"), (0.5, "GPU", "0.5 GPU")],
)
def test_units_have_the_form_that_goes_with_their_number(number: float, unit: str, said: str) -> None:
    assert count(number, unit) == said


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("postgresql://me:secret@host/db", "postgresql://me:***@host/db"),
        (
            "launch.py --tracking-uri http://me:a:b@host --set x=1",
            "launch.py --tracking-uri http://me:***@host --set x=1",
        ),
        ("redis://:secret@host", "redis://:***@host"),
        ("postgresql://me:a@b/c@d@host/db?x=1", "postgresql://me:***@host/db?x=1"),
        ("http://host:5000/a", "http://host:5000/a"),
        ("sqlite:////data/mlflow.db", "sqlite:////data/mlflow.db"),
    ],
)
def test_passwords_are_not_shown(text: str, shown: str) -> None:
    assert without_password(text) == shown


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("r\udce9.png", "r\\xe9.png"),
        ("é → 😀", "é → 😀"),
        ("\udc80\udcff", "\\x80\\xff"),
        ("\ud83d!", "\\ud83d!"),
        ("", ""),
    ],
)
def test_what_is_not_utf_8_is_escaped(text: str, shown: str) -> None:
    assert escaped(text) == shown
    shown.encode()


def test_what_is_not_utf_8_is_named_with_what_to_do() -> None:
    assert not_utf_8() == not_utf_8("a", "é → 😀") == ""
    assert not_utf_8("a", "r\udce9.png") == "r\\xe9.png is not UTF-8: rename it"
    assert not_utf_8("a", "r\udce9.png", "b", "\udc80", "\udc81") == "r\\xe9.png and 2 more are not UTF-8: rename them"
