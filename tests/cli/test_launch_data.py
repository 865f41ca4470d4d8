"""launch.py on data sets of image files: what is told before a worker starts, and sweeps with and without a cache."""

import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from PIL import Image

from mdr_tune.cli.launch import main
from mdr_tune.sweep.ray_session import ray_session
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
search: {sampler: random, trials: 2, scheduler: none}
space: {data.cache: {choice: [true, false]}}
start_from: [{data.cache: true}, {data.cache: false}]
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


def without_place(line: str) -> str:
    """Return a message without the place of its key: a line of the file, or the --set that gave it."""
    found = re.fullmatch(r"(?:sweep\.yaml:\d+|--set .+?): ((?:trial\.|metric|second_metric).*)", line)
    assert found, line
    return found[1]


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
    assert (code, printed, error) == (2, "", f"--set trial.data={data}: trial.{problem}")

    code, printed, error = run(capsys, "--set", f"trial.data={data}", "--dry-run")
    if "cub200" in data:  # to be downloaded
        assert (code, error) == (0, "")
        assert f"\nNot there yet: {problem}\n" in printed
    else:
        assert (code, printed, error) == (2, "", f"--set trial.data={data}: trial.{problem}")
    assert sorted(own_folder.rglob("*")) == before


def test_a_dry_run_says_nothing_of_data_that_are_there(capsys: pytest.CaptureFixture[str], own_folder: Path) -> None:
    code, printed, _ = run(capsys, "--dry-run")
    assert code == 0
    assert "Not there yet" not in printed
    assert "\nImages are decoded by the launch, before its first worker: equal pixels in two splits are loo" in printed
    assert "Weights" not in printed
    assert " evaluated     the middle 20 x 20 of 24 x 24 pixels, 83% of width and height" in printed
    assert "note:" not in printed
    assert not (own_folder / "cache").exists()


def test_a_dry_run_notes_that_an_evaluation_sees_little_of_a_picture(
    capsys: pytest.CaptureFixture[str], own_folder: Path
) -> None:
    code, printed, _ = run(capsys, "--dry-run", "--set", "trial.data.image_size=12")
    assert code == 0
    seen = "the middle 12 x 12 of 24 x 24 pixels, 50% of width and height"
    assert f" evaluated     {seen} " in printed
    assert f"note: an evaluation sees {seen}: to see more, set trial.data.resize: auto\n" in printed


CONV4 = "conv4 does not fit the data set folder: conv4 takes grey images of exactly 32x32 pixels, got (3, 20, 20)"
RESNET = "{name: resnet18, weights: none}"
DOES_NOT_FIT: dict[str, tuple[list[str], list[str]]] = {
    "grey backbone": (["trial.backbone=conv4"], [f"trial.backbone: {CONV4}"]),
    "size": (
        ["trial.backbone={name: vit_b_16, weights: none}"],
        ["trial.backbone: vit_b_16 does not fit the data set folder: vit_b_16 takes RGB or grey images of exactly 224"],
    ),
    "one of the backbones": ([f"space.backbone=[{RESNET}, conv4]"], [f"trial.backbone: {CONV4}"]),
    "one of the sizes": (
        ["trial.backbone={name: googlenet, weights: none}", "space.data.image_size=[20, 12]"],
        ["trial.backbone: googlenet does not fit the data set folder: googlenet takes RGB or grey images of at least"],
    ),
    "batch": (
        ["trial.batch.size=64"],
        ["trial.batch: does not fit the data set folder: 4 images from each of 6 classes make at most 24 images"],
    ),
    "one of the batches": (
        ["space.batch.size=[8, 25]"],
        ["trial.batch: does not fit the data set folder: 4 images from each of 6 classes make at most 24 images"],
    ),
    "metric": (
        ["trial.data.recall_at=[1,10]", "metric=val/recall_at_10"],
        ["metric: val/recall_at_10 needs 10 images to retrieve, but the validation classes of folder have 9: choose a"],
    ),
    "second metric": (
        ["trial.data.recall_at=[1,10]", "second_metric=val/recall_at_10"],
        ["second_metric: val/recall_at_10 needs 10 images to retrieve, but the validation classes of folder have 9"],
    ),
    "validation": (
        ["trial.data.validation={fraction: 0.9}"],
        ["trial.data.validation.fraction: of 8 training classes, 7 would be drawn and 1 left to train on"],
    ),
    "folds": (
        ["trial.data.validation={folds: 9}"],
        ["trial.data.validation.folds: 9 folds are more than the classes, of which there are 8"],
    ),
    "table": (
        ["trial.data={name: table, file: list.csv, resize: 24, image_size: 20, label_column: klass}"],
        ["trial.data.label_column: {folder}/list.csv has no column 'klass'"],
    ),
    "files of the table": (
        ["trial.data={name: table, file: list.csv, root: own, resize: 24, image_size: 20}"],
        ["trial.data.root: 1 of 60 images is missing in {folder}/own, such as class_07/gone.jpg"],
    ),
    "copies": (
        ["trial.data.root=copies"],
        [
            "trial.data.duplicates: 2 of 61 images (2 classes) are copies of a file in another split: "
            "'class_00/copy.jpg' (train, class_00) = 'class_02/0.jpg' (test, class_02). Nothing may be both"
        ],
    ),
    "no classes": (["trial.data.root=empty"], ["trial.data.root: no images in class folders of"]),
    "another data set": (["trial.data={name: cub200, root: own}"], ["trial.data.root: there is no CUB-200-2011 in"]),
    "room": (["trial.data.resize=2048", "trial.data.root=many"], ["trial.data.cache: the images of folder at 2048 px"]),
    "own weights": (
        ["trial.backbone={name: resnet18, weights: ./damaged.pt}"],
        ["trial.backbone.weights: cannot read {folder}/damaged.pt: it is damaged or another kind of file"],
    ),
    "two": (
        ["trial.backbone=conv4", "trial.batch.size=64"],
        [f"trial.backbone: {CONV4}", "trial.batch: does not fit the data set folder: 4 images from each of 6 classes"],
    ),
}


