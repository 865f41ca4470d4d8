"""The Ray session with one lane of two workers, started once for all tests that need it."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mdr_tune.lanes.lane_resources import LaneResources

RESOURCES = LaneResources(
    num_lanes=1,
    workers_per_lane=2,
    cpus_per_worker=1,
    gpus_per_worker=0,
    max_restarts=100,
    stuck_worker_timeout_s=60.0,
    stalled_worker_timeout_s=60.0,
)


@pytest.fixture(scope="session")
def hub(tmp_path_factory: pytest.TempPathFactory, glyph_cache: Path) -> Iterator[Any]:
    """The hub of one lane with two DDP workers, as a sweep starts it."""
    from mdr_tune.sweep.ray_session import ray_session

    with ray_session(None, num_cpus=3):  # one is free, for tests that start a lane of their own
        from mdr_tune.lanes.lane import Lanes

        lanes = Lanes(RESOURCES, "tests", tmp_path_factory.mktemp("lanes"))
        yield lanes.hub
        lanes.stop()
