"""The preflight on a real cluster of raylets on this machine, some of which are not as the driver's node is."""

import contextlib
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

import pytest

import mdr_tune
from tests.cluster.fake_cloud import RAY, fake_cloud, kill_node
from tests.data.published.layouts import picture
from tests.small_disk import small_disk
from tests.waiting import HANG_S

__all__ = ["small_disk"]
pytestmark = [
    pytest.mark.ray,
    pytest.mark.slow,
]  # in the normal suite, tests/cluster/test_nodes_ray.py launches with it

SWEEP = """
name: checked
trial:
  data: {{name: folder, root: "{images}", resize: 8, image_size: 8}}
  backbone: {{name: resnet18, weights: none}}
  batch: {{size: 8, images_per_class: 2}}
  embedding: {{size: 8}}
space: {{mdr.weight: {{loguniform: [0.01, 1]}}}}
resources: {{workers_per_trial: 2, lanes: 1, placement: spread}}
"""
LAUNCH = "import sys; from mdr_tune.cli.launch import main; sys.exit(main())"
"""Not launch.py: Ray's workers look first in the folder of the driver's script, and here all nodes have that one."""
PREFLIGHT = """
import sys
from mdr_tune.cli.launch import make_parser, make_plan
from mdr_tune.sweep.preflight.preflight import run_preflight
from mdr_tune.sweep.prepare import prepare_data
plan = make_plan(make_parser().parse_args(["--space", "sweep.yaml"]))
prepare_data(plan.sweep, lambda *_: None)
run_preflight(plan, print)
"""
WITHOUT_PACKAGE = """
import sys
class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "mdr_tune":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
import importlib.util, importlib.metadata
sys.meta_path.insert(0, Blocker())
find, version = importlib.util.find_spec, importlib.metadata.version
importlib.util.find_spec = lambda name, *rest: None if name == "mdr_tune" else find(name, *rest)
"""


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """A head of one CPU, whose autoscaler has nothing to add."""
    types = {"cpu_worker": {"resources": {"CPU": 1}, "max_workers": 1}}
    variables = {"GLOO_SOCKET_IFNAME": "lo", "MDR_TUNE_CACHE": str(tmp_path_factory.mktemp("cache"))}
    with tempfile.TemporaryDirectory(prefix="pf") as folder, fake_cloud(Path(folder), types, 1, **variables) as head:
        yield head


class Node(NamedTuple):
    """A node of one CPU to add.

    Attributes:
        number: From 1 to 9; no two nodes of this module have the same.
        options: Of `ray start`.
        mounts: A shell command, after which the node starts, in its own view of the file system.
        variables: Of its environment.
    """

    number: int
    options: tuple[str, ...] = ()
    mounts: str = ""
    variables: Mapping[str, str] = MappingProxyType({})

    @property
    def id(self) -> str:
        return "0" * 55 + str(self.number)

    @property
    def name(self) -> str:
        """What the preflight calls it, after its address."""
        return f"({self.id[-6:]})"

    def start(self, cluster: dict[str, str]) -> None:
        command = [RAY, "start", f"--address={cluster['RAY_ADDRESS']}", "--num-cpus=1", *self.options]
        if self.mounts:
            shell = ["sh", "-ec", f'{self.mounts}; exec "$@"', "sh"]
            command = ["unshare", "--mount", "--propagation", "private", *shell, *command]
        environment = {**cluster, "RAY_OVERRIDE_NODE_ID_FOR_TESTING": self.id, **self.variables}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=HANG_S, check=False)
        assert done.returncode == 0, done.stdout + done.stderr


@contextlib.contextmanager
def joined(cluster: dict[str, str], *nodes: Node) -> Iterator[None]:
    """Add nodes to the cluster, one after another, as Ray wants it on one machine; they are killed at the end."""
    try:
        for node in nodes:
            node.start(cluster)
        yield
    finally:
        for node in nodes:
            kill_node(node.id)


@pytest.fixture
def own_mounts() -> None:
    if subprocess.run(["unshare", "--mount", "true"], capture_output=True, check=False).returncode != 0:
        pytest.skip("only root may give a process its own mounts")


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """Twelve classes of three images; and a sweep over them."""
    draw(tmp_path / "images", 0)
    (tmp_path / "sweep.yaml").write_text(SWEEP.format(images=tmp_path / "images"))
    return tmp_path / "images"


def draw(folder: Path, seed: int) -> None:
    for number in range(36):
        (folder / f"class_{number // 3:02}").mkdir(parents=True, exist_ok=True)
        picture(seed + number, (8, 8)).save(folder / f"class_{number // 3:02}" / f"{number}.png")


def launch(cluster: dict[str, str], folder: Path, *arguments: str) -> str:
    """Launch a sweep that is refused by the preflight; returns what it said."""
    command = [sys.executable, "-c", LAUNCH, "--space", "sweep.yaml", *arguments]
    done = subprocess.run(command, cwd=folder, env=cluster, capture_output=True, text=True, timeout=HANG_S, check=False)
    output = done.stdout + done.stderr
    assert done.returncode == 2, output
    assert "preflight: --no-preflight starts the sweep all the same" in output
    assert "Traceback" not in output
    assert not (folder / "runs" / "sweeps").exists()
    return output