@pytest.mark.parametrize(("changes", "expected"), DOES_NOT_FIT.values(), ids=DOES_NOT_FIT)
def test_what_does_not_fit_is_told_by_a_dry_run_and_by_a_launch_before_ray_starts(
    capsys: pytest.CaptureFixture[str],
    own_folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    changes: list[str],
    expected: list[str],
) -> None:
    (own_folder / "damaged.pt").write_bytes(b"no weights")
    paths = [f"class_{number // 5:02d}/{number % 5}.jpg" for number in range(60)]
    paths[38] = "class_07/gone.jpg"
    (own_folder / "list.csv").write_text("path,label\n" + "".join(f"{path},{path[:8]}\n" for path in paths))
    (own_folder / "empty").mkdir()
    if "trial.data.root=copies" in changes:
        shutil.copytree(own_folder / "own", own_folder / "copies")
        shutil.copyfile(own_folder / "own" / "class_02" / "0.jpg", own_folder / "copies" / "class_00" / "copy.jpg")
    if "trial.data.root=many" in changes:
        (own_folder / "many").symlink_to("own")
        monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=10**8))
    monkeypatch.setattr("mdr_tune.cli.launch.launch", lambda *_: pytest.fail("the launch began"))
    monkeypatch.setattr("mdr_tune.sweep.prepare.SLOW_S", 600.0)  # on a loaded machine it says what it is doing
    before = sorted(own_folder.rglob("*"))
    flags = [word for change in changes for word in ("--set", change)]
    dry, launched = run(capsys, *flags, "--dry-run"), run(capsys, *flags)
    assert dry == launched
    assert dry[:2] == (2, "")
    lines = dry[2].removeprefix("error: ").split("\nerror: ")
    assert len(lines) == len(expected), dry[2]
    for line, text in zip(lines, expected, strict=True):
        assert without_place(line).startswith(text.replace("{folder}", str(own_folder)))
    assert sorted(own_folder.rglob("*")) == before


