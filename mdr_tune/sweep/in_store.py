"""Check, before Ray starts, that the MLflow store has everything that earlier sessions of a launch wrote into it."""

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

from mdr_tune.records.journal import FILE as JOURNAL
from mdr_tune.records.journal import Past
from mdr_tune.sweep.stored_launches import STUDIES
from mdr_tune.sweep.stores import Stores, open_client
from mdr_tune.tracking.mlflow_database import is_new
from mdr_tune.util.errors import UserError
from mdr_tune.util.words import count, some

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Experiment, Run


def check_in_store(stores: Stores, name: str, past: Past, own: Stores | None = None) -> list[str]:
    """Check that a launch of the sweep `name` can be started or resumed with its MLflow store; return notes to show.

    `stores` must have passed `check_stores`. `past` is the journal of the launch's earlier sessions, which is empty for
    a new launch. `own` are the stores that --resume uses when no flag names an MLflow store; see `check_last_writer`.

    Raises:
        UserError: The experiment or a run of the launch is deleted or missing in the store, the journal or the
            artifacts of the launch are lost, the store does not answer as it should, or another copy of the launch has
            written into the run.
    """
    if stores.database is not None and is_new(stores.database):
        if past.parent_run_id is None:
            _check_journal(name, past, [])
            return []
        raise UserError(_is_missing(stores, name, past, "there is no such file, or it is empty"))
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")  # as for the sweep: retries take silent minutes
    from mlflow.exceptions import MlflowException

    from mdr_tune.sweep.last_writer import check_last_writer
    from mdr_tune.tracking.moved import moved

    client = open_client(stores)
    try:
        parent = _parent_run(stores, client, name, past)
    except MlflowException as error:
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise UserError(f"the MLflow store {stores.shown_uri} does not answer as it should ({reason})") from None
    if parent is not None and past.folder is not None:
        check_last_writer(parent, name, past.folder, stores, own)
    found = moved(name)
    if found is not None and found.now is None:
        raise UserError(str(found))
    notes = [] if found is None else [f"{found}; the launch records the present place"]
    if parent is not None:
        notes += _lost_trials_notes(client, parent, past)
    return [*notes, *(_champion_notes(stores, client, name) if past.finished else [])]


def _lost_trials_notes(client: "MlflowClient", parent: "Run", past: Past) -> list[str]:
    """Return a note if trials below the run `parent` are finished in MLflow, but not in the journal `past`.

    An event is written into the journal before it is written into MLflow, so the journal must have lost lines.
    """
    from mdr_tune.tracking.deleted import NAMED
    from mdr_tune.tracking.experiment import child_runs
    from mdr_tune.tracking.tags import TRIAL_TAG

    ended = {name for name, _, is_end in past.reports if is_end}
    runs = child_runs(client, parent.info.experiment_id, parent.info.run_id, "attributes.status = 'FINISHED'")
    lost = {run.data.tags[TRIAL_TAG] for run in runs if TRIAL_TAG in run.data.tags} - ended
    if not lost:
        return []
    journal = JOURNAL if past.folder is None else past.folder / JOURNAL
    return [
        f"{journal} has lost lines: of it, {count(len(lost), 'trial')} came to the end in MLflow and not there "
        f"({some(sorted(lost), NAMED)}), and what it lacks is trained again. To keep it, restore the file from a "
        "back-up"
    ]


def _champion_notes(stores: Stores, client: "MlflowClient", name: str) -> list[str]:
    """Return a note if the model registry lacks the champion of the finished sweep `name`."""
    from mlflow.exceptions import MlflowException

    from mdr_tune.tracking.champion import ALIAS

    try:
        client.get_model_version_by_alias(name, ALIAS)
    except MlflowException:  # no such model or alias
        where = stores.other_registry or stores.shown_uri
        return [f"models:/{name}@{ALIAS} is not in {where} any more: the launch registers its winner anew"]
    return []


