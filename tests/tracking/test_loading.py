"""A logged model, by any of its addresses, embeds as the trial's model does; what is none of ours is refused."""

import os
import shutil
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pytest
import torch
from mlflow import MlflowClient
from mlflow.models import ModelSignature
from mlflow.types import Schema, TensorSpec

from mdr_tune.tracking.champion import load_model, log_embedding_model, register_champion
from mdr_tune.tracking.experiment import open_experiment
from mdr_tune.tracking.loading import GRAPH, load_embedder, needs_store
from mdr_tune.util.errors import UserError
from tests.mlflow_globals import mlflow_globals_kept
from tests.tracking.tiny_trial import noise_images, save, trained

NAME = "load_letters"


@pytest.fixture(scope="module")
def registered(
    store: str, client: MlflowClient, tmp_path_factory: pytest.TempPathFactory
) -> tuple[str, torch.nn.Module, Path]:
    """Register a champion; return its run, the trial's model and its checkpoint."""
    session = trained("l2")
    checkpoint = save(session, tmp_path_factory.mktemp("checkpoint") / "checkpoint.pt")
    with mlflow_globals_kept():
        mlflow.set_tracking_uri(store)
        experiment = open_experiment(client, NAME, Path(store.removeprefix("sqlite:///")).parent / "mlartifacts")
        run = client.create_run(experiment).info.run_id
        register_champion(client, experiment, run, NAME, checkpoint, "val/recall_at_1")
    return run, session.model.eval(), checkpoint


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory without a store: MLflow's globals point to it, and nothing may come to be in it."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_every_address_gives_the_same_model(
    registered: tuple[str, torch.nn.Module, Path], store: str, client: MlflowClient, elsewhere: Path
) -> None:
    run, model, _ = registered
    images = noise_images(range(9, 10)).images
    with torch.no_grad():
        expected = model(images)
    with mlflow_globals_kept():
        mlflow.set_tracking_uri(store)
        local = mlflow.artifacts.download_artifacts(f"models:/{NAME}/1", dst_path=str(elsewhere / "m"))
    addresses = [f"models:/{NAME}@champion", f"models:/{NAME}/1", f"runs:/{run}/model"]
    loaded = [load_embedder(uri, client) for uri in addresses] + [load_embedder(local)]
    for embedder in loaded:
        torch.testing.assert_close(embedder.embed(images), expected, rtol=0, atol=1e-5)
        torch.testing.assert_close(embedder.embed(images[:1]), expected[:1], rtol=0, atol=1e-5)
        assert (embedder.image_shape, embedder.size, embedder.resize, embedder.run_id) == ((1, 32, 32), 8, 32, run)
    assert len({embedder.identity for embedder in loaded}) == 1
    assert [embedder.uri for embedder in loaded] == [addresses[1], addresses[1], addresses[2], str(Path(local))]
    assert [entry.name for entry in elsewhere.iterdir()] == ["m"]
    assert not mlflow.tracking.is_tracking_uri_set()


@pytest.mark.usefixtures("registered")
def test_another_device_is_all_of_the_graph_s(client: MlflowClient, elsewhere: Path) -> None:
    """No GPU here: the device `meta` has no numbers, but refuses tensors of another device as a GPU does."""
    embedder = load_embedder(f"models:/{NAME}@champion", client, torch.device("meta"))
    network = embedder.network
    assert isinstance(network, torch.fx.GraphModule)
    assert not [node for node in network.graph.nodes if "cpu" in f"{node.args} {node.kwargs}"]
    given = network(torch.empty(3, 1, 32, 32, dtype=torch.uint8, device="meta"))
    assert (given.device.type, tuple(given.shape)) == ("meta", (3, 8))
    assert list(elsewhere.iterdir()) == []


@pytest.mark.usefixtures("registered")
def test_an_unknown_model_is_named_with_those_there_are(client: MlflowClient, elsewhere: Path) -> None:
    for uri in ("models:/lod_letters@champion", f"models:/{NAME}@winner", f"models:/{NAME}/7"):
        with pytest.raises(UserError, match=rf"{uri} is not in sqlite.*models:/{NAME}@champion"):
            load_embedder(uri, client)
    for uri in ("runs:/0123/model", "models:/m-0123"):
        with pytest.raises(UserError, match=f"the files of {uri} cannot be had"):
            load_embedder(uri, client)
    with pytest.raises(UserError, match="is no model: expected models:/NAME@champion"):
        load_embedder(str(elsewhere))
    assert needs_store("models:/x@y")
    assert not needs_store("./models")


