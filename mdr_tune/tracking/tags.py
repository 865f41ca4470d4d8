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
"""Name of a trial. Its run is found by this tag and the id of the parent run."""
COMPLETE_TAG = "mdr_tune.complete"
"""Number of epochs of a trial. The tag is set once the run has everything that the trial left."""
NUMBER_TAG = "mdr_tune.number"
PARAMETERS_TAG = "mdr_tune.parameters"
"""Sampled values of a trial by dotted key, as JSON. The run's parameters are all values of the trial."""
METRIC_TAG = "mdr_tune.metric"
SECOND_METRIC_TAG = "mdr_tune.second_metric"
"""Objectives of a sweep, set on the parent run. `METRIC_TAG` marks a run as the launch of a sweep."""
SESSION_TAG = "mdr_tune.session"
"""Set on the parent run: id of the session that wrote into the run last, a blank, and the storage of that session."""
ARM_TAG, CONFIG_TAG, SEED_INDEX_TAG = "arm", "config", "seed_index"
OUTCOME_TAG, WHY_TAG, NOTES_TAG, DEVICE_TAG = "outcome", "why", "notes", "device"
COMPILED_TAG = "compiled"
"""`yes` if torch.compile compiled the network, else `no`. It follows from the configuration: if torch.compile cannot
compile a network, the trial fails. Set together with the device."""
EXPLOITED_TAG = "pbt.exploited"
"""States that a trial took over in population based training, for people: the text of `exploited_text`."""
CHANGES_TAG = "mdr_tune.changes"
"""The same for programs: the JSON of `changes_as_text`, which has the values too."""
TEST_READ_TAG = "test_split_read"
"""Time and epoch of an evaluation on the test classes; set only on runs that were evaluated on them."""
CURVES_READ = "after every epoch (curves)"
"""Beginning of `TEST_READ_TAG` for a trial whose learning curves include the test classes."""
_LONGEST_VALUE = 500
TAG_LIMIT = 5000
"""Longest value of a tag, in characters: the lowest limit of all of MLflow's stores."""


def run_tags(name: str) -> dict[str, str]:
    """Return the tags with a run's name, the user who started it, and the program."""
    return {MLFLOW_RUN_NAME: escaped(name), MLFLOW_USER: _user(), MLFLOW_SOURCE_NAME: "mdr_tune"}


def trial_tags(record: TrialRecord, parent_run_id: str) -> dict[str, str]:
    """Return the tags that a trial's run is created with."""
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
    """Return sampled values as JSON. A very long value, such as a whole section, is replaced by a short description."""
    short = {
        key: value if len(json.dumps(value)) <= _LONGEST_VALUE else describe_value(value)[:_LONGEST_VALUE]
        for key, value in parameters.items()
    }
    return json.dumps(short)


def exploited_text(record: TrialRecord) -> str:
    """Return the states that a trial took over, as text: `epoch 4 from mdr-003; epoch 6 from mdr-001`."""
    return "; ".join(f"epoch {change.epoch} from {change.source}" for change in record.changes)[:TAG_LIMIT]


def changes_as_text(record: TrialRecord) -> str | None:
    """Return a trial's changes as JSON, with their values; None if the JSON is longer than a tag may be."""
    text = json.dumps([[change.epoch, change.source, change.parameters] for change in record.changes])
    return text if len(text) <= TAG_LIMIT else None


def note_tags(record: TrialRecord) -> list[RunTag]:
    """Return the tags with a trial's notes, and with its changes by population based training."""
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
    """Return the changes that a run's tags record. They have no values if the values were too long for a tag."""
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
