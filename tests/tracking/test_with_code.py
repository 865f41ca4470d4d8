"""A champion that torch.export cannot export: registered with its code, and loaded without a pickle of code."""

import shutil
from pathlib import Path

import mlflow
import numpy as np
import pytest
import torch
from mlflow import MlflowClient

from mdr_tune.config.trial import TrialConfig
from mdr_tune.data.dataset import ImageDataset
from mdr_tune.sweep.stores import Stores
from mdr_tune.tracking.champion import register_champion
from mdr_tune.tracking.experiment import open_experiment
from mdr_tune.tracking.exporting import why_not_exported
from mdr_tune.tracking.loading import load_embedder
from mdr_tune.training import TrialSession
from mdr_tune.util.errors import UserError
from mdr_tune.util.import_path import look_for_code_in
from tests.cli.as_a_user import run_python
from tests.mlflow_globals import mlflow_globals_kept
from tests.tracking.tiny_trial import noise_images, save

EMBED = """
import numpy
numpy.save("embeddings.npy", model.predict(numpy.load("images.npy")))
"""
NAME, OWN = "own_dynamic", Path(__file__).parents[1] / "own_components.py"


@pytest.fixture
def code(tmp_path: Path) -> Path:
    folder = tmp_path / "code"
    folder.mkdir()
    shutil.copy(OWN, folder / "dynamic_nets.py")
    return folder


def test_a_network_that_cannot_be_exported_is_told_registered_and_loaded(
    code: Path,
    tmp_path: Path,
    store: str,
    client: MlflowClient,
    caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
) -> None:
    look_for_code_in([code])
    keys = {"backbone": "dynamic_nets:make_dynamic", "batch": {"size": 8}, "augmentation": "none", "epochs": 1}
    config = TrialConfig.from_keys({**keys, "iterations_per_epoch": 1, "embedding": {"size": 4}})
    assert why_not_exported(config, config.data.input_shape) is not None
    assert capsys.readouterr().err == ""  # without the graph, of hundreds of lines
    data = ImageDataset("noise", {"train": noise_images(range(4)), "validation": noise_images(range(4, 6))})
    session = TrialSession(config, data)
    session.train_epoch()
    checkpoint, images = save(session, tmp_path / "checkpoint.pt"), noise_images(range(9, 10)).images
    with torch.no_grad():
        expected = session.model.eval()(images)
    with mlflow_globals_kept():
        mlflow.set_tracking_uri(store)
        experiment = open_experiment(client, NAME, Path(store.removeprefix("sqlite:///")).parent / "mlartifacts")
        run = client.create_run(experiment).info.run_id
        registered = register_champion(client, experiment, run, NAME, checkpoint, "val/recall_at_1")
        again = register_champion(client, experiment, run, NAME, checkpoint, "val/recall_at_1")
        local = Path(mlflow.artifacts.download_artifacts(f"models:/{NAME}@champion", dst_path=str(tmp_path / "m")))
    np.save(tmp_path / "images.npy", images.numpy())
    assert registered.needs_code
    assert again.needs_code
    told = Stores(tmp_path, store).load_command(f"{NAME}@champion", needs_code=True)
    assert f"mdr-tune embed --model models:/{NAME}@champion --code DIR" in told
    done = run_python(tmp_path, "-c", told + EMBED)
    assert done.returncode == 0, done.stderr
    assert not list(local.rglob("*.pkl"))
    assert (local / "code" / "dynamic_nets.py").read_text() == OWN.read_text()
    torch.testing.assert_close(torch.from_numpy(np.load(tmp_path / "embeddings.npy")), expected)
    with pytest.raises(UserError, match=r"needs the code of its network.*: --code DIR names its folder"):
        load_embedder(f"models:/{NAME}@champion", client)
    (code / "dynamic_nets.py").write_text(OWN.read_text() + "\n")
    embedder = load_embedder(f"models:/{NAME}@champion", client, code=str(code))
    torch.testing.assert_close(embedder.embed(images), expected)
    assert "your code is not that of its training: dynamic_nets.py changed" in caplog.text
    look_for_code_in([])
    with pytest.raises(UserError, match=r"does not make its network: .*no module 'dynamic_nets'"):
        load_embedder(str(local), code=str(tmp_path))