def test_a_working_folder_that_is_not_utf_8(
    capsys: pytest.CaptureFixture[str], own_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = own_folder / "r\udce9"
    here.mkdir()
    (here / "sweep.yaml").write_text(SWEEP)
    monkeypatch.chdir(here)
    for flags in ([], ["--dry-run"]):
        code, printed, error = run(capsys, *flags, "--storage", str(own_folder / "runs"))
        place, _, problem = error.partition(": ")
        assert (code, printed, place) == (2, "", "sweep.yaml:4")
        assert problem == f"trial.data.root: {own_folder}/r\\xe9/own is not UTF-8: rename it"


def test_what_a_user_may_not_expect_of_a_small_data_set_is_noted(
    capsys: pytest.CaptureFixture[str], own_folder: Path
) -> None:
    shutil.rmtree(own_folder / "own" / "class_00")
    _, printed, _ = run(
        capsys, "--dry-run", "--set", "space.batch={choice: [{size: 12}, {size: 12, images_per_class: 6}]}"
    )
    notes = [line.strip() for line in printed.splitlines() if line.startswith("  note: trial.batch: ")]
    assert notes == [
        "note: trial.batch: images_per_class is 6, but 6 of 6 training classes of folder have fewer images (the "
        "smallest 5): they give all they have, and a batch has more classes"
    ]
    _, printed, _ = run(capsys, "--dry-run", "--set", "trial.data.recall_at=[1, 8, 12, 100]")
    notes = [line.strip() for line in printed.splitlines() if line.startswith("  note: trial.data")]
    assert notes == [
        "note: trial.data: Recall@100 is not measured on the test classes of folder, where a query has 14 images to "
        "retrieve",
        "note: trial.data: Recall@12, 100 is not measured on the validation classes of folder, where a query has 9 "
        "images to retrieve",
    ]


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
    assert sorted(run.data.params["data.cache"] for run in runs.values()) == ["False", "True"]
    assert runs["mdr-001"].data.params["augmentation.name"] == "random_resized_crop"
    differ = "time/", "test/", "memory/", "system/"
    measured = [
        {name: value for name, value in run.data.metrics.items() if not name.startswith(differ)}
        for run in runs.values()
    ]
    assert {"train/loss", "mdr/mean", "val/recall_at_1", "val/map_at_r"} <= measured[0].keys()
    assert measured == [measured[0]] * 2


@pytest.fixture(scope="module")
def ray_running() -> Iterator[None]:
    """One session for the launches below, which are over before they need much of it."""
    before = dict(os.environ)
    with ray_session(None, num_cpus=2):
        yield
    os.environ.clear()
    os.environ.update(before)


@pytest.mark.ray
def test_equal_pixels_are_refused_once_they_are_decoded_and_before_ray_starts_from_then_on(
    capsys: pytest.CaptureFixture[str], own_folder: Path, ray_running: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Image.open(own_folder / "own" / "class_02" / "0.jpg") as image:
        image.save(own_folder / "own" / "class_00" / "again.png")
    assert run(capsys, "--dry-run")[0] == 0
    code, printed, error = run(capsys)
    assert code == 2
    assert without_place(error).startswith(
        "trial.data.duplicates: 2 of 61 images (2 classes) have the same pixels as ano"
    )
    assert "\n[0:0" in printed  # it had begun
    assert not (own_folder / "runs").exists()
    monkeypatch.setattr("mdr_tune.cli.launch.launch", lambda *_: pytest.fail("the launch began"))
    assert [run(capsys, "--dry-run"), run(capsys)] == [(2, "", error)] * 2
    (own_folder / "own" / "class_00" / "again.png").unlink()
    assert run(capsys, "--dry-run")[0] == 0


@pytest.mark.ray
@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        (
            [],
            "trial.data.corrupt: 1 of 60 images cannot be decoded: class_03/2.jpg (truncated); mend or delete them, "
            "or set data.corrupt: skip",
        ),
        (  # they make 30 images as they are listed
            [*SKIP, "trial.batch={size: 30, images_per_class: 5}"],
            "trial.batch: does not fit the data set folder: 5 images from each of 6 classes make at most 29 images",
        ),
    ],
    ids=["corrupt", "batch"],
)
def test_data_that_do_not_fit_are_told_before_a_worker_starts(
    capsys: pytest.CaptureFixture[str], own_folder: Path, ray_running: None, changes: list[str], expected: str
) -> None:
    truncate(own_folder / "own" / "class_03" / "2.jpg")
    code, printed, error = run(capsys, *(word for change in changes for word in ("--set", change)))
    assert code == 2
    assert without_place(error).startswith(expected)
    assert "\n[0:0" in printed  # it had begun
    assert "opening the MLflow store" not in printed  # which comes right after the workers
    assert [path.name for path in own_folder.rglob("*") if path.suffix in (".db", ".tmp")] == []
