"""`mdr-tune evaluate`: models of all kinds on the same queries, compared with naive loops and with their sweeps."""

import shlex
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from markdown_it import MarkdownIt
from mlflow import MlflowClient
from mlflow.entities import Run

from mdr_tune.backbones import build_backbone
from mdr_tune.config.datasets import read_data
from mdr_tune.data import read_test_split, split_files
from mdr_tune.data.augmentations.cropping import center_crop
from mdr_tune.report.output.texts import ends, interval, number, signed
from mdr_tune.statistics import bootstrap_difference, bootstrap_mean
from mdr_tune.tracking.evaluation_run import EVALUATED_MODEL_TAG, EVALUATED_TAG, EVALUATION_TAG
from mdr_tune.tracking.query_scores import read_details
from mdr_tune.tracking.tags import TEST_READ_TAG
from mdr_tune.util.import_path import look_for_code_in
from tests.cli.as_a_user import write_pictures
from tests.cli.run_command import run_command
from tests.cli.stored_trial import StoredTrial, store_trial
from tests.mlflow_globals import mlflow_globals_kept
from tests.official_state import official_state
from tests.report.few_figures import one_figure

ROOT = Path(__file__).parents[2]
NETWORK = """\
import torch

def make_encoder(width: int = 8):
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Conv2d(3, width, 5, 3), torch.nn.ReLU(), torch.nn.AdaptiveAvgPool2d(2),
                               torch.nn.Flatten())

def needs(depth):
    return make_encoder()
"""
SIZES = {"name": "folder", "image_size": 32, "resize": 40}


class Store(NamedTuple):
    """A folder of a user: a store with trials of letters, of pictures and of vectors, and files of models."""

    folder: Path
    letters: StoredTrial
    pictures: StoredTrial
    vectors: StoredTrial

    @property
    def client(self) -> MlflowClient:
        return MlflowClient(f"sqlite:///{self.folder / 'runs' / 'mlflow.db'}")

    def evaluation(self, name: str) -> tuple[Run, list[Run]]:
        """Return the newest evaluation in the experiment `name`: its run, and those of its models in order."""
        experiment = self.client.get_experiment_by_name(name)
        assert experiment is not None
        runs = self.client.search_runs([experiment.experiment_id], f"tags.`{EVALUATION_TAG}` != ''")
        parent = next(run for run in runs if EVALUATED_MODEL_TAG not in run.data.tags)
        below = [run for run in runs if run.data.tags.get("mlflow.parentRunId") == parent.info.run_id]
        return parent, sorted(below, key=lambda run: str(run.info.run_name))

    def written(self) -> tuple[int, int]:
        experiments = self.client.search_experiments()
        return len(experiments), len(self.client.search_runs([each.experiment_id for each in experiments]))


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    folder = tmp_path_factory.mktemp("user")
    (folder / "my_models.py").write_text(NETWORK)
    write_pictures(folder / "photos")
    torch.manual_seed(0)
    torch.save(build_backbone("resnet18").state_dict(), folder / "weights.pth")
    torch.save(official_state("resnet18"), folder / "best.pth")
    shutil.copytree(ROOT / "search_spaces", folder / "search_spaces")
    chance = np.random.default_rng(0)
    labels = np.repeat(np.arange(40), 6)
    rows = (chance.normal(size=(40, 12))[labels] + chance.normal(size=(240, 12))).astype(np.float32)
    pq.write_table(pa.table({"embedding": list(rows), "label": labels}), folder / "vectors.parquet")
    batch = {"batch": {"size": 8, "images_per_class": 2}}
    of_photos = {
        **batch,
        "data": {**SIZES, "root": str(folder / "photos")},
        "backbone": {"name": "resnet18", "weights": "none"},
        "embedding": {"size": 8},
    }
    of_vectors = {**batch, "data": {"name": "features", "file": str(folder / "vectors.parquet")}}
    yield Store(
        folder,
        store_trial(folder / "runs", "mdr_levels", {"embedding": {"size": 16}}),
        store_trial(folder / "runs", "own_images", of_photos),
        store_trial(folder / "runs", "heads", {**of_vectors, "embedding": {"size": 5}}),
    )
    look_for_code_in([])


