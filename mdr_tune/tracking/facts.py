"""What was run: the parent run's parameters and files, and one trial's surroundings, as `SweepFacts`."""

import datetime
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from mdr_tune.records.recorded_sweep import SweepFacts, SweepRecords
from mdr_tune.tracking.reader import literal


def read_facts(client: MlflowClient, sweep: SweepRecords, repeat: Mapping[str, Any]) -> SweepFacts:
    """Return what was run in a launch; what an earlier version did not record is empty.

    Args:
        sweep: The launch, with its trials.
        repeat: `provenance.repeat_info` of one of them.
    """
    run = client.get_run(sweep.parent_run_id)
    params, configs = run.data.params, [record.config for record in sweep.records]
    ended = run.info.end_time if sweep.status != "RUNNING" else None  # a sweep that goes on keeps its earlier end
    return SweepFacts(
        started=_time(run.info.start_time),
        ended=None if ended is None else _time(ended),
        command=_text(client, sweep.parent_run_id, "command.txt").strip(),
        protocol=next((str(config["protocol"]) for config in configs if "protocol" in config), "validation"),
        sampler=params.get("search.sampler", ""),
        seeds=_seeds(params, sweep),
        epochs=sorted({int(config["epochs"]) for config in configs if "epochs" in config}),
        workers_per_trial=int(params.get("workers_per_trial", 1)),
        images=_below("images.", params),
        versions=_versions(params, repeat),
        commit=_commit(repeat),
        devices=sorted({record.device for record in sweep.records if record.device is not None}),
        sweep_file=_text(client, sweep.parent_run_id, "sweep.yaml"),
    )


def _time(ms: int) -> datetime.datetime:
    return datetime.datetime.fromtimestamp(ms / 1000)


def _text(client: MlflowClient, run_id: str, file: str) -> str:
    """Return a file of the launch's run; nothing if it was lost."""
    try:
        with tempfile.TemporaryDirectory() as folder:
            return Path(client.download_artifacts(run_id, file, folder)).read_text(encoding="utf-8")
    except (MlflowException, OSError):
        return ""


def _seeds(params: Mapping[str, str], sweep: SweepRecords) -> list[int]:
    """Return the seeds that were listed; else those that the trials had."""
    listed = literal(params.get("search.seeds", ""))
    return listed if isinstance(listed, list) else sorted({record.seed for record in sweep.records})


def _below(prefix: str, params: Mapping[str, str]) -> dict[str, str]:
    return {key.removeprefix(prefix): value for key, value in params.items() if key.startswith(prefix)}


def _versions(params: Mapping[str, str], repeat: Mapping[str, Any]) -> dict[str, str]:
    """Return those of one trial, which are of all packages; else the few that the launch's run has."""
    found = {package: version for package, version in repeat.get("versions", {}).items() if version is not None}
    return found or _below("versions.", params)


def _commit(repeat: Mapping[str, Any]) -> str | None:
    source = repeat.get("source")
    if source is None:
        return None
    return str(source["commit"]) + (" + changes" if source["dirty"] else "")
