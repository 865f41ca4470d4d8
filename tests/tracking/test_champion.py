"""The registered winner, loaded where nothing but MLflow and torch is imported, embeds as the trial's model does."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from mlflow import MlflowClient

from mdr_tune.config.trial import TrialConfig
from mdr_tune.tracking.champion import (
    Registration,
    describe_registered,
    evaluation_resize,
    load_model,
    register_champion,
)
from mdr_tune.tracking.experiment import open_experiment
from mdr_tune.tracking.loading import load_embedder
from mdr_tune.tracking.tracker import Tracker
from mdr_tune.util.errors import UserError
from tests.tracking.stored import add_epoch, checkpoint, inputs_of, make_trial, splits
from tests.tracking.tiny_trial import noise_images, save, trained

LOAD = """
import sys
import mlflow, torch
mlflow.set_tracking_uri(sys.argv[1])
model = mlflow.pytorch.load_model(f"models:/{sys.argv[4]}@champion")
images = torch.load(sys.argv[2], weights_only=True)
with torch.no_grad():
    torch.save([model(batch) for batch in images], sys.argv[3])
assert not {"mdr_tune", "timm"} & set(sys.modules), "the exported graph needs this package, or timm"
"""

METRIC = "val/recall_at_1"


@torch.no_grad()
def embed(model: torch.nn.Module, images: torch.Tensor) -> torch.Tensor:
    return model.eval()(images)


@pytest.mark.parametrize("mode", ["rescale", "l2"])
def test_the_model_of_a_checkpoint_is_the_trial_s(tmp_path: Path, mode: str) -> None:
    session = trained(mode)
    model, image_shape = load_model(save(session, tmp_path / "checkpoint.pt"))
    images = noise_images(range(9, 11)).images
    assert image_shape == (1, 32, 32)
    assert not model.training
    assert torch.equal(embed(model, images), embed(session.model, images))


@pytest.mark.usefixtures("mlflow_globals")
@pytest.mark.parametrize("backbone", ["conv4", "timm.test_vit"])
def test_the_champion_loads_in_a_fresh_process_without_this_package(
    store: str, client: MlflowClient, artifact_root: Path, tmp_path: Path, backbone: str
) -> None:
    session = trained("l2", backbone)
    name = f"letters of {backbone}"
    experiment = open_experiment(client, name, artifact_root)
    run = client.create_run(experiment).info.run_id
    checkpoint = save(session, tmp_path / "checkpoint.pt")
    registered_as = register_champion(client, experiment, run, name, checkpoint, METRIC, "Winner: mdr-001.")

    registered = client.get_model_version_by_alias(name, "champion")
    assert (str(registered.version), registered.run_id) == (registered_as.version, run)
    assert (registered_as.previous_version, registered_as.previous_value) == (None, None)
    assert registered.description.startswith("Winner: mdr-001.")
    assert "(n, 1, 32, 32)" in registered.description
    assert "(n, 8)" in registered.description
    assert "resized to 32 x 32 pixels (Lanczos);" in registered.description

    images = noise_images(range(9, 10)).images
    batches = [images[:3], images[3:]]  # neither has the size that the graph was exported with
    torch.save(batches, tmp_path / "images.pt")
    arguments = [store, str(tmp_path / "images.pt"), str(tmp_path / "embeddings.pt"), name]
    subprocess.run([sys.executable, "-W", "ignore", "-c", LOAD, *arguments], cwd=tmp_path, check=True)
    found = torch.load(tmp_path / "embeddings.pt", weights_only=True)
    assert [tuple(embeddings.shape) for embeddings in found] == [(3, 8), (1, 8)]
    for embeddings, batch in zip(found, batches, strict=True):
        torch.testing.assert_close(embeddings, embed(session.model, batch), rtol=0, atol=1e-5)
    torch.testing.assert_close(found[0].norm(dim=1), torch.ones(3))


@pytest.mark.usefixtures("mlflow_globals")
def test_a_later_champion_takes_the_alias(client: MlflowClient, artifact_root: Path, tmp_path: Path) -> None:
    experiment = open_experiment(client, "two_launches", artifact_root)
    checkpoint = save(trained("none"), tmp_path / "checkpoint.pt")
    found = []
    for value in (70.0, 60.0, 65.0):
        run = client.create_run(experiment).info.run_id
        client.log_metric(run, "val/best_recall_at_1", value)
        found.append(register_champion(client, experiment, run, "two_launches", checkpoint, METRIC))
    assert found == [Registration("1"), Registration("2", "1", 70.0), Registration("3", "2", 60.0)]
    assert register_champion(client, experiment, run, "two_launches", checkpoint, METRIC) == Registration("3")
    assert str(client.get_model_version_by_alias("two_launches", "champion").version) == "3"


def test_the_size_that_images_are_brought_to() -> None:
    glyphs = TrialConfig()
    files = TrialConfig.model_validate({"data": {"name": "cub200", "resize": 292, "image_size": 256}})
    assert evaluation_resize(glyphs, (1, 32, 32)) == 32
    assert evaluation_resize(files, (3, 256, 256)) == 292


@pytest.mark.usefixtures("mlflow_globals")
def test_the_champion_is_the_trial_s_logged_model(client: MlflowClient, artifact_root: Path, tmp_path: Path) -> None:
    session = trained("none")
    tracker = Tracker(
        client,
        open_experiment(client, "one_model", artifact_root),
        run_name="x",
        metric=METRIC,
        params={},
        files={},
        checkpoints="best",
        splits=splits,
    )
    records = [make_trial("mdr-001"), make_trial("mdr-001.2")]
    for record in records:
        tracker.trial_started(record)
        add_epoch(record, 50.0)
        checkpoint(record, tmp_path)
        tracker.epoch_finished(record)
        record.outcome = "completed"
        tracker.trial_ended(record)
    tracker.test_scored(records[0], {"test/recall_at_1": 40.0})
    tracker.flush()
    run_id, file = tracker.run_id(records[0]), save(session, tmp_path / "checkpoint.pt")
    register_champion(
        client,
        tracker.experiment_id,
        run_id,
        "one_model",
        file,
        METRIC,
        "Winner: mdr-001.",
        details=lambda registration: f"Load version {registration.version}.",
    )
    describe_registered(client, "one_model", "Models of a sweep.")
    describe_registered(client, "one_model", "This comes second.")
    tracker.close("FINISHED")

    models = client.search_logged_models([tracker.experiment_id])
    assert sorted(model.name for model in models) == ["mdr-001", "mdr-001-2"]  # none is made for the registration
    (model,) = (model for model in models if model.source_run_id == run_id)
    measured = {(one.key, one.dataset_name): one.value for one in model.metrics}
    assert measured == {(METRIC, "glyphs validation"): 50.0, ("test/recall_at_1", "glyphs test"): 40.0}
    version = client.get_model_version_by_alias("one_model", "champion")
    assert (version.source, version.run_id) == (model.model_uri, run_id)
    assert version.description.startswith("Winner: mdr-001.")
    assert version.description.endswith("\n\nLoad version 1.")
    assert client.get_registered_model("one_model").description == "Models of a sweep."
    assert set(inputs_of(client.get_run(run_id))) == {"glyphs training", "glyphs validation", "glyphs test"}
    images = noise_images(range(9, 10)).images
    for uri in (f"runs:/{run_id}/model", "models:/one_model@champion"):
        embedder = load_embedder(uri, client, torch.device("cpu"))
        assert embedder.run_id == run_id
        torch.testing.assert_close(embedder.network(images), embed(session.model, images), rtol=0, atol=1e-5)
    with pytest.raises(UserError, match=r"the model of mdr-001-2 was not registered"):
        load_embedder(f"runs:/{tracker.run_id(records[1])}/model", client)
    client.delete_model_version("one_model", "1")
    with pytest.raises(UserError, match=rf"its newest files are still there: {model.model_uri}"):
        load_embedder("models:/one_model@champion", client)
