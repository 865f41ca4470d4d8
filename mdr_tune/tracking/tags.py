"""The tags by which runs are found again, and what the tags of a trial's run say."""

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
"""A trial's name; with the parent run's id, what its run is found by."""
COMPLETE_TAG = "mdr_tune.complete"
"""The number of epochs, set once all that a trial left is in its run."""
NUMBER_TAG = "mdr_tune.number"
PARAMETERS_TAG = "mdr_tune.parameters"
"""The sampled values by dotted key, as JSON: the run's parameters are the whole trial."""
METRIC_TAG = "mdr_tune.metric"
SECOND_METRIC_TAG = "mdr_tune.second_metric"
"""The objectives, on the parent run: by the first it is known as a sweep's."""
SESSION_TAG = "mdr_tune.session"
"""On the parent run: id of the session that wrote into it last, a blank, and that session's storage."""
ARM_TAG, CONFIG_TAG, SEED_INDEX_TAG = "arm", "config", "seed_index"
OUTCOME_TAG, WHY_TAG, NOTES_TAG, DEVICE_TAG = "outcome", "why", "notes", "device"
COMPILED_TAG = "compiled"
"""Beside the device: `yes` if torch.compile compiled the network. A trial whose network it does not compile fails."""
EXPLOITED_TAG = "pbt.exploited"
CHANGES_TAG = "mdr_tune.changes"
"""The same for programs, with the values, as JSON."""
TEST_READ_TAG = "test_split_read"
"""Set on the runs that were evaluated on the test classes: when, and after which epoch."""
CURVES_READ = "after every epoch (curves)"
"""What that tag says of a trial whose learning curves include the test classes."""
_LONGEST_VALUE = 500
TAG_LIMIT = 5000
"""Characters of a tag's value, the least that MLflow's stores take."""


def run_tags(name: str) -> dict[str, str]:
    """Return the tags of a run that say its name, who started it, and with what."""
    return {MLFLOW_RUN_NAME: escaped(name), MLFLOW_USER: _user(), MLFLOW_SOURCE_NAME: "mdr_tune"}


def trial_tags(record: TrialRecord, parent_run_id: str) -> dict[str, str]:
    """Return the tags with which a trial's run begins."""
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
    """Return sampled values as JSON, a value that is very long (a choice among whole sections) described in short."""
    short = {
        key: value if len(json.dumps(value)) <= _LONGEST_VALUE else describe_value(value)[:_LONGEST_VALUE]
        for key, value in parameters.items()
    }
    return json.dumps(short)


def exploited_text(record: TrialRecord) -> str:
    """Return which states a trial took over: `epoch 4 from mdr-003; epoch 6 from mdr-001`."""
    return "; ".join(f"epoch {change.epoch} from {change.source}" for change in record.changes)[:TAG_LIMIT]


def changes_as_text(record: TrialRecord) -> str | None:
    """Return the changes as JSON, with their values; None if that is longer than a tag may be."""
    text = json.dumps([[change.epoch, change.source, change.parameters] for change in record.changes])
    return text if len(text) <= TAG_LIMIT else None


def note_tags(record: TrialRecord) -> list[RunTag]:
    """Return the tags for what a user should know of a trial."""
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
    """Return what the tags of a run say that was taken over; without values where there were too many for a tag."""
    if CHANGES_TAG in tagged:
        return [Change(epoch, source, parameters) for epoch, source, parameters in json.loads(tagged[CHANGES_TAG])]
    found = re.findall(r"epoch (\d+) from ([^;\s]+)", tagged.get(EXPLOITED_TAG, ""))
    return [Change(int(epoch), source, {}) for epoch, source in found]


def _user() -> str:
    """Return who runs this; in a container the user id may have no name."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return f"uid {os.getuid()}"
