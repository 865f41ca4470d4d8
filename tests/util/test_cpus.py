from pathlib import Path

import pytest

from mdr_tune.util.cpus import share_cpus, threads_to_start, usable_cpus


@pytest.mark.parametrize(
    ("files", "cpus"),
    [
        ({}, 8),
        ({"cpu.max": "max 100000\n"}, 8),
        ({"cpu.max": "150000 100000\n"}, 2),
        ({"cpu.max": "10000 100000\n"}, 1),
        ({"cpu.max": "6400000 100000\n"}, 8),
        ({"cpu.max": "of another kernel\n"}, 8),
        ({"cpu/cpu.cfs_quota_us": "300000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 3),
        ({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, 8),
    ],
)
def test_a_container_has_a_share_of_the_cpus(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, files: dict[str, str], cpus: int
) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(8)))
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    assert usable_cpus(tmp_path) == cpus


@pytest.mark.parametrize(("processes", "fewest", "threads"), [(1, 1, 8), (2, 1, 4), (3, 1, 2), (16, 1, 1), (4, 3, 3)])
def test_processes_share_the_cpus(monkeypatch: pytest.MonkeyPatch, processes: int, fewest: int, threads: int) -> None:
    monkeypatch.setattr("mdr_tune.util.cpus._processes", 1)  # restored after the test
    monkeypatch.setattr("mdr_tune.util.cpus._fewest_threads", 1)
    monkeypatch.setattr("mdr_tune.util.cpus.usable_cpus", lambda: 8)
    share_cpus(processes, fewest)
    assert threads_to_start() == threads
