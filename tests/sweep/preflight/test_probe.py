"""What a node says of itself, asked in this process."""

import importlib.metadata
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from mdr_tune.sweep.preflight import probe


def test_versions_are_those_that_are_installed() -> None:
    found = probe.versions()
    assert found["torch"] == importlib.metadata.version("torch")
    assert found["Python"] == ".".join(map(str, sys.version_info[:3]))
    assert all(version not in ("", "none") for version in found.values())


def test_an_edited_copy_has_another_hash(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a process of its own, which finds the copy first."""
    (tmp_path / "mdr_tune").mkdir()
    (tmp_path / "mdr_tune" / "__init__.py").write_text("")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    code = Path(probe.__file__).read_text() + "\nprint(source_hash())"
    hashes = []
    for text in ("a = 1", "a = 2"):
        (tmp_path / "mdr_tune" / "one.py").write_text(text)
        done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
        hashes.append(done.stdout.strip())
    assert len({*hashes, probe.source_hash()}) == 3


def test_gpus_are_looked_at_in_a_process_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe, "LOOK_AT_GPUS", "print('[]')")
    assert probe.gpus() == {"found": []}
    monkeypatch.setattr(probe, "LOOK_AT_GPUS", "raise RuntimeError('CUDA driver is too old')")
    assert probe.gpus() == {"error": "RuntimeError: CUDA driver is too old"}
    monkeypatch.setattr(probe, "LOOK_AT_GPUS", "import time; time.sleep(60)")
    monkeypatch.setattr(probe, "GPU_TIMEOUT_S", 0.5)
    assert probe.gpus() == {"error": "no answer within 0.5 s"}


def test_torch_is_really_asked_for_gpus() -> None:
    import torch

    assert len(probe.gpus()["found"]) == torch.cuda.device_count()


def test_files_of_a_node(tmp_path: Path) -> None:
    node = probe.Probe()
    assert node.content(str(tmp_path / "x")) is None
    (tmp_path / "x").write_text("written")
    assert node.content(str(tmp_path / "x")) == "written"


def test_what_a_node_has_not(tmp_path: Path) -> None:
    assert probe.Probe().unreadable([str(tmp_path), str(tmp_path / "x")]) == [str(tmp_path / "x")]


def test_the_environment_of_collectives_is_told_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("GLOO_SOCKET_IFNAME", "NCCL_DEBUG", "TORCH_NCCL_BLOCKING_WAIT", "MY_PASSWORD"):
        monkeypatch.setenv(name, "x")
    told = probe.Probe().facts(look_at_gpus=False)["environment"]
    assert {"GLOO_SOCKET_IFNAME", "NCCL_DEBUG", "TORCH_NCCL_BLOCKING_WAIT"} <= told.keys()
    assert "MY_PASSWORD" not in told


def test_a_port_that_is_closed_is_told() -> None:
    one, other = probe.Probe(), probe.Probe()
    port = one.listen("127.0.0.1")
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        assert other.unreachable([("127.0.0.1", port)]) == []
        assert other.unreachable([("127.0.0.1", closed.getsockname()[1])]) == ["127.0.0.1"]
