"""A model that was exported on a CPU embeds on a GPU what it embeds there."""

from pathlib import Path

import pytest
import torch

from mdr_tune.config.datasets import GlyphsDataConfig
from mdr_tune.data import load_dataset
from tests.gpu.first_steps import new_session

pytestmark = pytest.mark.gpu


@pytest.mark.parametrize("backbone", ["conv4", "resnet18"])
def test_an_exported_model_moves(device: torch.device, backbone: str, tmp_path: Path) -> None:
    mlflow = pytest.importorskip("mlflow", reason="needs mlflow, which is not installed here")
    from mdr_tune.tracking.champion import load_model, log_embedding_model
    from mdr_tune.tracking.loading import load_embedder
    from tests.mlflow_globals import mlflow_globals_kept

    session = new_session(device, torch.float32, backbone={"name": backbone, "weights": "none"})
    session.train_epoch()
    torch.save(session.state_dict(), tmp_path / "checkpoint.pt")
    model, shape = load_model(tmp_path / "checkpoint.pt")
    with mlflow_globals_kept():
        images = load_dataset(GlyphsDataConfig()).split("validation").images[torch.arange(50)]
        uri = f"sqlite:///{tmp_path}/mlflow.db"
        mlflow.set_tracking_uri(uri)
        client = mlflow.MlflowClient(uri)
        experiment = client.create_experiment("exported", artifact_location=str(tmp_path / "artifacts"))
        run = client.create_run(experiment)
        version = log_embedding_model(client, experiment, run.info.run_id, "exported", model, shape)
        places = (torch.device("cpu"), device)
        here, there = (load_embedder(f"models:/exported/{version}", client, place) for place in places)
    assert there.device == device
    for some in (images, images[:1]):
        expected = here.embed(some)
        torch.testing.assert_close(there.embed(some), expected, rtol=1e-3, atol=1e-4 * float(expected.abs().max()))