@pytest.mark.usefixtures("registered", "elsewhere")
def test_a_registry_elsewhere_is_named_and_asked(
    store: str, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry = tmp_path_factory.mktemp("registry") / "models.db"
    with sqlite3.connect(shutil.copy(store.removeprefix("sqlite:///"), registry)) as connection:
        for table in ("registered_model_aliases", "model_version_tags", "model_versions", "registered_models"):
            connection.execute(f"DELETE FROM {table}")
    connection.close()
    monkeypatch.setenv("MLFLOW_REGISTRY_URI", f"sqlite:///{registry}")
    named = f"sqlite:///{registry}, the registry that MLFLOW_REGISTRY_URI names"
    for uri in (f"models:/{NAME}@champion", f"models:/{NAME}/1", f"models:/{NAME}"):
        with pytest.raises(UserError, match=rf"{uri} is not in {named} .*no model is registered in it"):
            load_embedder(uri, MlflowClient(store))
    monkeypatch.setenv("MLFLOW_REGISTRY_URI", "uc:nowhere")  # an address that cannot be asked
    with pytest.raises(UserError, match=r"/1: cannot ask uc:nowhere, the registry that MLFLOW_REGISTRY_URI names \("):
        load_embedder(f"models:/{NAME}/1", MlflowClient(store))
    monkeypatch.setenv("MLFLOW_REGISTRY_URI", store)
    assert load_embedder(f"models:/{NAME}@champion", MlflowClient(store)).size == 8


@pytest.fixture
def models_of_several_versions(registered: tuple[str, torch.nn.Module, Path], client: MlflowClient) -> Iterator[None]:
    """Two versions with aliases, one version, and none; other tests of the store do not see them."""
    models = {"bare_letters": 2, "bare_letters's": 1, "m-letters": 1, "empty_letters": 0}
    for name, versions in models.items():
        client.create_registered_model(name)
        for _ in range(versions):
            client.create_model_version(name, f"runs:/{registered[0]}/model")
    client.set_registered_model_alias("bare_letters", "champion", "1")
    client.set_registered_model_alias("bare_letters", "best", "2")
    yield
    for name in models:
        client.delete_registered_model(name)


@pytest.mark.usefixtures("models_of_several_versions")
def test_a_model_without_a_version_is_told_which_there_are(client: MlflowClient, elsewhere: Path) -> None:
    missing = "@champion or /VERSION is missing"
    every = [f"models:/bare_letters{ending}" for ending in ("@best", "@champion", "/2", "/1")]
    expected = {
        "models:/bare_letters": f"models:/bare_letters: {missing}; there are {', '.join(every)}",
        "models:/bare_letters/": f"models:/bare_letters/: {missing}; there are {', '.join(every)}",
        "models:/bare_letters@": f"models:/bare_letters@: {missing}; there are {', '.join(every)}",
        "models:/bare_letters's": f"models:/bare_letters's: {missing}; there are models:/bare_letters's/1",
        "models:/m-letters": f"models:/m-letters: {missing}; there are models:/m-letters/1",
        "models:/empty_letters": f"models:/empty_letters: {missing}, and empty_letters has no version: it lost",
        "models:/empty_letters@champion": f"models:/empty_letters@champion is not in {client.tracking_uri} (",
        "models:/bare_letters/7": f"models:/bare_letters/7 is not in {client.tracking_uri} (",
        "models:/bar_letters": f"models:/bar_letters is not in {client.tracking_uri} (",
    }
    for uri, text in expected.items():
        with pytest.raises(UserError) as raised:
            load_embedder(uri, client)
        assert str(raised.value).startswith(text)
    assert str(raised.value).count(missing) == 1
    assert f"models:/{NAME}@champion" in str(raised.value)  # of those there are
    assert list(elsewhere.iterdir()) == []


@pytest.mark.usefixtures("registered")
def test_where_the_files_of_a_deleted_version_are_is_told(store: str, tmp_path: Path) -> None:
    client = MlflowClient(f"sqlite:///{shutil.copy(store.removeprefix('sqlite:///'), tmp_path)}")
    client.delete_model_version(NAME, "1")
    with pytest.raises(UserError, match=rf"{NAME}@champion is not in .*: {NAME} has no version: ") as error:
        load_embedder(f"models:/{NAME}@champion", client)
    files = str(error.value).rpartition("; its newest files are still there: ")[2]
    assert load_embedder(files, client).size == 8


def test_a_model_without_the_size_of_images_is_told(
    registered: tuple[str, torch.nn.Module, Path], client: MlflowClient, caplog: pytest.LogCaptureFixture, store: str
) -> None:
    run, _, checkpoint = registered
    model, shape = load_model(checkpoint)
    with mlflow_globals_kept():
        mlflow.set_tracking_uri(store)
        experiment = client.get_run(run).info.experiment_id
        other = client.create_run(experiment).info.run_id
        log_embedding_model(client, experiment, other, "load_other", model, shape)
        log_embedding_model(client, experiment, other, "load_other", model, shape, resize=40, interpolation="bicubic")
        strange: Any = "nearest"
        log_embedding_model(client, experiment, other, "load_other", model, shape, resize=40, interpolation=strange)
    embedder = load_embedder("models:/load_other/1", client)
    assert (embedder.resize, embedder.interpolation) == (32, "lanczos")
    assert "does not say what its images were resized to: 32 pixels" in caplog.text
    second = load_embedder("models:/load_other/2", client)
    assert (second.resize, second.interpolation) == (40, "bicubic")
    assert "resized to 40 x 40 pixels (Bicubic)" in client.get_model_version("load_other", "2").description
    with pytest.raises(UserError, match="resized by 'nearest', which this version does not know"):
        load_embedder("models:/load_other/3", client)


@pytest.mark.parametrize(
    ("file", "content", "what"),
    [
        ("MLmodel", b"", "its MLmodel is damaged"),
        ("MLmodel", b"\xff\xfe", "its MLmodel is damaged"),
        ("MLmodel", b"- a\n", "its MLmodel is damaged"),
        ("MLmodel", b"a: [", "its MLmodel is damaged"),
        (GRAPH, b"PK", "its data/model.pt2 is damaged, or not whole"),
        (GRAPH, None, "its data/model.pt2 is damaged, or not whole"),
        (GRAPH, b"PK\x03\x04" * 99, "its data/model.pt2 is damaged, or not whole"),
    ],
)
@pytest.mark.usefixtures("registered")
def test_a_folder_that_is_damaged_or_not_whole(
    store: str, elsewhere: Path, file: str, content: bytes | None, what: str
) -> None:
    with mlflow_globals_kept():
        mlflow.set_tracking_uri(store)
        folder = Path(mlflow.artifacts.download_artifacts(f"models:/{NAME}/1", dst_path=str(elsewhere / "m")))
    if content is None:  # a byte of it, of the weights or else
        whole = (folder / file).read_bytes()
        at = len(whole) // 2
        content = whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :]
    (folder / file).write_bytes(content)
    with pytest.raises(UserError, match=f"{folder}: {what}.*: get the model again"):
        load_embedder(str(folder))


