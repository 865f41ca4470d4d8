"""launch.py and the user's mistakes: one clear message, exit code 2, no traceback, nothing started, nothing left."""

import subprocess
import sys
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest

from mdr_tune.cli.launch import main

ROOT = Path(__file__).parents[2]
MAIN = ROOT / "search_spaces" / "mdr_levels.yaml"


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {0, 1})


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str]:
    try:
        code = main(list(arguments))
    except SystemExit as ended:  # argparse
        code = int(ended.code or 0)
    captured = capsys.readouterr()
    assert "Traceback" not in captured.err + captured.out
    return code, captured.err if code else captured.out


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        (["--space", "nowhere.yaml"], "nowhere.yaml: no such file"),
        (["--space", str(MAIN), "--set", "trial.loss.margn=1"], "unknown key. Did you mean 'margin'?"),
        (["--space", str(MAIN), "--set", "nonsense"], "expected KEY=VALUE"),
        (["--space", str(MAIN), "--trials", "0"], "--set search.trials=0: search.trials: must be greater"),
        (["--space", str(MAIN), "--trials", "many"], "invalid int value: 'many'"),
        (["--space", str(MAIN), "--name", "a/b"], "'a/b' (text) is not allowed"),
        (
            ["--space", str(MAIN), "--set", "resources.workers_per_trial=64"],
            "resources.workers_per_trial: 64 workers with 1 CPU each do not fit on this machine (2 CPUs, 0 GPUs); "
            "set it to at most 2 (--set resources.workers_per_trial=2)",
        ),
        (["--space", str(MAIN), "--set", "resources.lanes=3"], "at most 2, or set it to auto"),
        (["--space", str(MAIN), "--set", "resources.gpus_per_worker=1"], "1 CPU and 1 GPU each do not fit"),
        (["--space", str(MAIN), "--set", "resources.gpus_per_worker=2"], "computes on one GPU, and more would idle"),
        (["--space", str(MAIN), "--set", "resources.gpus_per_worker=2", "--dry-run"], "and more would idle"),
        (
            ["--space", str(MAIN), "--set", "resources.gpus_per_worker=0.5", "--set", "resources.workers_per_trial=2"],
            "resources: gpus_per_worker: 0.5 is for trials of one worker, and workers_per_trial is 2",
        ),
        (["--space", str(MAIN), "--set", "resources.cpus_per_worker=3"], "lower resources.cpus_per_worker"),
        (["--space", str(MAIN), "--tracking-uri", "file:///tmp/mlruns"], "MLflow cannot track to this"),
        (["--space", str(MAIN), "--tracking-uri", "http://127.0.0.1:9"], "does not answer"),
        (["--space", str(MAIN), "--tracking-uri", "sqlite:////proc/nowhere/mlflow.db"], "cannot be written"),
        (["--space", str(MAIN), "--storage", "r\udce9"], "--storage r\\xe9 is not UTF-8: rename it"),
        (
            ["--space", str(MAIN), "--set", "name=a", "--set", "name=r\udce9"],
            "--set name=r\\xe9 is not UTF-8: rename it",
        ),
        (["--space", "r\udce9.yaml"], "--space r\\xe9.yaml is not UTF-8: rename it"),
        (["--space", str(MAIN), "--storage", "/proc/nowhere"], "--storage /proc/nowhere: cannot be written"),
        (["--space", str(MAIN), "--address", "127.0.0.1:9"], "--address 127.0.0.1:9: no Ray cluster answers there"),
        (["--space", str(MAIN), "--address", "ray://127.0.0.1:10001"], "Ray Client cannot run a sweep"),
        (["--space", str(MAIN), "--address", "head"], "expected auto or HOST:PORT"),
        (["--space", str(ROOT / "search_spaces/paper_sop.yaml")], "run mdr-tune data prepare sop --root"),
        (
            ["--space", str(MAIN), "--set", "trial.backbone=resnet5"],
            "unknown backbone 'resnet5'. Did you mean 'resnet50'",
        ),
        (
            ["--space", str(MAIN), "--set", "trial.backbone={weights: no/such.pth}"],
            "backbone.weights: there is no file",
        ),
        (["--space", str(MAIN), "--set", "trial.loss={name: pml.CircleLoss, n: 1}"], "pml.CircleLoss"),
        ([], "one of the arguments --space --resume is required"),
        (["--resume", "nothing_of_that_name"], "--resume nothing_of_that_name: no such sweep"),
        (["--space", str(MAIN), "--extend", "3"], "--extend: say which sweep: --resume NAME --extend N"),
        (["--space", str(MAIN), "--resume", "mdr_levels"], "not allowed with argument"),
        (["--resume", "mdr_levels", "--trials", "3"], "--extend N adds trials"),
        (["--space", str(MAIN), "--time-budget", "soon"], "search.stop.time: expected a time such as"),
    ],
    ids=lambda value: " ".join(value)[-40:] if isinstance(value, list) else "",
)
def test_a_mistake_is_told_and_nothing_is_left(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, arguments: list[str], what: str
) -> None:
    code, output = run(capsys, *arguments)
    assert code == 2
    assert what in output
    assert list(tmp_path.iterdir()) == []


def test_auto_with_a_cluster_that_is_gone(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "ray").mkdir()
    (tmp_path / "ray" / "ray_current_cluster").write_text("127.0.0.1:9")  # ray start leaves it when it is killed
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    code, output = run(capsys, "--space", str(MAIN), "--address", "auto")
    assert code == 2
    assert "--address auto: no Ray cluster answers there" in output


