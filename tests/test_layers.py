"""The layers of the package: what each may import. Read from the sources, so that nothing is executed."""

import ast
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "mdr_tune"
BELOW: dict[str, set[str]] = {  # a layer imports itself and those listed
    "util": set(),
    "statistics": set(),
    "metric": {"util"},
    "records": {"util"},
    "backbones": {"util"},
    "data": {"util"},
    "config": {"util", "records", "metric", "backbones", "data"},  # of the last three, without torch until it builds
    "training": {"util", "records", "metric", "backbones", "data", "config"},
    "retrieve": {"util", "metric", "data"},
    "checkpoints": {"util", "records"},
    "lanes": {
        "util",
        "config",
        "backbones",
        "data",
        "training",
        "checkpoints",
    },  # fetches weights
    "search": {"util", "records", "config", "checkpoints", "lanes"},  # of the last, Ray's seams alone
    "tracking": {"util", "records", "config", "training", "retrieve"},
    "cluster": {"util", "config", "tracking", "lanes"},  # of the last, Ray's seams alone
    "report": {"util", "records", "config", "statistics"},
    "evaluate": {
        *("util", "metric", "records", "backbones", "data", "config", "training", "retrieve", "tracking"),
    },
    "sweep": {
        *("util", "records", "config", "backbones", "data", "training", "checkpoints", "lanes", "search", "tracking"),
        *("cluster", "report"),
    },
    "cli": {
        *("util", "records", "config", "data", "training", "lanes", "search", "report", "tracking", "sweep"),
        *("retrieve", "cluster", "evaluate"),
    },
}
WITHOUT_RAY_AND_MLFLOW = (
    *("util", "statistics", "metric", "records", "backbones", "data", "config", "training", "checkpoints"),
    *("report", "retrieve"),
)


def imports_of(file: Path) -> set[str]:
    """Return the dotted names of all modules that a file imports, at its top or inside of functions."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.update([node.module, *(f"{node.module}.{alias.name}" for alias in node.names)])
    return found


def modules_imported_by(file: Path, known: Collection[str]) -> set[str]:
    """Return those of the `known` modules that a file names in its imports: not the packages that they are in."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
            found.update(name if name in known else node.module for name in names)
    return found & set(known)


def files_of(layer: str) -> list[Path]:
    return sorted((PACKAGE / layer).rglob("*.py"))


def test_every_folder_is_a_layer_and_nothing_lies_loose() -> None:
    assert {folder.name for folder in PACKAGE.iterdir() if (folder / "__init__.py").exists()} == set(BELOW)
    assert [file.name for file in PACKAGE.glob("*.py")] == ["__init__.py"]


def test_no_two_files_have_one_name() -> None:
    """Those of `cli` are named by their commands."""
    names = Counter(file.name for file in PACKAGE.rglob("*.py") if file.parent.name != "cli")
    assert {name for name, times in names.items() if times > 1} == {"__init__.py"}


def test_every_file_that_the_guide_to_the_code_names_is_there() -> None:
    guide = (PACKAGE.parent / "docs" / "architecture.md").read_text()
    named = set(re.findall(r"`((?:[a-z_0-9]+/)+(?:[a-z_0-9]+\.[a-z]+)?)`", guide))
    assert len(named) > 80
    files = {path for path in named if not path.startswith("runs/")}
    missing = {path for path in files if not any((root / path).exists() for root in (PACKAGE, PACKAGE.parent))}
    assert missing == set()


@pytest.mark.parametrize("layer", BELOW)
def test_a_layer_imports_only_from_below(layer: str) -> None:
    allowed = {layer, *BELOW[layer]}
    for file in files_of(layer):
        for name in imports_of(file):
            parts = name.split(".")
            if parts[0] == "mdr_tune" and len(parts) > 1 and parts[1] in BELOW:
                assert parts[1] in allowed, f"{file.relative_to(PACKAGE)} imports {name}"