def test_nodes_that_are_in_order(cluster: dict[str, str], images: Path, tmp_path: Path) -> None:
    with joined(cluster, Node(1)):
        command = [sys.executable, "-c", PREFLIGHT]
        done = subprocess.run(
            command, cwd=tmp_path, env=cluster, capture_output=True, text=True, timeout=HANG_S, check=False
        )
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"^preflight: 2 nodes in order \(\d+ s\)$", done.stdout, re.MULTILINE), done.stdout
    assert "note" not in done.stdout
    assert sorted(path.name for path in tmp_path.iterdir()) == ["images", "sweep.yaml"]  # nothing is left


@pytest.mark.usefixtures("own_mounts")
def test_all_that_is_wrong_on_all_nodes_is_told_at_once(cluster: dict[str, str], images: Path, tmp_path: Path) -> None:
    copy, bare = tmp_path / "copy", tmp_path / "bare"
    shutil.copytree(Path(mdr_tune.__file__).parent, copy / "mdr_tune", ignore=shutil.ignore_patterns("__pycache__"))
    with (copy / "mdr_tune" / "util" / "words.py").open("a") as file:
        file.write("# edited\n")
    bare.mkdir()
    (bare / "sitecustomize.py").write_text(WITHOUT_PACKAGE)
    hidden = f"mount -t tmpfs none {tmp_path}"  # neither images nor storage
    edited = Node(2, ("--num-gpus=2",), variables={"PYTHONPATH": str(copy)})
    without = Node(3, ("--num-gpus=2",), variables={"PYTHONPATH": str(bare), "NCCL_ASYNC_ERROR_HANDLING": "0"})
    blind = Node(4, ("--num-gpus=1",), hidden, {"TORCH_NCCL_ASYNC_ERROR_HANDLING": "0"})
    with joined(cluster, edited, without, blind):
        output = launch(cluster, tmp_path, "--set", "resources.gpus_per_worker=1")
    lines = [line.partition("preflight: ")[2] for line in output.splitlines() if "preflight: " in line]

    def told(check: str, node: Node, what: str) -> bool:
        return any(line.startswith(f"{check}: on ") and node.name in line and what in line for line in lines)

    assert told("versions", edited, "sources of mdr_tune is "), output
    assert told("versions", edited, "; sync the project and set up that node again: `ray up CLUSTER_FILE`"), output
    assert told("versions", without, "mdr_tune cannot be imported by the Python that Ray runs there"), output
    assert told("GPUs", edited, "Ray counts 2, torch sees 0"), output
    assert told("GPUs", without, "Ray counts 2, torch sees 0"), output  # the two in one line
    assert told("GPUs", blind, "Ray counts 1, torch sees 0"), output
    assert told("time-outs", blind, "TORCH_NCCL_ASYNC_ERROR_HANDLING=0 lets a worker wait"), output
    assert not told("time-outs", without, ""), output  # Ray Train sets the other name, which torch believes
    assert told("data", blind, f"{images} is not there"), output
    assert told("note: storage", blind, f"{tmp_path / 'runs'} is not seen"), output
    assert output.count("torch sees 0") == 2


@pytest.mark.usefixtures("own_mounts")
def test_images_that_differ_and_a_full_disk(
    cluster: dict[str, str], images: Path, tmp_path: Path, small_disk: Path
) -> None:
    draw(tmp_path / "others", 100)
    (small_disk / "filler").write_bytes(b"\0" * (shutil.disk_usage(small_disk).free - 8192))
    differing = Node(5, mounts=f"mount --bind {tmp_path / 'others'} {images}")
    full = Node(6, variables={"MDR_TUNE_CACHE": str(small_disk)})
    with joined(cluster, differing, full):
        output = launch(cluster, tmp_path)
    what = "the images or splits of folder are not those of the driver's node; bring it there, the same on all nodes"
    assert re.search(rf"data: on \S+ {re.escape(differing.name)}: {what}", output), output
    assert re.search(rf"data: on \S+ {re.escape(full.name)}: .* free; set the environment variable MDR_TUNE", output), (
        output
    )


def test_features_of_a_frozen_network_are_computed_once_on_each_node(
    cluster: dict[str, str], images: Path, tmp_path: Path
) -> None:
    """A lane has a worker on each of two nodes with a cache folder each; on one node, the numbers are the same bits."""
    changes = ("trial.backbone.train=none", "trial.augmentation=none", "trial.epochs=2", "trial.iterations_per_epoch=3")
    flags = [word for change in (*changes, "search.trials=1") for word in ("--set", change)]
    other = Node(7, variables={"MDR_TUNE_CACHE": str(tmp_path / "other")})

    def run(environment: dict[str, str], program: str, *arguments: str) -> str:
        done = subprocess.run(
            [sys.executable, "-c", program, *arguments],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            timeout=HANG_S,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    with joined(cluster, other):
        run(cluster, LAUNCH, "--space", "sweep.yaml", *flags)
    here, there = (
        {file.name: file.read_bytes() for file in (folder / "features").glob("*.npy")}
        for folder in (Path(cluster["MDR_TUNE_CACHE"]), tmp_path / "other")
    )
    assert len(here) == 3  # training, validation and test
    assert here == there
    alone = {key: value for key, value in cluster.items() if not key.startswith("RAY_")}
    program = "import sys; from mdr_tune.cli.main import main; sys.exit(main())"
    printed = run({**alone, "MDR_TUNE_CACHE": str(tmp_path / "one")}, program, "rerun", "checked", "mdr-001")
    assert "equal" in printed
    assert (tmp_path / "one" / "features").is_dir()
