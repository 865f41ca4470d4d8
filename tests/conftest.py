"""What all tests share: one rendered glyph cache, small threads, and a Ray session that is started once."""

import os
import signal
import sys
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import pytest

from mdr_tune.util.words import escaped
from tests.gpu.device import VARIABLE
from tests.lane_session import hub  # noqa: F401 - a fixture
from tests.small_disk import small_disk  # noqa: F401 - a fixture

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ.setdefault("OMP_NUM_THREADS", "1")  # two busy threads on two shared cores are slower than one

# A shell without job control starts what it puts in the background with SIGINT ignored, and so would all children here:
# tests of Ctrl-C would wait for ever.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


LONG_FILES = (
    "test_samplers.py",
    "test_torchvision_models.py",
    "test_exact_ddp.py",
    "test_report.py",
    "test_embed.py",
    "test_options.py",
    "test_data.py",
    "test_curves.py",
)
"""Files without Ray that take half a minute or more, the longest first."""


def pytest_configure(config: pytest.Config) -> None:
    """Keep the order of files. pytest-xdist would begin with those that have the most tests, and these are short."""
    if hasattr(config.option, "loadscopereorder"):
        config.option.loadscopereorder = False


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Skip what needs a GPU where there is none.

    With `-n --dist loadfile`: the files that need Ray come first, since they take longest, and then LONG_FILES. A long
    file at the end would leave the other processes without work.
    """
    _skip_without_gpu([item for item in items if item.get_closest_marker("gpu")])
    if hasattr(config, "workerinput"):
        ray_files = {item.path for item in items if item.get_closest_marker("ray")}
        places = {name: place for place, name in enumerate(LONG_FILES)}
        items.sort(key=lambda item: -1 if item.path in ray_files else places.get(item.path.name, len(places)))


@pytest.hookimpl(wrapper=True)
def pytest_report_to_serializable() -> Generator[None, Any, Any]:
    """Escape names that are not UTF-8: a worker of pytest-xdist ends at once if the report of a failure has one."""
    return _escaped((yield))


def _escaped(value: Any) -> Any:
    if isinstance(value, str):
        return escaped(value)
    if isinstance(value, dict):
        return {_escaped(key): _escaped(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_escaped(item) for item in value)
    return value


def _skip_without_gpu(items: list[pytest.Item]) -> None:
    if not items:
        return
    import torch

    if torch.cuda.is_available():
        return
    for item in items:  # those with the fixture `device` can be tried on a CPU
        if os.environ.get(VARIABLE) != "cpu" or "device" not in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.skip(reason="needs a GPU"))


@pytest.fixture(scope="session", autouse=True)
def glyph_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Keep prepared data out of the user's cache; rendered once for the whole run, for all of its processes."""
    of_process = tmp_path_factory.getbasetemp()
    folder = (of_process.parent if "PYTEST_XDIST_WORKER" in os.environ else of_process) / "mdr_tune_cache"
    folder.mkdir(exist_ok=True)
    before = os.environ.get("MDR_TUNE_CACHE")
    os.environ["MDR_TUNE_CACHE"] = str(folder)
    yield folder
    if before is None:
        del os.environ["MDR_TUNE_CACHE"]
    else:
        os.environ["MDR_TUNE_CACHE"] = before


@pytest.fixture(autouse=True)
def _as_it_was() -> Iterator[None]:
    """Keep the addresses of stores and clusters, and the folders of a user's code, from reaching the next test."""
    before = {key: os.environ.get(key) for key in ("MLFLOW_TRACKING_URI", "RAY_ADDRESS")}
    loaded = {name: module for name, module in sys.modules.items() if name.partition(".")[0] == "tests"}
    yield
    for key, value in before.items():
        if value is None:
            os.environ.pop(key, None)
        else:
            os.environ[key] = value
    if "mdr_tune.util.import_path" in sys.modules:
        sys.modules["mdr_tune.util.import_path"].look_for_code_in([])
    sys.modules.update(loaded)  # where an import path names one of them, all count as a user's code, and are forgotten


@pytest.fixture
def environment_put_back() -> Iterator[None]:
    """Undo what a command leaves in the environment for its child processes. Ask for it before monkeypatch."""
    before = dict(os.environ)
    yield
    os.environ.clear()
    os.environ.update(before)
