"""A Ray session for the schedulers' tests with the real Tuner, and the strictness of Tune's that failures need off."""

from collections.abc import Iterator

import pytest

from mdr_tune.sweep.ray_session import ray_session


@pytest.fixture(scope="module")
def ray_for_tune() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TUNE_DISABLE_STRICT_METRIC_CHECKING", "1")  # a trial that fails reports no metric
        with ray_session(None, num_cpus=2):
            yield
