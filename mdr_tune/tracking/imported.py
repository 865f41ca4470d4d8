"""Register a model of the authors, beside those of the sweeps: same export, a run of its own."""

from dataclasses import dataclass
from pathlib import Path

from mlflow import MlflowClient
from mlflow.entities import Param

from mdr_tune.tracking.champion import ALIAS, log_embedding_model
from mdr_tune.tracking.tags import run_tags
from mdr_tune.training.official import IMAGE_SHAPE, RESIZE, ImportedModel


@dataclass(frozen=True)
class ImportedVersion:
    """Where a registered import stands: its version, and the version that has the alias `champion`."""

    version: str
    champion: str

    @property
    def is_champion(self) -> bool:
        """Whether the alias points to it."""
        return self.version == self.champion


def register_import(
    client: MlflowClient, experiment_id: str, name: str, imported: ImportedModel, checkpoint: Path
) -> ImportedVersion:
    """Record an import as a run of the experiment and register its model as `name`.

    The alias `champion` is set if no version of `name` has it, and left where it is otherwise: an import was not
    compared with anything.

    Args:
        checkpoint: The file of `write_checkpoint`, kept as an artifact of the run.
    """
    tags = run_tags(f"import {imported.source['file']}")
    run_id = client.create_run(experiment_id, tags=tags).info.run_id
    try:
        client.log_batch(run_id, params=[Param(key, value) for key, value in _params(imported).items()])
        client.log_artifact(run_id, str(checkpoint), "checkpoints/imported")
        version = log_embedding_model(
            client,
            experiment_id,
            run_id,
            name,
            imported.model,
            IMAGE_SHAPE,
            f"Imported: {imported.describe()}.",
            resize=RESIZE,
        )
        champion = client.get_registered_model(name).aliases.get(ALIAS)
        if champion is None:
            client.set_registered_model_alias(name, ALIAS, version)
    except BaseException:
        client.set_terminated(run_id, "FAILED")
        raise
    client.set_terminated(run_id, "FINISHED")
    return ImportedVersion(version, version if champion is None else str(champion))


def _params(imported: ImportedModel) -> dict[str, str]:
    """Return what the run records, under the names that the runs of trials have for it."""
    config = imported.config
    return {
        "backbone.name": config.backbone.name,
        "embedding.size": str(config.embedding.size),
        "embedding.mode": config.embedding.mode,
        **{f"source.{key}": value for key, value in imported.source.items()},
    }
