"""The preflight on a cluster of three nodes, one of which has another copy of the package."""

import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

import mdr_tune
from tests.cluster.fake_cloud import RAY, fake_cloud, kill_node

pytestmark = pytest.mark.ray

SWEEP = """
name: checked
trial: {batch: {size: 16, images_per_class: 4}, embedding: {size: 8}}
space: {mdr.weight: {loguniform: [0.01, 1]}}
resources: {workers_per_trial: 2, lanes: 1, placement: spread}
"""
PREFLIGHT = """
import sys
from mdr_tune.cli.launch import make_parser, make_plan
from mdr_tune.errors import UserError
from mdr_tune.sweep.preflight.run import run_preflight
from mdr_tune.sweep.prepare import prepare_data
plan = make_plan(make_parser().parse_args(["--space", "sweep.yaml", *sys.argv[1:]]))
prepare_data(plan.sweep, lambda *_: None)
try:
    run_preflight(plan, print)
except UserError as error:
    sys.exit(str(error))
"""
OTHER = "0" * 55 + "b"
"""Ray's id of the node with the other copy."""


@pytest.fixture(scope="module")
def cluster(glyph_cache: Path) -> Iterator[dict[str, str]]:
    types = {"cpu_worker": {"resources": {"CPU": 1}, "min_workers": 1, "max_workers": 1}}
    variables = {"GLOO_SOCKET_IFNAME": "lo", "MDR_TUNE_CACHE": str(glyph_cache)}
    with tempfile.TemporaryDirectory(prefix="pf") as folder, fake_cloud(Path(folder), types, 1, **variables) as joined:
        yield joined


def preflight(environment: dict[str, str], folder: Path) -> tuple[int, str]:
    (folder / "sweep.yaml").write_text(SWEEP)
    command = [sys.executable, "-c", PREFLIGHT]
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=200, check=False
    )
    return done.returncode, done.stdout + done.stderr


def test_nodes_that_are_in_order(cluster: dict[str, str], tmp_path: Path) -> None:
    code, output = preflight(cluster, tmp_path)
    assert code == 0, output
    assert re.search(r"^preflight: [12] nodes? in order \(\d+ s\)$", output, re.MULTILINE), output
    assert list((tmp_path / "runs").iterdir()) == []


def test_nodes_are_checked_before_a_worker_starts(cluster: dict[str, str], tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(Path(mdr_tune.__file__).parent, copy / "mdr_tune", ignore=shutil.ignore_patterns("__pycache__"))
    with (copy / "mdr_tune" / "words.py").open("a") as file:
        file.write("# edited\n")
    environment = {**cluster, "PYTHONPATH": str(copy), "RAY_OVERRIDE_NODE_ID_FOR_TESTING": OTHER}
    start = [RAY, "start", f"--address={cluster['RAY_ADDRESS']}", "--num-cpus=1"]
    joined = subprocess.run(
        start, env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False
    )
    assert joined.returncode == 0, joined.stdout + joined.stderr
    try:
        code, output = preflight(cluster, tmp_path)
    finally:
        kill_node(OTHER)
    assert code == 1
    assert f"({OTHER[-6:]}): sources of mdr_tune is " in output
    assert "; sync the project and set up that node again: `ray up CLUSTER_FILE`" in output
    assert "preflight: --no-preflight starts the sweep all the same" in output
    assert output.count("versions: on") == 1
    assert "Traceback" not in output
    assert not (tmp_path / "runs").exists()