def check_no_circle(graph: Mapping[str, Iterable[str]]) -> None:
    """Fail with the names on a circle, if there is one."""
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(f"imports go in a circle: {' <- '.join(error.args[1])}")


def test_layers_import_each_other_in_no_circle() -> None:
    check_no_circle(BELOW)


def test_modules_import_each_other_in_no_circle() -> None:
    """Imports within functions, and for types alone, count as all others do."""
    files = {".".join(file.relative_to(PACKAGE.parent).with_suffix("").parts): file for file in PACKAGE.rglob("*.py")}
    known = {name.removesuffix(".__init__"): file for name, file in files.items()}
    graph = {name: modules_imported_by(file, known) for name, file in known.items()}
    assert "mdr_tune.config.trial" in graph["mdr_tune.training.session"]
    check_no_circle(graph)


SEAMS = "mdr_tune.lanes.ray_seams"
NOT_DOCUMENTED = ("ray.autoscaler.v2", "ray.experimental", "ray.train.v2", "ray.tune.execution")
"""Parts of Ray without an underscore that its documentation does not promise either."""
NOT_PROMISED = {
    *("run_metadata", "checkpoint_manager", "latest_checkpoint_result", "pickled_error_file", "get_error"),
    *("get_live_trials", "stop_trial"),
}
"""Attributes of Tune's trials and of its controller, for which the same holds."""


@pytest.mark.parametrize("layer", ["search", "cluster"])
def test_of_the_lanes_only_the_seams_of_ray_are_for_others(layer: str) -> None:
    used = {name for file in files_of(layer) for name in imports_of(file) if name.startswith("mdr_tune.lanes")}
    assert {name for name in used if not name.startswith(SEAMS)} == set()


def test_private_names_of_ray_are_in_one_file() -> None:
    files = [file for file in PACKAGE.rglob("*.py") if file != PACKAGE / "lanes" / "ray_seams.py"]
    found = {str(file.relative_to(PACKAGE)): private_names_of_ray(ast.parse(file.read_text())) for file in files}
    assert {file: names for file, names in found.items() if names} == {}


@pytest.mark.parametrize(
    "code",
    [
        "import ray._private.worker",
        "import ray\nray._private.worker",
        "import ray.tune as tune\ntune.Trainable._report",
        "from ray import _raylet",
        "from ray.tune.experiment.config_parser import _make_parser",
        "def use():\n    from ray.train.v2.api.config import LoggingConfig",
        "import ray.autoscaler.v2.sdk",
        "node = 'node:__internal_head__'",
        "def end(trial):\n    trial.run_metadata.clear()",
    ],
)
def test_a_private_name_of_ray_is_found(code: str) -> None:
    assert private_names_of_ray(ast.parse(code))