@pytest.mark.parametrize("kind", ["pickle", "float images"])
def test_other_models_are_refused(tmp_path: Path, kind: str) -> None:
    """A pickle would execute what is in it."""
    image_type = np.dtype(np.float32 if kind == "float images" else np.uint8)
    signature = ModelSignature(
        inputs=Schema([TensorSpec(image_type, (-1, 1, 4, 4))]),
        outputs=Schema([TensorSpec(np.dtype(np.float32), (-1, 16))]),
    )
    format_ = "pickle" if kind == "pickle" else "pt2"
    mlflow.pytorch.save_model(
        torch.nn.Flatten(),
        tmp_path / "m",
        serialization_format=format_,
        signature=signature,
        input_example=np.zeros((2, 1, 4, 4), image_type),
        pip_requirements=[],
    )
    expected = "is no exported graph" if kind == "pickle" else "does not take square uint8 images"
    with pytest.raises(UserError, match=expected):
        load_embedder(str(tmp_path / "m"))


def test_the_settings_of_mlflow_are_put_back(
    registered: tuple[str, torch.nn.Module, Path], client: MlflowClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_ALLOW_PICKLE_DESERIALIZATION", "true")
    with mlflow_globals_kept():
        mlflow.set_tracking_uri("sqlite:////of/the/user.db")
        load_embedder(f"runs:/{registered[0]}/model", client)
        assert mlflow.get_tracking_uri() == "sqlite:////of/the/user.db"
    assert os.environ["MLFLOW_ALLOW_PICKLE_DESERIALIZATION"] == "true"
