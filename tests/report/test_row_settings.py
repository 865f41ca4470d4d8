"""Methods and settings in words, and what a configuration may be compared with."""

from typing import Any

import pytest

from mdr_tune.config.trial import TrialConfig
from mdr_tune.report.row_settings import (
    comparable_key,
    drawn,
    has_mdr,
    key_of,
    method_of,
    settings_of,
    tuned_setting,
    varied,
)
from tests.report.make_evidence import nested


def config(**values: Any) -> dict[str, Any]:
    return nested(TrialConfig.model_validate(values))


@pytest.mark.parametrize(
    ("values", "method"),
    [
        ({"mdr": None}, "triplet"),
        ({"mdr": None, "embedding": {"mode": "l2"}}, "triplet_l2"),
        ({"mdr": None, "embedding": {"mode": "none"}}, "triplet_none"),
        ({}, "triplet + MDR"),
        ({"embedding": {"mode": "l2"}}, "triplet_l2 + MDR"),
        ({"loss": {"name": "arcface"}, "mdr": None}, "arcface"),  # on the unit sphere anyway
        ({"loss": {"name": "contrastive"}, "embedding": {"mode": "l2"}, "mdr": None}, "contrastive_l2"),
    ],
)
def test_methods(values: dict[str, Any], method: str) -> None:
    assert method_of(config(**values)) == method


def test_a_loss_that_another_version_recorded_has_a_name_still() -> None:
    recorded = config(mdr=None) | {"loss": {"name": "gone", "strength": 1}}
    assert method_of(recorded) == "gone"


def test_mdr_is_absent_or_none_without_it() -> None:
    assert has_mdr(config())
    assert not has_mdr(config(mdr=None))
    assert not has_mdr({"loss": {"name": "triplet"}})


def test_what_is_comparable_differs_in_mdr_the_mode_and_the_seed_alone() -> None:
    with_mdr = config(mdr={"levels": [-3.0, 3.0], "weight": 0.6}, seed=4)
    assert comparable_key(with_mdr) == comparable_key(config(mdr=None, embedding={"mode": "l2"}))
    others = [
        config(mdr=None, loss={"name": "triplet", "margin": 0.3}),
        config(mdr=None, backbone={"name": "resnet18", "weights": "none"}),
        config(mdr=None, embedding={"size": 64}),
        config(mdr=None, loss={"name": "contrastive"}),
        config(mdr=None, epochs=9),
        config(mdr=None, data={"name": "cub200", "root": "images"}),
    ]
    assert all(comparable_key(with_mdr) != comparable_key(other) for other in others)
    assert comparable_key({**with_mdr, "mdr_like": 1}) != comparable_key(with_mdr)


def test_equal_but_for_the_seed() -> None:
    assert key_of(config(seed=1)) == key_of(config(seed=2))
    assert key_of(config()) != key_of(config(mdr=None))


def test_what_varies() -> None:
    assert varied([{"a": 1, "b": 2}, {"a": 1, "b": 3}, {"c": 1}]) == ["b"]
    assert varied([]) == []


def settings(rows: list[dict[str, Any]], configs: list[dict[str, Any]] | None = None) -> list[str]:
    return settings_of(configs or [config()] * len(rows), rows)


def test_settings_are_what_varies_in_short_words() -> None:
    rows: list[dict[str, Any]] = [
        {"mdr.levels.count": 3, "mdr.weight": 0.1, "embedding.size": 64},
        {"mdr.levels.count": 5, "mdr.weight": 0.1, "embedding.size": 64},
        {"embedding.size": 64},
    ]
    assert settings(rows) == ["levels count 3", "levels count 5", ""]


def test_levels_that_are_written_as_lists() -> None:
    rows: list[dict[str, Any]] = [{"mdr.levels": [-3.0, 0.0, 3.0]}, {"mdr.levels": [-2.5, 2.5]}]
    assert settings(rows) == ["levels [-3, 0, 3]", "levels [-2.5, 2.5]"]


def test_the_method_is_not_said_twice() -> None:
    losses = ("triplet", "arcface")
    configs = [config(loss={"name": name}, mdr=mdr) for name in losses for mdr in (None, {"weight": 0.1})]
    parameters = [{"loss": name, "mdr": mdr, "embedding.mode": "auto", "seed": 1} for name in losses for mdr in (0, 1)]
    rows = [drawn(*row) for row in zip(configs, parameters, strict=True)]
    assert settings(rows, configs) == ["", "", "", ""]


def test_of_a_choice_of_mdr_the_keys_that_differ_are_said() -> None:
    configs = [config(mdr=None), *(config(mdr={"weight": weight, "levels": [-3.0, 3.0]}) for weight in (0.1, 0.6))]
    parameters: list[dict[str, Any]] = [{"mdr": None}, {"mdr": "weight 0.1 levels"}, {"mdr": "weight 0.6 levels"}]
    rows = [drawn(*row) for row in zip(configs, parameters, strict=True)]
    assert settings(rows, configs) == ["", "weight 0.1", "weight 0.6"]
    assert rows[0] == {}
    assert rows[1]["mdr.weight"] == 0.1


def test_what_the_method_leaves_open_of_a_loss_is_said() -> None:
    rows: list[dict[str, Any]] = [{"loss": "triplet margin 0.1"}, {"loss": "triplet margin 0.2"}]
    assert settings(rows) == ["margin 0.1", "margin 0.2"]


def test_yes_and_no() -> None:
    assert settings([{"mdr.learn_levels": True}, {"mdr.learn_levels": False}]) == [
        "learn levels yes",
        "learn levels no",
    ]


def test_all_that_a_search_drew_is_said_but_for_the_method_and_the_seed() -> None:
    parameters: dict[str, Any] = {
        "mdr.levels.count": 3,
        "mdr.levels.spread": 2.4,
        "mdr.weight": 0.13,
        "loss": "triplet margin 0.2",
        "embedding.mode": "l2",
        "seed": 1,
    }
    assert tuned_setting(config(), parameters) == "levels 3 over ±2.40, weight 0.13, loss margin 0.2"
    assert tuned_setting(config(), {"loss": "triplet"}) == ""


@pytest.mark.parametrize(
    ("weights", "expected"),
    [
        ([0.1, 0.1000001], ["weight 0.1", "weight 0.1000001"]),
        ([0.1, 0.25, 0.1000001], ["weight 0.1", "weight 0.25", "weight 0.1000001"]),
        ([1 / 3, 0.3333333, 2 / 3], ["weight 0.33333333", "weight 0.3333333", "weight 0.666667"]),
        ([0.1, 0.1 + 2**-56], ["weight 0.1", "weight 0.10000000000000002"]),
    ],
)
def test_settings_have_the_digits_that_tell_them_apart(weights: list[float], expected: list[str]) -> None:
    assert settings([{"mdr.weight": weight} for weight in weights]) == expected


def test_settings_that_are_the_same_get_no_more_digits() -> None:
    """A row without MDR beside one with it, say: their methods differ."""
    rows = [{"loss.margin": 0.123456789, "embedding.size": size} for size in (64, 64, 128)]
    assert settings(rows) == ["embedding size 64", "embedding size 64", "embedding size 128"]


def test_a_key_that_an_older_record_lacks_counts_as_none() -> None:
    assert key_of({"loss": {"name": "triplet"}, "memory": None}) == key_of({"loss": {"name": "triplet"}})
    assert key_of({"memory": {"size": 64}}) != key_of({"memory": None})