@pytest.fixture(autouse=True)
def _in_the_folder(store: Store, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with mlflow_globals_kept(), one_figure():
        monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
        monkeypatch.chdir(store.folder)
        yield


def evaluate(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """Run the command, and return what it prints."""
    code, out, err = run_command(capsys, "evaluate", *arguments)
    assert code == 0, err
    return out


def naive(embeddings: torch.Tensor, labels: list[int]) -> tuple[list[float], list[float]]:
    """Return whether the nearest other has the query's class, and the average precision at R, of each query."""
    first, precision = [], []
    for query, label in enumerate(labels):
        others = [row for row in range(len(labels)) if row != query]
        others.sort(key=lambda row: float((embeddings[row].double() - embeddings[query].double()).norm()))
        hits = [labels[row] == label for row in others]
        relevant = sum(hits)
        first.append(100.0 * hits[0])
        at_hits = [sum(hits[:rank]) / rank for rank in range(1, relevant + 1) if hits[rank - 1]]
        precision.append(100.0 * sum(at_hits) / relevant)
    return first, precision


def check(run: Run, expected: tuple[list[float], list[float]]) -> None:
    for key, values in zip(("test/recall_at_1", "test/map_at_r"), expected, strict=True):
        assert run.data.metrics[key] == pytest.approx(sum(values) / len(values), abs=1e-9)


def test_a_trial_has_the_numbers_of_its_sweep_to_the_bit(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    """By sweep and name, by its run, and as its champion; and all marks of the reading of the test split are left."""
    models = ["mdr_levels/mdr-001", store.letters.run_id, "models:/mdr_levels@champion"]
    out = evaluate(capsys, *models, "--data", "glyphs")
    assert "glyphs, test split: 5,820 images, 485 classes, 5,820 queries." in out
    assert "The test split was read" in out
    parent, below = store.evaluation("glyphs")
    for run in below[:2]:
        assert {key: run.data.metrics[key] for key in store.letters.metrics} == store.letters.metrics
    for key, value in store.letters.metrics.items():  # an exported graph rounds in another way
        assert below[2].data.metrics[key] == pytest.approx(value, abs=0.2)
    digest = parent.data.params["content"]
    for run in (parent, *below):
        (given,) = run.inputs.dataset_inputs
        assert (given.dataset.name, given.dataset.digest) == ("glyphs", digest)
        assert {tag.key for tag in given.tags} == {"mlflow.data.context", TEST_READ_TAG}
        assert "by mdr-tune evaluate" in run.data.tags[TEST_READ_TAG]
    version = store.client.get_model_version_by_alias("mdr_levels", "champion")
    logged = store.client.get_logged_model(version.source.removeprefix("models:/"))
    trial = store.client.get_run(store.letters.run_id)
    for tags in (version.tags, logged.tags, trial.data.tags):
        assert parent.info.run_id in tags[EVALUATED_TAG]
    assert {(one.key, one.dataset_digest) for one in logged.metrics} >= {("test/map_at_r", digest)}
    assert trial.data.metrics == {**trial.data.metrics, **store.letters.metrics}


def test_all_kinds_of_models_on_images(store: Store, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """Each is fed images of its own size; the numbers are those of a naive loop, differences and intervals too."""
    data = read_data("folder", root=str(store.folder / "photos"), image_size=32, resize=40)
    split = read_test_split(data)
    files, _ = split_files(data, "test") or ([], [])
    made = torch.randn(len(files), 6, generator=torch.Generator().manual_seed(1))
    names = [str(Path(file).relative_to(store.folder / "photos")) for file in files]
    pq.write_table(pa.table({"path": names[::-1], "embedding": list(made.flip(0).numpy())}), tmp_path / "api.parquet")
    models = ["own_images/mdr-001", "resnet18@weights.pth", "my_models:make_encoder", str(tmp_path / "api.parquet")]
    root = ["--root", "photos", "--set", "data.recall_at=[1, 3]"]
    out = evaluate(capsys, *models, "--data", "folder", *root, "--name", "all", "--mode", "l2")
    parent, below = store.evaluation("all")
    assert [run.data.params["fed.image_size"] for run in below] == ["32", "224", "224", "224"]

    @torch.no_grad()
    def of_backbone(name: str, weights: str) -> torch.Tensor:
        plain = read_test_split(read_data("folder", root=str(store.folder / "photos"), recall_at=[1, 3]))
        backbone = build_backbone(name, weights).eval()
        images = center_crop(plain.images[torch.arange(len(plain))], 224)
        return torch.nn.functional.normalize(backbone(backbone.normalize(images)))

    with torch.no_grad():
        trained = store.pictures.session.model.eval()(center_crop(split.images[torch.arange(len(split))], 32))
    embeddings = [
        trained,
        of_backbone("resnet18", str(store.folder / "weights.pth")),
        of_backbone("my_models:make_encoder", "none"),
        torch.nn.functional.normalize(made),
    ]
    labels = split.labels.tolist()
    expected = [naive(one, labels) for one in embeddings]
    for run, values in zip(below, expected, strict=True):
        check(run, values)
        details = read_details(Path(store.client.download_artifacts(run.info.run_id, "test", str(tmp_path))))
        assert details.per_query("map_at_r") == pytest.approx(values[1])
    assert store.pictures.metrics["test/recall_at_1"] == below[0].data.metrics["test/recall_at_1"]

    table = [[cell.strip() for cell in line.split("|")[1:-1]] for line in out.splitlines() if line.startswith("|")]
    rows = {(cells[0], cells[1]): cells[2:] for cells in table}
    found = rows["api.parquet, on the unit sphere", "MAP@R"]
    first, last = np.array(expected[0][1]), np.array(expected[3][1])
    mean, by_class = bootstrap_mean(last), bootstrap_difference(last, first, np.array(labels))
    assert found[:2] == [number(mean.mean), ends(mean)]
    assert [found[3], found[5]] == [signed(by_class.mean), interval(by_class)]
    report = Path(store.client.download_artifacts(parent.info.run_id, "report", str(tmp_path)))
    assert "Differences to the first model" in (report / "index.html").read_text()
    differences = pq.read_table(report / "tables" / "all_differences.parquet").to_pylist()
    one = next(
        row
        for row in differences
        if (row["method"], row["metric"]) == ("api.parquet, on the unit sphere", "test/map_at_r")
    )
    assert (one["mean"], one["low_over_classes"]) == pytest.approx((by_class.mean, by_class.low))


def test_models_of_vectors(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    """A head, exported and as its checkpoint, and the vectors as they come, against a naive loop."""
    models = ["models:/heads/1", "heads/mdr-001", "identity"]
    file = f"data.file={store.folder / 'vectors.parquet'}"
    evaluate(capsys, *models, "--data", "features", "--set", file, "--name", "heads")
    split = read_test_split(read_data("features", file=str(store.folder / "vectors.parquet")))
    vectors = split.images[torch.arange(len(split))]
    with torch.no_grad():
        head = store.vectors.session.model.eval()(vectors)
    _, below = store.evaluation("heads")
    check(below[0], naive(head, split.labels.tolist()))
    check(below[1], naive(head, split.labels.tolist()))
    check(below[2], naive(vectors.flatten(1), split.labels.tolist()))


def test_a_sweep_file_and_the_validation_split(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    """The test split stays unread, and nothing says otherwise; a second evaluation of a model adds to its mark."""
    (store.folder / "sweep.yaml").write_text("name: s\ntrial: {data: glyphs}\nspace: {mdr.weight: {uniform: [0, 1]}}\n")
    before = store.client.get_run(store.letters.run_id).data.tags
    arguments = ["mdr_levels/mdr-001", "--space", "sweep.yaml", "--split", "validation", "--name", "held_out"]
    out = evaluate(capsys, *arguments)
    assert "The test split was read" not in out
    parent, (run,) = store.evaluation("held_out")
    validation = store.letters.session.evaluate("validation")
    assert {key: run.data.metrics[key] for key in validation} == validation
    assert {key: parent.data.metrics[key] for key in validation} == validation
    assert store.client.get_run(store.letters.run_id).data.tags == before
    assert TEST_READ_TAG not in run.data.tags


MISTAKES = {
    "mdr_levels/mdr-01 --data glyphs": "has no trial 'mdr-01'. Did you mean 'mdr-001'?",
    "mdr_level/mdr-001 --data glyphs": "no sweep 'mdr_level' in the MLflow store. Did you mean 'mdr_levels'?",
    "models:/mdr_levels@champ --data glyphs": "there are models:/mdr_levels@champion, models:/mdr_levels/1",
    "models:/mdr_level/1 --data glyphs": "Did you mean 'mdr_levels'?",
    f"{'0' * 32} --data glyphs": "there is no such run in sqlite",
    "resnet81 --data glyphs": "Did you mean 'resnet18'?",
    "mdr_levels --data glyphs": "is a sweep: name one of its trials",
    "conv4@symbls --data glyphs": "Did you mean 'symbols'?",
    "conv4 --data glyphs": "would be those of random weights: write conv4@WEIGHTS",
    "gone/model.pt --data glyphs": "gone/model.pt: there is no such file",
    "weights.pth --data glyphs": "the state dict of a backbone is given as BACKBONE@FILE",
    "my_models:make_encode --data glyphs": "Did you mean 'make_encoder'?",
    "my_models:needs --data glyphs": "depth",
    "mdr_levels/mdr-001 gone.parquet --data glyphs": "gone.parquet: there is no such file",
    "mdr_levels/mdr-001 --data folder --root photos": "takes grey images of 32 x 32 pixels",
    "own_images/mdr-001 --data folder --root photos --set data.image_size=64": "leave out data.image_size",
    "models:/own_images@champion --data glyphs": "and glyphs has grey images of 32 x 32 pixels",
    "vectors.parquet --data folder --root photos": "has no column 'path'",
    "resnet18@weights.pth --data features --set data.file=vectors.parquet": "takes images, and features has vectors",
    "mdr_levels/mdr-001 --data glyph": "Did you mean 'glyphs'?",
    "mdr_levels/mdr-001 --data folder --root gone": "data.root: there is no ",
    "mdr_levels/mdr-001 --data glyphs --set loss.margin=1": "only keys of the data set",
    "mdr_levels/mdr-001 --data glyphs --name a/b": "--name a/b: a name has up to 64",
}


@pytest.mark.parametrize("arguments", MISTAKES)
def test_a_mistake_is_one_message_and_nothing_is_logged(
    store: Store, capsys: pytest.CaptureFixture[str], arguments: str
) -> None:
    before = store.written()
    code, out, err = run_command(capsys, "evaluate", *arguments.split())
    assert (code, len(err.splitlines()), out) == (2, 1, "")
    assert MISTAKES[arguments] in err
    assert store.written() == before


def test_the_commands_of_the_page_run(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    """Whatever the table of docs/evaluate.md shows as its head is what the first command prints."""
    blocks = [
        (token.info, token.content)
        for token in MarkdownIt().parse((ROOT / "docs" / "evaluate.md").read_text())
        if token.type in ("fence", "code_block")
    ]
    shown = ""
    for language, text in blocks:
        if language == "text":
            assert "".join(text.split()) in "".join(shown.split())
            continue
        assert language == "sh"
        for program, *arguments in map(shlex.split, text.splitlines()):
            assert program == "mdr-tune"
            code, shown, err = run_command(capsys, *arguments)
            assert code == 0, err
    _, (by_vectors, imported) = store.evaluation("photos")
    assert by_vectors.data.metrics["test/recall_at_1"] == store.pictures.metrics["test/recall_at_1"]
    assert imported.data.params["fed.resize"] == "256"
