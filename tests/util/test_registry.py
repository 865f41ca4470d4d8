import pytest

from mdr_tune.util.errors import UnknownName
from mdr_tune.util.registry import Registry, did_you_mean, nearest_name


@pytest.fixture
def roots() -> Registry[object]:
    registry: Registry[object] = Registry("root")
    registry.add("square", "math:sqrt")
    registry.add("fifth", "nowhere:to_be_found")
    return registry


def test_a_name_finds_what_stands_at_its_place(roots: Registry[object]) -> None:
    import math

    assert roots["square"] is math.sqrt
    assert list(roots) == ["fifth", "square"]


def test_an_unknown_name_lists_the_known_ones_and_guesses(roots: Registry[object]) -> None:
    assert "cube" not in roots
    with pytest.raises(UnknownName, match=r"unknown root 'squre'\. Did you mean 'square'\? Known: fifth, square\."):
        roots["squre"]


def test_nothing_is_imported_before_it_is_asked_for(roots: Registry[object]) -> None:
    assert "fifth" in roots
    with pytest.raises(ModuleNotFoundError, match="nowhere"):
        roots["fifth"]


def test_a_name_is_taken_once(roots: Registry[object]) -> None:
    with pytest.raises(ValueError, match="registered already"):
        roots.add("square", "math:isqrt")


def test_nearest_name() -> None:
    assert nearest_name("margn", ["margin", "weight"]) == "margin"
    assert nearest_name("zzz", ["margin", "weight"]) is None
    assert nearest_name("ASHA", ["none", "asha", "median"]) == "asha"
    assert nearest_name("circleloss", ["CircleLoss", "ArcFaceLoss"]) == "CircleLoss"
    assert nearest_name("learn_rate", ["learning_rate"], 0.95) is None
    assert did_you_mean("margn", ["margin"]) == " Did you mean 'margin'?"
    assert did_you_mean("zzz", ["margin"]) == ""
