"""Tags of MLflow runs: their names, and functions that write and read the tags of a trial's run."""

import getpass
import json
import os
import re
from collections.abc import Mapping
from typing import Any

from mlflow.entities import RunTag
from mlflow.utils.mlflow_tags import MLFLOW_PARENT_RUN_ID, MLFLOW_RUN_NAME, MLFLOW_SOURCE_NAME, MLFLOW_USER

from mdr_tune.config.space import describe_value
from mdr_tune.records.trial_record import Change, TrialRecord
from mdr_tune.util.words import escaped

TRIAL_TAG = "mdr_tune.trial"
"""Tag with the name of a trial. The trial's run is found by this tag and the id of the parent run."""
COMPLETE_TAG = "mdr_tune.complete"
"""Tag with the number of a trial's epochs. It is set when the trial has ended and all its data are in the run."""
NUMBER_TAG = "mdr_tune.number"
PARAMETERS_TAG = "mdr_tune.parameters"
"""Tag with the sampled values of a trial by dotted key, as JSON. The run's parameters are its whole configuration."""
METRIC_TAG = "mdr_tune.metric"
SECOND_METRIC_TAG = "mdr_tune.second_metric"
"""Tags on the parent run with the names of the sweep's objectives. Every launch's run, and no other, has METRIC_TAG."""
SESSION_TAG = "mdr_tune.session"
"""Tag on the parent run: id of the session that last wrote into the run, a space, and the storage of that session."""
ARM_TAG, CONFIG_TAG, SEED_INDEX_TAG = "arm", "config", "seed_index"
OUTCOME_TAG, WHY_TAG, NOTES_TAG, DEVICE_TAG = "outcome", "why", "notes", "device"
COMPILED_TAG = "compiled"
"""Tag with `yes` if torch.compile compiled the network, else `no`. It is set together with `DEVICE_TAG`.

The value is taken from the configuration. That is safe, because a trial fails if torch.compile cannot compile its
network.
"""
LOCAL_DRAWS_TAG = "differs_by_workers"
"""Tag with the layers of a backbone whose results depend on the number of workers."""
EXPLOITED_TAG = "pbt.exploited"
"""Tag for human readers: a trial's changes by population based training, as text from `exploited_text`."""
CHANGES_TAG = "mdr_tune.changes"
"""Tag for programs: a trial's changes by population based training, as JSON from `changes_as_text`."""
TEST_READ_TAG = "test_split_read"
"""Tag with the time and the epoch of an evaluation on the test classes. Only runs with such an evaluation have it."""
CURVES_READ = "after every epoch (curves)"
"""Beginning of the value of `TEST_READ_TAG` for a trial that was evaluated on the test classes after every epoch."""
_LONGEST_VALUE = 500
TAG_LIMIT = 5000
"""Largest length of a tag's value, in characters. It is the lowest of the limits of MLflow's stores."""


def run_tags(name: str) -> dict[str, str]:
    """Return the tags of a run with the `name`: the name, the user who started it, and the program."""
    return {MLFLOW_RUN_NAME: escaped(name), MLFLOW_USER: _user(), MLFLOW_SOURCE_NAME: "mdr_tune"}


def trial_tags(record: TrialRecord, parent_run_id: str) -> dict[str, str]:
    """Return the tags with which the run of `record`'s trial is created, below the run `parent_run_id`."""
    return {
        MLFLOW_PARENT_RUN_ID: parent_run_id,
        **run_tags(record.name),
        TRIAL_TAG: record.name,
        ARM_TAG: record.arm,
        CONFIG_TAG: record.config_name,
        SEED_INDEX_TAG: str(record.seed_index),
        NUMBER_TAG: str(record.number),
        PARAMETERS_TAG: parameters_as_text(record.parameters),
        OUTCOME_TAG: "running",
    }


def parameters_as_text(parameters: dict[str, Any]) -> str:
    """Return the sampled values `parameters` as JSON.

    A short description replaces a very long value, such as a whole section of the configuration.
    """
    short = {
        key: value if len(json.dumps(value)) <= _LONGEST_VALUE else describe_value(value)[:_LONGEST_VALUE]
        for key, value in parameters.items()
    }
    return json.dumps(short)


def exploited_text(record: TrialRecord) -> str:
    """Return a text that lists the changes by population based training in `record`.

    `epoch 4 from mdr-003; epoch 6 from mdr-001` means that the trial took over the state of `mdr-003` after epoch 4,
    and that of `mdr-001` after epoch 6.
    """
    return "; ".join(f"epoch {change.epoch} from {change.source}" for change in record.changes)[:TAG_LIMIT]


def changes_as_text(record: TrialRecord) -> str | None:
    """Return `record`'s changes by population based training as JSON; None if it is longer than `TAG_LIMIT`."""
    text = json.dumps([[change.epoch, change.source, change.parameters] for change in record.changes])
    return text if len(text) <= TAG_LIMIT else None


def note_tags(record: TrialRecord) -> list[RunTag]:
    """Return the tags with the notes in `record`, and with its changes by population based training."""
    found: list[RunTag] = []
    if record.notes:
        found.append(RunTag(NOTES_TAG, "; ".join(record.notes)[:TAG_LIMIT]))
    if record.changes:
        found.append(RunTag(EXPLOITED_TAG, exploited_text(record)))
        text = changes_as_text(record)
        if text is not None:
            found.append(RunTag(CHANGES_TAG, text))
    return found


def changes_of(tagged: Mapping[str, str]) -> list[Change]:
    """Return the changes by population based training that are recorded in `tagged`, the tags of a run.

    The new values of the parameters are missing from the changes if they were too long for a tag.
    """
    if CHANGES_TAG in tagged:
        return [Change(epoch, source, parameters) for epoch, source, parameters in json.loads(tagged[CHANGES_TAG])]
    found = re.findall(r"epoch (\d+) from ([^;\s]+)", tagged.get(EXPLOITED_TAG, ""))
    return [Change(int(epoch), source, {}) for epoch, source in found]


def _user() -> str:
    """Return the name of the user; `uid N` if the user id has no name, as in some containers."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return f"uid {os.getuid()}"