def _parent_run(stores: Stores, client: "MlflowClient", name: str, past: Past) -> "Run | None":
    """Return the MLflow run of the launch whose journal is `past`; None if the launch has no run yet.

    Raises:
        UserError: The experiment, the run, or the run of a trial is missing or deleted, or the journal was lost.
    """
    from mdr_tune.tracking.experiment import check_active

    experiment = client.get_experiment_by_name(name)
    if experiment is not None:
        check_active(client, experiment)
    if past.parent_run_id is None:
        _check_journal(name, past, [] if experiment is None else _unknown_trials(client, experiment, past))
        return None
    if experiment is None:
        raise UserError(_is_missing(stores, name, past, f"it has no experiment {name}"))
    return _with_its_trials(stores, client, experiment, past.parent_run_id, past)


def _with_its_trials(
    stores: Stores, client: "MlflowClient", experiment: "Experiment", parent_run_id: str, past: Past
) -> "Run":
    """Return the launch's run, `parent_run_id`, after checking that neither it nor the run of a trial is deleted.

    Raises:
        UserError: The launch's run is missing or deleted, or the run of a trial is deleted.
    """
    from mlflow.exceptions import MlflowException

    from mdr_tune.tracking.deleted import NAMED, deleted_trials, is_deleted, restore_runs

    resume = f"--resume {experiment.name}"
    try:
        parent = client.get_run(parent_run_id)
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        raise UserError(_is_missing(stores, experiment.name, past, "it has no such run")) from None
    gone = deleted_trials(client, experiment.experiment_id, parent_run_id)
    if is_deleted(parent):
        command = restore_runs(client, [parent_run_id, *(run.info.run_id for run in gone)])
        raise UserError(f"{resume}: its run {parent_run_id} was deleted in MLflow; restore it: {command}")
    if gone:
        names = some(sorted(run.info.run_name for run in gone), NAMED)
        raise UserError(
            f"{resume}: {count(len(gone), 'trial')} of it {'was' if len(gone) == 1 else 'were'} deleted in MLflow "
            f"({names}); restore: {restore_runs(client, [run.info.run_id for run in gone])}"
        )
    return parent


def _unknown_trials(client: "MlflowClient", experiment: "Experiment", past: Past) -> list["Run"]:
    """Return the MLflow runs of a launch's trials, deleted ones too, if the journal `past` has no run of the launch.

    The launch's run is found in `experiment` by the launch's name.
    """
    from mdr_tune.tracking.deleted import deleted_trials
    from mdr_tune.tracking.experiment import child_runs

    if past.folder is None:
        return []
    launches = client.search_runs([experiment.experiment_id], f"attributes.run_name = 'sweep {past.folder.name}'")
    ids = [run.info.run_id for run in launches]
    return [run for of in (child_runs, deleted_trials) for i in ids for run in of(client, experiment.experiment_id, i)]


def _check_journal(name: str, past: Past, trials: Sequence["Run"]) -> None:
    """Raise UserError if a launch has traces of trials, although its journal `past` names no MLflow run.

    A launch that was killed before its first trial leaves such a journal and nothing else. If there are traces, such as
    MLflow runs in `trials`, the journal was lost, and a resumed launch would train all trials again.
    """
    if past.folder is None:
        return
    left = [part for part in (STUDIES, "tune", "test") if (past.folder / part).exists()]
    if not left and not trials:
        return
    journal = past.folder / JOURNAL
    state = "is missing" if not journal.exists() else "is empty" if not past.sessions else "has no trial"
    there = [f"{count(len(trials), 'trial')} of this launch in MLflow"] if trials else []
    there += [f"{', '.join(left)} beside it"] if left else []
    is_one = len(trials or left) == 1
    raise UserError(
        f"--resume {name}: {journal} {state}, but there {'is' if is_one else 'are'} {', and '.join(there)}: "
        "the launch has begun, and without the file it would train all of it again. Restore the file from a back-up, "
        "or launch the sweep anew with --space"
    )


def _is_missing(stores: Stores, name: str, past: Past, why: str) -> str:
    return (
        f"--resume {name}: its run {past.parent_run_id} is not in the MLflow store {stores.shown_uri} ({why}): name "
        "the store that has it with --tracking-uri; if the run was deleted for good, launch the sweep anew"
    )