@pytest.mark.parametrize("flags", [[], ["--dry-run"]], ids=["launch", "dry run"])
@pytest.mark.parametrize(
    ("variable", "folder", "what"),
    [
        ("TMPDIR", "/tmp/" + "x" * 92, "set RAY_TMPDIR to a folder"),
        ("TMPDIR", "/nonexistent", "TMPDIR=/nonexistent: there is no such folder; set RAY_TMPDIR"),
        ("MDR_TUNE_CACHE", "/dev/null/cache", "set the environment variable MDR_TUNE_CACHE to a writable folder"),
    ],
)
def test_a_folder_that_cannot_be_used(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    flags: list[str],
    variable: str,
    folder: str,
    what: str,
) -> None:
    monkeypatch.setenv(variable, folder)
    code, output = run(capsys, "--space", str(MAIN), *flags)
    assert code == 2
    assert what in output


def test_a_file_in_the_way_of_the_storage(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("")
    code, output = run(capsys, "--space", str(MAIN), "--storage", str(tmp_path / "taken" / "runs"))
    assert code == 2
    assert "taken is a file)" in output


def test_a_store_that_is_no_database(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "mlflow.db").write_text("this is not a database, however long it may be" * 50)
    code, output = run(capsys, "--space", str(MAIN), "--tracking-uri", f"sqlite:///{tmp_path}/mlflow.db")
    assert code == 2
    assert "cannot be written" in output


def folder_of_images(folder: Path) -> Path:
    """Make class folders of files that a dry run lists and does not open."""
    for number in range(64 * 4):
        image = folder / f"class_{number // 4}" / f"{number}.jpg"
        image.parent.mkdir(exist_ok=True)
        image.touch()
    return folder


def file_of_vectors(folder: Path) -> Path:
    labels = [f"class {number // 4}" for number in range(64 * 4)]
    vectors = [[float(number), 0.0, 1.0] for number in range(64 * 4)]
    pyarrow.parquet.write_table(pyarrow.table({"embedding": vectors, "label": labels}), folder / "vectors.parquet")
    return folder / "vectors.parquet"


@pytest.mark.parametrize("file", sorted((ROOT / "search_spaces").rglob("*.yaml")), ids=lambda file: file.name)
def test_a_dry_run_prints_the_plan_and_starts_nothing(
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    tmp_path_factory: pytest.TempPathFactory,
    file: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    arguments = ["--space", str(file), "--dry-run", "--storage", str(tmp_path / "runs")]
    if file.name in ("own_images.yaml", "ablation_own_images.yaml", "timm_frozen.yaml"):
        arguments += ["--set", f"trial.data.root={folder_of_images(tmp_path_factory.mktemp('own'))}"]
    if file.name == "features.yaml":
        arguments += ["--set", f"trial.data.file={file_of_vectors(tmp_path_factory.mktemp('own'))}"]
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {0})
    code, output = run(capsys, *arguments)
    assert code == 0, output
    assert "auto is 1 here" in output
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {0, 1})
    code, output = run(capsys, *arguments)
    assert code == 0
    is_ablation = file.name.startswith("ablation") or file.parent.name == "paper"
    metric = "maximise " + ("curves/test_recall_at_1" if file.parent.name == "paper" else "val/recall_at_1")
    space = ("grid", "seeds", "0, 1, 2", "none is stopped early") if is_ablation else ("0.01 to 1, log scale",)
    for part in (*space, metric, "2 CPUs, 0 GPUs", "mlflow.db", "Dry run"):
        assert part in output
    assert list(tmp_path.iterdir()) == []


def test_without_a_network_the_place_for_the_weights_is_told(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    for proxy in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(proxy, "http://127.0.0.1:9")  # where nothing listens
    monkeypatch.setenv("no_proxy", "")
    code, output = run(
        capsys, "--space", str(MAIN), "--set", "trial.backbone=resnet18", "--storage", str(tmp_path / "r")
    )
    assert code == 2
    assert str(tmp_path / "hub" / "checkpoints" / "resnet18-f37072fd.pth") in output
    assert "Traceback" not in output


def test_the_tracking_flag_wins_over_the_environment(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/environment.db")
    _, output = run(capsys, "--space", str(MAIN), "--dry-run")
    assert "environment.db" in output
    _, output = run(capsys, "--space", str(MAIN), "--dry-run", "--tracking-uri", f"sqlite:///{tmp_path}/flag.db")
    assert "flag.db" in output
    assert "environment.db" not in output


def test_the_surface_of_the_command_line(capsys: pytest.CaptureFixture[str]) -> None:
    """Frozen: a flag that goes or changes its name breaks somebody's script."""
    _, output = run(capsys, "--help")
    flags = {word.strip("[](),:") for word in output.split() if word.strip("[](),:").startswith("--")}
    assert flags == {
        *("--space", "--trials", "--set", "--address", "--tracking-uri", "--storage", "--name", "--dry-run", "--help"),
        *("--resume", "--extend", "--time-budget", "--no-preflight", "--code"),
    }


def test_an_interrupt_while_modules_are_imported_leaves_a_line_and_no_traceback() -> None:
    code = (
        "import runpy, sys\n"
        "class Interrupts:\n"
        "    def find_spec(self, name, *_):\n"
        "        if name == 'mdr_tune.cli.launch':\n"
        "            raise KeyboardInterrupt\n"
        "sys.meta_path.insert(0, Interrupts())\n"
        "runpy.run_path('launch.py', run_name='__main__')\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (1, "", "interrupted: nothing was started\n")
