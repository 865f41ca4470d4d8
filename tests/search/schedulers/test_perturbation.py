import random
from typing import Any

import pytest
from ray.tune.experiment import Trial

from mdr_tune.config.space import Domain, parameter_tree
from mdr_tune.search.schedulers.perturbation import domain_of, draw, perturb
from tests.search.schedulers.cases import arm_of, config_of, names_of, scheduler_of
from tests.search.schedulers.tune_by_hand import TuneByHand

LOG = Domain(loguniform=[0.01, 1])


def outcomes(value: float, domain: Domain | None, resample: float) -> set[Any]:
    return {perturb(value, domain, resample, random.Random(seed)) for seed in range(200)}


@pytest.mark.parametrize(
    ("value", "domain", "expected"),
    [
        (0.5, None, {0.4, 0.6}),
        (0.5, LOG, {0.4, 0.6}),
        (0.9, LOG, {0.72, 1.0}),
        (0.011, LOG, {0.01, 0.0132}),
        (0.2, Domain(choice=[0.4, 0.1, 0.2]), {0.1, 0.4}),
        (0.4, Domain(choice=[0.4, 0.1, 0.2]), {0.2, 0.4}),
        (0.1, Domain(choice=[0.4, 0.1, 0.2]), {0.1, 0.2}),
    ],
)
def test_is_multiplied_within_the_range(value: float, domain: Domain | None, expected: set[float]) -> None:
    assert {round(found, 9) for found in outcomes(value, domain, resample=0)} == expected


@pytest.mark.parametrize(
    "domain", [LOG, Domain(uniform=[0, 2]), Domain(int=[1, 3]), Domain(choice=[0.1, 0.2])], ids=Domain.describe
)
def test_is_drawn_where_it_is_searched(domain: Domain) -> None:
    found = outcomes(domain.probes()[0], domain, resample=1)
    assert all(domain.contains(value) for value in found)
    assert found == {draw(domain, _after_one_draw(seed)) for seed in range(200)}
    assert len(found) == (len(domain.choice) if domain.choice else 3 if domain.int else 200)


def _after_one_draw(seed: int) -> random.Random:
    generator = random.Random(seed)
    generator.random()
    return generator


def test_a_loguniform_draw_is_even_on_the_log_scale() -> None:
    generator = random.Random(0)
    below = sum(draw(LOG, generator) < 0.1 for _ in range(2000))
    assert 900 < below < 1100


def test_resamples_with_its_probability() -> None:
    generator = random.Random(0)
    kept = sum(perturb(0.5, LOG, 0.25, generator) in (0.4, 0.6) for _ in range(2000))
    assert 1430 < kept < 1570


def test_what_a_value_was_drawn_from_follows_the_choices() -> None:
    weak, strong = {"loguniform": [0.01, 0.1]}, {"uniform": [1, 2]}
    sections = [{"levels": [-1, 1], "weight": weak}, {"levels": [0], "weight": strong}, {"levels": [3], "weight": 0.5}]
    arm = arm_of(3, {"optimizer.learning_rate": [0.1], "batch.size": [64, 128], "mdr": [None, *sections]})
    tree = parameter_tree(arm.space)
    (mdr,) = (parameter for parameter in tree if parameter.key == "mdr")
    found = [domain_of(tree, "mdr.weight", {"batch.size": 64, "mdr": branch.label}) for branch in mdr.branches]
    assert found == [None, Domain(**weak), Domain(**strong), None]
    assert domain_of(tree, "optimizer.learning_rate", {}) is None


def taken_over(trial: dict[str, Any], **config: Any) -> Trial:
    """Return the worse of two trials, after the better one's state was taken over at epoch 1."""
    arm = arm_of(2, {"optimizer.learning_rate": {"choice": [0.1, 0.2, 0.3]}}, trial)
    changes: list[Any] = []
    pbt = {"name": "pbt", "resample": 0.0, **config}
    scheduler = scheduler_of(pbt, 2, 2, 2, lambda *change: changes.append(change), arm)
    whole = arm.trial.model_dump()
    configs = {}
    for name, gain, rate in zip(names_of(2), (1.0, 2.0), (0.1, 0.2), strict=True):
        parameters = {"optimizer.learning_rate": rate, "loss.margin": gain}
        changed = {
            **whole,
            "epochs": 2,
            "mdr": {"weight": gain},
            "optimizer": {**whole["optimizer"], "learning_rate": rate},
        }
        configs[name] = {**config_of([1.0, 1.0]), "trial": changed, "parameters": parameters, "recorded": [name]}
    by_hand = TuneByHand(scheduler, configs, 2, random.Random(0))
    by_hand.run()
    worse = next(trial for trial in by_hand.trials if trial.trial_id == "mdr-001")
    assert changes == [("mdr-001", 1, "mdr-002", worse.config["parameters"])]
    return worse


def test_what_is_taken_over_is_the_whole_configuration_and_nothing_of_the_trials_own() -> None:
    config = taken_over({"optimizer": {"head_learning_rate": 0.7}}).config
    rate, weight = config["trial"]["optimizer"]["learning_rate"], config["trial"]["mdr"]["weight"]
    assert rate in (0.1, 0.3)
    assert weight in (1.6, 2.4)
    assert config["trial"]["optimizer"]["head_learning_rate"] == 0.7
    assert config["parameters"] == {"optimizer.learning_rate": rate, "mdr.weight": weight, "loss.margin": 2.0}
    assert config["recorded"] == ["mdr-001"]


def test_only_what_is_named_is_perturbed() -> None:
    config = taken_over({}, perturb=["optimizer.learning_rate"]).config
    assert config["trial"]["mdr"]["weight"] == 2.0
    assert config["parameters"].keys() == {"optimizer.learning_rate", "loss.margin"}
