import pytest

from mdr_tune.util.errors import UnknownName
from mdr_tune.util.nearest_name import did_you_mean, nearest_name, unknown_name


def test_an_unknown_name_lists_the_known_ones_and_guesses() -> None:
    with pytest.raises(UnknownName, match=r"unknown root 'squre'\. Did you mean 'square'\? Known: fifth, square\."):
        raise unknown_name("root", "squre", ["square", "fifth"])


def test_nearest_name() -> None:
    assert nearest_name("margn", ["margin", "weight"]) == "margin"
    assert nearest_name("zzz", ["margin", "weight"]) is None
    assert nearest_name("ASHA", ["none", "asha", "median"]) == "asha"
    assert nearest_name("circleloss", ["CircleLoss", "ArcFaceLoss"]) == "CircleLoss"
    assert nearest_name("learn_rate", ["learning_rate"], 0.95) is None
    assert did_you_mean("margn", ["margin"]) == " Did you mean 'margin'?"
    assert did_you_mean("zzz", ["margin"]) == ""