def private_names_of_ray(tree: ast.AST) -> list[str]:
    """Return the names in a source that are Ray's own, or that its documentation does not promise."""
    found, of_ray = [], set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            modules = [(alias.name, alias.asname or alias.name.split(".")[0]) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            modules = [(f"{node.module}.{alias.name}", alias.asname or alias.name) for alias in node.names]
        else:
            continue
        rays = [(module, name) for module, name in modules if module.split(".")[0] == "ray"]
        of_ray.update(name for _, name in rays)
        private = (module for module, _ in rays if "._" in module or module.startswith(NOT_DOCUMENTED))
        found += private
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and "__internal_head__" in node.value:
            found.append(node.value)
        if not isinstance(node, ast.Attribute):
            continue
        root: ast.expr = node
        while isinstance(root, ast.Attribute):
            root = root.value
        is_rays = isinstance(root, ast.Name) and root.id in of_ray and re.match("_[^_]", node.attr)
        if is_rays or node.attr in NOT_PROMISED:
            found.append(ast.unparse(node))
    return found


def classes_of_ray() -> list[tuple[str, str]]:
    """Return module and name of each class of ours that has a class of Ray's among its bases, by its source."""
    found, known = [], set()
    trees = {file: ast.parse(file.read_text()) for file in PACKAGE.rglob("*.py") if file.name != "ray_seams.py"}
    for tree in trees.values():
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "ray":
                known.update(alias.asname or alias.name for alias in node.names)
    for _ in range(3):  # a base may be a class of ours that has one
        for file, tree in trees.items():
            module = ".".join(("mdr_tune", *file.relative_to(PACKAGE).with_suffix("").parts))
            for node in ast.iter_child_nodes(tree):
                bases = {ast.unparse(base).split(".")[0] for base in getattr(node, "bases", ())}
                if isinstance(node, ast.ClassDef) and bases & known and (module, node.name) not in found:
                    found.append((module, node.name))
                    known.add(node.name)
    return found


def test_a_launch_imports_no_code_that_it_may_not_need() -> None:
    """Each takes seconds on the way to the first epoch: torchvision, and what torch.compile consists of."""
    code = (
        "import sys, mdr_tune.lanes.worker, mdr_tune.backbones as backbones\n"
        "backbones.check_takes('conv4', 'none', (1, 32, 32))\n"
        "sys.exit(' '.join({'torchvision', 'torch._dynamo', 'sklearn', 'pytorch_metric_learning'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stderr.strip() == "", done.stderr


@pytest.mark.parametrize("layer", WITHOUT_RAY_AND_MLFLOW)
def test_the_method_runs_without_ray_and_mlflow(layer: str) -> None:
    for file in files_of(layer):
        banned = {name for name in imports_of(file) if name.split(".")[0] in ("ray", "mlflow")}
        assert not banned, f"{file.relative_to(PACKAGE)} imports {banned}"


def names_in(file: Path) -> set[str]:
    """Return the names and attributes that a file uses."""
    nodes = list(ast.walk(ast.parse(file.read_text())))
    names = {node.id for node in nodes if isinstance(node, ast.Name)}
    return names | {node.attr for node in nodes if isinstance(node, ast.Attribute)}


def test_the_test_split_is_read_in_one_place() -> None:
    """Search code cannot read it: a lane's `test` does, which the final evaluation sends, and `mdr-tune evaluate`.

    The latter is the user's own decision, which is recorded in its run and on the models. Nothing that chooses epochs
    or trials can call it: only `cli` imports the folder `evaluate`.
    """
    files = [file for file in PACKAGE.rglob("*.py") if file.parent.name != "data" or file.parent.parent != PACKAGE]
    readers = [str(file.relative_to(PACKAGE)) for file in files if "read_test_split" in names_in(file)]
    assert sorted(readers) == ["evaluate/measure.py", "lanes/worker.py"]
    assert [layer for layer, below in BELOW.items() if "evaluate" in below] == ["cli"]
    strings = {
        str(file.relative_to(PACKAGE))
        for file in files
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and any(isinstance(argument, ast.Constant) and argument.value == "test" for argument in node.args)
        and node.func.attr == "remote"
    }
    assert strings == {"sweep/finals.py"}


def test_a_trial_actor_is_light() -> None:
    """A trial's process must be there in a second: no torch in it."""
    assert not imports_torch("import mdr_tune.lanes.trainable")


def test_a_file_is_checked_before_torch_is_imported() -> None:
    file = Path(__file__).parent / "config" / "mdr_levels.yaml"  # of a network that is trained as a whole
    code = f"from mdr_tune.cli.launch import main; main(['--space', '{file}', '--dry-run'])"
    assert not imports_torch(code) or Path("/proc/driver/nvidia/version").exists()


def imports_torch(code: str) -> bool:
    program = f"{code}\nimport sys; sys.exit(77 if 'torch' in sys.modules else 0)"
    done = subprocess.run([sys.executable, "-c", program], stdout=subprocess.DEVNULL, check=False)
    assert done.returncode in (0, 77)
    return done.returncode == 77
