"""The Ray session with one lane of two workers, started once for all tests that need it."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from mdr_tune.lanes.lane_resources import LaneResources

if TYPE_CHECKING:
    from mdr_tune.lanes.lane import Lanes

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


@contextmanager
def own_lanes(
    resources: LaneResources, name: str, folder: Path, prepare: Callable[[], None] | None = None
) -> Iterator["Lanes"]:
    """Lanes of one test on the shared Ray. When the block is left, they hold no CPUs and wait for none."""
    import ray

    from mdr_tune.lanes.lane import Lanes

    with no_placement_group_left():
        lanes = Lanes(resources, name, folder, prepare)
        try:
            yield lanes
        finally:
            if ray.is_initialized():
                lanes.stop()


@contextmanager
def no_placement_group_left() -> Iterator[None]:
    """Remove the placement groups that were made in the block, of lanes that have ended by then.

    A lane that is ended by force leaves its placement group to a process of Ray Train. That process fails where several
    Rays run on one machine, as they do in these tests.
    """
    import ray
    from ray._raylet import PlacementGroupID
    from ray.util.placement_group import PlacementGroup, placement_group_table, remove_placement_group

    before = set(placement_group_table())
    try:
        yield
    finally:
        if ray.is_initialized():
            left = {key: group["state"] for key, group in placement_group_table().items() if key not in before}
            for key in (key for key, state in left.items() if state != "REMOVED"):
                remove_placement_group(PlacementGroup(PlacementGroupID(bytes.fromhex(key))))
