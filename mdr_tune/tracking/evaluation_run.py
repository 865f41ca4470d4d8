"""Record an evaluation of models in MLflow: a run for it, a run below for each model, and marks on the models."""

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from mlflow import MlflowClient
from mlflow.entities import Dataset, DatasetInput, InputTag, Metric, RunTag
from mlflow.exceptions import MlflowException
from mlflow.utils.mlflow_tags import MLFLOW_DATASET_CONTEXT, MLFLOW_PARENT_RUN_ID

from mdr_tune.records.evaluation import EvaluatedModel, Evaluation
from mdr_tune.tracking.epochs import entries_of
from mdr_tune.tracking.query_scores import DETAILS_FOLDER, write_details
from mdr_tune.tracking.run_files import log_report, set_description
from mdr_tune.tracking.tags import DEVICE_TAG, TAG_LIMIT, TEST_READ_TAG, run_tags
from mdr_tune.tracking.trial_runs import log_params

EVALUATION_TAG = "mdr_tune.evaluation"
"""Tag on the run of an evaluation, and on the runs below it: the name of the data set and of the split."""
EVALUATED_MODEL_TAG = "mdr_tune.evaluated_model"
"""Tag on a run below that of an evaluation: the user's words for the model."""
EVALUATED_TAG = "evaluated_on_test"
"""Tag on the run of a model, on its registered version and on its logged model: the evaluations on test classes."""
_DIGEST_CHARACTERS = 36
"""Largest length of a data set's digest in MLflow."""


def log_evaluation(
    client: MlflowClient,
    experiment_id: str,
    evaluation: Evaluation,
    run_name: str,
    command: str,
    description: str,
    write_report: Callable[[str, Path], None],
) -> str:
    """Record `evaluation` in the experiment, and return the id of its run.

    The run has the data set's keys as parameters, and the report. A run below it for each model has the model's
    parameters, metrics and details. If the test split was read, the models get the tag `EVALUATED_TAG`.

    Args:
        run_name: Name of the run.
        command: Command line that the user typed.
        description: Description of the run, in Markdown.
        write_report: Function that writes the report into a folder; its first argument is the id of the run.

    Raises:
        MlflowException: The store does not take it. The run then has the status FAILED.
    """
    about = {EVALUATION_TAG: f"{evaluation.data}, {evaluation.split}", DEVICE_TAG: evaluation.device}
    when = evaluation.ended.isoformat(" ", "seconds")
    if evaluation.split == "test":
        about[TEST_READ_TAG] = f"{when}, by mdr-tune evaluate"
    opened: list[str] = []

    def open_run(name: str, more: dict[str, str]) -> str:
        run_id = client.create_run(experiment_id, tags={**run_tags(name), **about, **more}).info.run_id
        opened.append(run_id)
        return str(run_id)

    try:
        parent = open_run(run_name, {})
        log_params(client, parent, _params(evaluation))
        client.log_inputs(parent, [_input(evaluation)])
        client.log_text(parent, command, "command.txt")
        for model in evaluation.models:
            below = {MLFLOW_PARENT_RUN_ID: parent, EVALUATED_MODEL_TAG: model.facts.get("model", model.title)}
            run_id = open_run(f"{model.name}: {model.title}", below)
            _log_model(client, run_id, evaluation, model)
        if len(evaluation.models) == 1:
            client.log_batch(parent, metrics=_metrics(evaluation, evaluation.models[0]))
        with tempfile.TemporaryDirectory() as folder:
            write_report(parent, Path(folder))
            log_report(client, parent, Path(folder))
        set_description(client, parent, description)
        if evaluation.split == "test":
            _mark(client, evaluation, f"{when}, {evaluation.data} {evaluation.content[:8]}, run {parent}")
    except BaseException:
        _close(client, opened, "FAILED")
        raise
    _close(client, opened, "FINISHED")
    return parent


def _close(client: MlflowClient, runs: Sequence[str], status: str) -> None:
    for run_id in reversed(runs):
        client.set_terminated(run_id, status)


def _params(evaluation: Evaluation) -> dict[str, object]:
    models = {f"model.{model.name}": model.facts.get("model", model.title) for model in evaluation.models}
    sizes = {"images": evaluation.images, "classes": evaluation.classes, "queries": evaluation.queries}
    return {"data": dict(evaluation.keys), "split": evaluation.split, "content": evaluation.content, **sizes, **models}


def _log_model(client: MlflowClient, run_id: str, evaluation: Evaluation, model: EvaluatedModel) -> None:
    log_params(client, run_id, {"split": evaluation.split, "data.name": evaluation.data, **model.facts})
    client.log_inputs(run_id, [_input(evaluation)])
    with tempfile.TemporaryDirectory() as folder:
        write_details(model.details, Path(folder))
        client.log_artifacts(run_id, folder, DETAILS_FOLDER)
    if model.notes:
        client.log_batch(run_id, tags=[RunTag("notes", "; ".join(model.notes)[:TAG_LIMIT])])
    client.log_batch(run_id, metrics=_metrics(evaluation, model))


def _metrics(evaluation: Evaluation, model: EvaluatedModel) -> list[Metric]:
    """Return the metrics of `model`, which name the data set, and the logged model on whose page they are shown too."""
    when_ms = int(evaluation.ended.timestamp() * 1000)
    about = {"dataset_name": evaluation.data, "dataset_digest": _digest(evaluation)} if evaluation.content else {}
    return [
        Metric(entry.key, entry.value, entry.timestamp, entry.step, model_id=model.logged_model, **about)
        for entry in entries_of(model.metrics, 0, when_ms)
        if isinstance(entry, Metric)
    ]


def _digest(evaluation: Evaluation) -> str:
    return evaluation.content[:_DIGEST_CHARACTERS] or "unknown"


def _input(evaluation: Evaluation) -> DatasetInput:
    """Return the data set as an input of a run, with the split, and with the time if the test split was read."""
    source = evaluation.keys.get("file") or evaluation.keys.get("root") or evaluation.data
    dataset = Dataset(evaluation.data, _digest(evaluation), "local", str(source))
    tags = [InputTag(MLFLOW_DATASET_CONTEXT, evaluation.split)]
    if evaluation.split == "test":
        tags.append(InputTag(TEST_READ_TAG, evaluation.ended.isoformat(" ", "seconds")))
    return DatasetInput(dataset, tags)


def _mark(client: MlflowClient, evaluation: Evaluation, text: str) -> None:
    """Add `text` to the tag `EVALUATED_TAG` of each model: of its run, its registered version and its logged model."""
    for model in evaluation.models:
        if model.run_id is not None:
            try:
                before = client.get_run(model.run_id).data.tags.get(EVALUATED_TAG)
            except MlflowException:  # the run of a model in a folder is in another store
                continue
            client.set_tag(model.run_id, EVALUATED_TAG, _joined(before, text))
        if model.version is not None:
            before = client.get_model_version(*model.version).tags.get(EVALUATED_TAG)
            client.set_model_version_tag(*model.version, EVALUATED_TAG, _joined(before, text))
        if model.logged_model is not None and (model.version is not None or model.run_id is not None):
            before = client.get_logged_model(model.logged_model).tags.get(EVALUATED_TAG)
            client.set_logged_model_tags(model.logged_model, {EVALUATED_TAG: _joined(before, text)})


def _joined(before: str | None, text: str) -> str:
    """Return `before` with `text` behind it. If that is too long for a tag, the oldest entries are left out."""
    entries = [*(before.split("; ") if before else []), text]
    while len("; ".join(entries)) > TAG_LIMIT and len(entries) > 1:
        del entries[0]
    return "; ".join(entries)
