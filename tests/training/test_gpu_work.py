"""Whole trials on the pretended GPU: no devices are mixed, numbers are the CPU's, and the work of a step is known."""

import pytest

from mdr_tune.training import Ranks
from tests.training.gpu_trials import TABLE, TRIALS, Work, read_table, torch_version, train, train_on_gpu

# Autocast's lists for the two devices differ, a GPU does not round the pixels of a crop, and a deep network that was
# not trained makes much of any rounding.
COARSE = ("precision bf16", "precision fp16", "augmentation random_resized_crop", "a network that drops")


@pytest.fixture(scope="module", params=TRIALS)
def trained(request: pytest.FixtureRequest) -> tuple[str, dict[str, float], Work]:
    return (request.param, *train_on_gpu(request.param))


def test_the_work_of_a_step_is_that_of_the_table(trained: tuple[str, dict[str, float], Work]) -> None:
    name, _, work = trained
    version, table = read_table()
    expected = table[name]
    if version != torch_version():  # another torch may take other operations for the same
        work, expected = {**work, "operations": None}, {**expected, "operations": None}
    assert work == expected, (
        f"{name}: a step's work on a GPU has changed. If that is meant: python -m tests.training.gpu_trials "
        f"writes {TABLE.name} anew"
    )


def test_a_trial_has_the_numbers_of_the_cpu(trained: tuple[str, dict[str, float], Work]) -> None:
    name, metrics, _ = trained
    on_cpu = train(name, Ranks())
    tolerance = {"rel": 0.05, "abs": 0.02} if name in COARSE else {"rel": 1e-4, "abs": 1e-4}
    trained_alike = [key for key in metrics if key.startswith(("train/", "mdr/"))]
    assert {key: metrics[key] for key in trained_alike} == pytest.approx(
        {key: on_cpu[key] for key in trained_alike}, **tolerance
    )
    if name not in COARSE:  # what is found changes in jumps, of some tenths of a percent for one query
        found = [key for key in metrics if key.startswith("val/")]
        assert found
        assert {key: metrics[key] for key in found} == pytest.approx({key: on_cpu[key] for key in found}, abs=1)


def test_the_table_has_the_trials() -> None:
    assert list(read_table()[1]) == list(TRIALS)
