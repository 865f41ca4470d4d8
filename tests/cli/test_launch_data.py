"""launch.py on data sets of image files: what is told before a worker starts, and sweeps with and without a cache."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from mdr_tune.cli.launch import main
from mdr_tune.sweep.session import ray_session
from tests.cli.as_a_user import LAUNCH, run_python, write_pictures
from tests.data.images.pictures import truncate

SWEEP = """
name: pictures
trial:
  data: {name: folder, root: own, resize: 24, image_size: 20}
  backbone: {name: resnet18, weights: none}
  batch: {size: 8, images_per_class: 4}
  embedding: {size: 8}
  epochs: 1
  iterations_per_epoch: 2
search: {sampler: random, trials: 4, scheduler: none}
space: {data.cache: {choice: [true, false]}}
start_from: [{data.cache: true}, {data.cache: false}, {data.cache: true}, {data.cache: false}]
resources: {lanes: 2}
"""
SKIP = ("trial.data.corrupt=skip", "trial.data.cache=true")
PREPARE = "run mdr-tune data prepare cub200 --root {root}, or set root to where it is"


def write_sweep(folder: Path) -> None:
    """Write `sweep.yaml`, and images into `own`."""
    (folder / "sweep.yaml").write_text(SWEEP)
    write_pictures(folder / "own")


@pytest.fixture
def own_folder(environment_put_back: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A folder and an environment of its own, in which launch.py runs on two CPUs."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {0, 1})
    for key in ("MLFLOW_TRACKING_URI", "RAY_ADDRESS"):
        monkeypatch.delenv(key, raising=False)
    monkeypatch.setenv("MDR_TUNE_CACHE", str(tmp_path / "cache"))
    write_sweep(tmp_path)
    return tmp_path


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    """Return the exit code, what was printed, and the error without `error: `."""
    code = main(["--space", "sweep.yaml", *arguments])
    captured = capsys.readouterr()
    assert "Traceback" not in captured.err + captured.out
    return code, captured.out, captured.err.removeprefix("error: ").rstrip("\n")


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        ("cub200", "root: there is no {folder}/datasets: " + PREPARE.format(root="{folder}/datasets")),
        (
            "{name: cub200, root: my birds}",
            "root: there is no {folder}/my birds: " + PREPARE.format(root="'{folder}/my birds'"),
        ),
        ("{name: folder, root: elsewhere}", "root: there is no {folder}/elsewhere: mend the path"),
        ("{name: table, file: products.csv}", "file: there is no {folder}/products.csv: mend the path"),
    ],
)
def test_data_that_are_not_there(
    capsys: pytest.CaptureFixture[str], own_folder: Path, data: str, expected: str
) -> None:
    problem = f"data.{expected.format(folder=own_folder)}"
    before = sorted(own_folder.rglob("*"))
    code, printed, error = run(capsys, "--set", f"trial.data={data}")
    assert (code, printed, error) == (2, "", f"sweep.yaml: trial.{problem}")

    code, printed, error = run(capsys, "--set", f"trial.data={data}", "--dry-run")
    assert (code, error) == (0, "")
    assert f"\nNot there yet: {problem}\n" in printed
    assert sorted(own_folder.rglob("*")) == before


def test_a_dry_run_says_nothing_of_data_that_are_there(capsys: pytest.CaptureFixture[str], own_folder: Path) -> None:
    code, printed, _ = run(capsys, "--dry-run")
    assert code == 0
    assert "Not there yet" not in printed
    assert not (own_folder / "cache").exists()


@pytest.mark.ray
@pytest.mark.slow  # test_launch_e2e.py launches on a folder too
def test_the_numbers_do_not_depend_on_the_cache_nor_on_the_lane(tmp_path: Path) -> None:
    from mlflow import MlflowClient

    write_sweep(tmp_path)
    done = run_python(tmp_path, LAUNCH, "--space", "sweep.yaml")
    assert (done.returncode, done.stderr) == (0, ""), done.stdout + done.stderr
    client = MlflowClient(f"sqlite:///{tmp_path}/runs/mlflow.db")
    found = client.search_runs([client.get_experiment_by_name("pictures").experiment_id])
    runs = {run.info.run_name: run for run in found if not run.info.run_name.startswith("sweep ")}
    assert sorted(run.data.params["data.cache"] for run in runs.values()) == ["False", "False", "True", "True"]
    assert runs["mdr-001"].data.params["augmentation.name"] == "random_resized_crop"
    measured = [
        {name: value for name, value in run.data.metrics.items() if not name.startswith(("time/", "test/", "memory/"))}
        for run in runs.values()
    ]
    assert {"train/loss", "mdr/mean", "val/recall_at_1", "val/map_at_r"} <= measured[0].keys()
    assert measured == [measured[0]] * 4


@pytest.fixture(scope="module")
def ray_running() -> Iterator[None]:
    """One session for the launches below, which are over before they need much of it."""
    before = dict(os.environ)
    with ray_session(None, num_cpus=2):
        yield
    os.environ.clear()
    os.environ.update(before)


@pytest.mark.ray
@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        (
            [],
            "trial.data.corrupt: 1 of 60 images cannot be decoded: class_03/2.jpg (truncated); mend or delete them, "
            "or set data.corrupt: skip",
        ),
        (
            [*SKIP, "trial.batch.size=64"],
            "trial.batch: does not fit the data set folder: 4 images from each of 6 classes make at most 24 images",
        ),
        (
            [*SKIP, "trial.data.recall_at=[1,10]", "metric=val/recall_at_10"],
            "metric: val/recall_at_10 needs 10 images to retrieve, but the validation classes of folder have ",
        ),
        (
            [*SKIP, "trial.backbone.name=vit_b_16"],
            "trial.backbone: vit_b_16 does not fit the data set folder: ",
        ),
    ],
    ids=["corrupt", "batch", "metric", "backbone"],
)
def test_data_that_do_not_fit_are_told_before_a_worker_starts(
    capsys: pytest.CaptureFixture[str], own_folder: Path, ray_running: None, changes: list[str], expected: str
) -> None:
    truncate(own_folder / "own" / "class_03" / "2.jpg")
    code, printed, error = run(capsys, *(word for change in changes for word in ("--set", change)))
    assert code == 2
    assert error.startswith(f"sweep.yaml: {expected}")
    assert "\n[0:0" in printed  # it had begun
    assert "opening the MLflow store" not in printed  # which comes right after the workers
    assert [path.name for path in own_folder.rglob("*") if path.suffix in (".db", ".tmp")] == []
