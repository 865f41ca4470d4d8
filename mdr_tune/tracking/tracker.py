"""Write a sweep to MLflow: a parent run for the launch, a run for each trial, metrics, checkpoints as artifacts.

Each trial has exactly one run, and each epoch is in its trial's run exactly once, even after errors and resumes. A run
is found again by its tags. If the store did not take a write, the missing data are found and written later.
"""

import json
import logging
import math
import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Literal

from mlflow import MlflowClient
from mlflow.entities import Metric, RunTag
from mlflow.utils.mlflow_tags import MLFLOW_RUN_NOTE

from mdr_tune.config.arms import Arm
from mdr_tune.config.trial import TrialConfig
from mdr_tune.records.metrics import EPOCHS_KEY, SEEDS_KEY, SYSTEM, is_quality
from mdr_tune.records.objectives import best_key
from mdr_tune.records.query_details import TestDetails
from mdr_tune.records.recorded_sweep import mean_key, second_key
from mdr_tune.records.trial_record import TrialRecord, mean_over_seeds
from mdr_tune.tracking.epochs import entries_of, epoch_metrics, has_test_curves, values_in_force
from mdr_tune.tracking.query_scores import TestScores
from mdr_tune.tracking.run_inputs import Context, DataSplit, log_splits, of_model
from mdr_tune.tracking.runs_view import view_tag
from mdr_tune.tracking.tags import (
    COMPILED_TAG,
    COMPLETE_TAG,
    CURVES_READ,
    DEVICE_TAG,
    LOCAL_DRAWS_TAG,
    METRIC_TAG,
    OUTCOME_TAG,
    SECOND_METRIC_TAG,
    TAG_LIMIT,
    TEST_READ_TAG,
    WHY_TAG,
    note_tags,
    run_tags,
)
from mdr_tune.tracking.trial_models import MODEL_TAG
from mdr_tune.tracking.trial_runs import PARAM_VALUE_LIMIT, TrialRuns, log_params, trial_params
from mdr_tune.tracking.writer import OrderedWriter
from mdr_tune.util.words import escaped, last_line

logger = logging.getLogger(__name__)

DISTANCES_FILE = "distances.json"
"""Artifact of a trial's run with the trial's distance snapshots, as JSON."""
CheckpointChoice = Literal["best", "last", "all"]


class Tracker:
    """Listener of a sweep that writes to MLflow. Its methods return at once; a thread makes the writes in order.

    MLflow's own retries are switched off for this process, unless its environment sets their number. If the store
    created a run but its answer was lost, such a retry would create a second run. The thread retries failed writes
    itself. Before it creates a run again, it looks for the first one.

    Args:
        client: Client of the tracking store.
        experiment_id: Id of the experiment, from `open_experiment`.
        run_name: Name of the parent run.
        metric: Name of the sweep's metric. The parent run shows its best value so far.
        params: Parameters of the parent run, by dotted key.
        files: Texts to keep as artifacts of the parent run, by file name.
        checkpoints: Which checkpoints of a trial become artifacts: that of the best epoch, the last one, or all.
        second_metric: Name of the second objective; None if there is one objective.
        repeat: Function that returns everything that is needed to repeat a trial, for the artifact `repeat.json` of the
            trial's run. None: no such artifact is written.
        splits: Function that returns the splits of the data set that a trial's configuration names. Training and
            validation become inputs of the trial's run when it starts, the test split when it was read.
        view: Function that returns what MLflow's page of the runs opens with, from the id of the parent run.
        describe: Function that returns the description of an ended trial, in Markdown. It also gets the trial's metrics
            on the test classes, or None.
        local_draws: Layers of the backbones whose results depend on the number of workers. All runs get them as a tag.
        parent_run_id: Id of the parent run of a resumed launch, which keeps its parameters and files. If it is None, a
            parent run is created.
    """

    def __init__(
        self,
        client: MlflowClient,
        experiment_id: str,
        run_name: str,
        metric: str,
        params: Mapping[str, Any],
        files: Mapping[str, str],
        checkpoints: CheckpointChoice,
        second_metric: str | None = None,
        repeat: Callable[[TrialRecord], dict[str, Any]] | None = None,
        local_draws: Sequence[str] = (),
        parent_run_id: str | None = None,
        splits: Callable[[TrialConfig], Sequence[DataSplit]] = lambda config: (),
        view: Callable[[str], str] | None = None,
        describe: Callable[[TrialRecord, Mapping[str, float] | None], str] | None = None,
    ) -> None:
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
        self.client, self.experiment_id = client, experiment_id
        self._metric, self._second_metric, self._checkpoints = metric, second_metric, checkpoints
        self._repeat, self._describe, self.splits = repeat, describe, splits
        self._epoch_times: dict[str, dict[int, int]] = {}
        self._inputs_of_parent: set[tuple[str, str]] = set()
        self._draws_tag = {LOCAL_DRAWS_TAG: "; ".join(local_draws)[:TAG_LIMIT]} if local_draws else {}
        self._writer = OrderedWriter()
        self._seen: dict[str, dict[str, TrialRecord]] = {}
        self._ended: set[str] = set()
        self._changed: set[str] = set()
        self._best: float | None = None
        self._began_ms = _now_ms()
        self._parent_steps: set[int] = set()
        if parent_run_id is None:
            objectives = {METRIC_TAG: metric, **({SECOND_METRIC_TAG: second_metric} if second_metric else {})}
            tags = {**run_tags(run_name), **objectives, **self._draws_tag}
            self.parent_run_id: str = client.create_run(experiment_id, tags=tags).info.run_id
            log_params(client, self.parent_run_id, params)
            for file, text in files.items():
                client.log_text(self.parent_run_id, escaped(text), file)
        else:
            self.parent_run_id = parent_run_id
            client.update_run(parent_run_id, status="RUNNING")
            self._began_ms = client.get_run(parent_run_id).info.start_time
            history = client.get_metric_history(parent_run_id, best_key(metric))
            self._parent_steps = {point.step for point in history}
        if view is not None:
            client.set_experiment_tag(experiment_id, view_tag(self.parent_run_id), view(self.parent_run_id))
        self._runs = TrialRuns(client, experiment_id, self.parent_run_id, is_new=parent_run_id is None)

    def run_id(self, record: TrialRecord) -> str:
        """Return the id of the run of `record`'s trial. Call `flush` before, so that the run has been created."""
        return self._runs.id_of(record.name)

    def stage(self, text: str) -> None:
        """Do nothing: the names of a launch's preparations and final steps are not recorded."""

    def arm_started(self, arm: Arm) -> None:
        """Do nothing: each trial's run has its arm as a tag."""

    def trial_started(self, record: TrialRecord) -> None:
        """Create the run of `record`'s trial, with its parameters.

        A trial that goes on after an interruption keeps its run. If the run lacks earlier epochs, they are written.
        """
        self._see(record)
        self._put(record, "the start", lambda: self._start(record))
        if record.history:
            self._put_missing(record)

    def _start(self, record: TrialRecord) -> None:
        run_id = self._runs.open(record)
        config = TrialConfig.model_validate(record.config)
        params = trial_params(record, config)
        if self._runs.num_params(record) >= len(params):
            return
        if self._repeat is not None:
            self.client.log_text(run_id, json.dumps(self._repeat(record), indent=2), "repeat.json")
        self._log_inputs(record, ("training", "validation"))
        if "test" in config.measured_curves:
            self._log_inputs(record, ("test",))
        log_params(self.client, run_id, params)  # last: a run with all parameters also has the file and the inputs
        self._runs.params_written(record, len(params))

    def _log_inputs(self, record: TrialRecord, contexts: Sequence[Context]) -> None:
        """Write the splits that the trial of `record` used as one of `contexts` into its run and the parent run."""
        splits = self.splits(TrialConfig.model_validate(record.config))
        log_splits(self.client, self._runs.open(record), splits, contexts)
        used = {(split.name, split.digest) for split in splits if split.context in contexts}
        if not used <= self._inputs_of_parent:
            log_splits(self.client, self.parent_run_id, splits, contexts)
            self._inputs_of_parent |= used

    def epoch_finished(self, record: TrialRecord) -> None:
        """Write the metrics of the last epoch in `record`, and the best value so far.

        Epochs of the same trial that still wait to be written are written in the same call.
        """
        metrics = epoch_metrics(record, len(record.history) - 1, self._metric)
        step = record.epochs
        entries = entries_of(metrics, step, _now_ms())
        if len(record.history) == 1:
            entries += _first_tags(record, self._draws_tag)
        what = f"epoch {step} of {record.name}"
        self._writer.put_entries(what, entries, lambda all_of_them: self._write(record, all_of_them), record.name)

    def _write(self, record: TrialRecord, entries: list[Metric | RunTag]) -> None:
        """Write `entries` to the trial's run in one call. Of several tags with the same key, the last is written."""
        metrics = [entry for entry in entries if isinstance(entry, Metric)]
        tags = {entry.key: entry for entry in entries if isinstance(entry, RunTag)}
        self.client.log_batch(self._runs.open(record), metrics=metrics, tags=list(tags.values()))
        times = {metric.step: metric.timestamp for metric in metrics if metric.key == EPOCHS_KEY}
        self._epoch_times.setdefault(record.name, {}).update(times)

    def trial_noted(self, record: TrialRecord) -> None:
        """Write the notes in `record` and its changes by population based training as tags.

        With the first change, metrics are written too: the values with which the trial trained each epoch so far.
        """
        entries: list[Metric | RunTag] = note_tags(record)
        if record.changes and record.name not in self._changed:
            self._changed.add(record.name)
            when = _now_ms()
            for entry in record.history:
                epoch = int(entry["epoch"])
                entries += entries_of(values_in_force(record, epoch), epoch, when)
        self._put(record, "the notes", lambda: self._write(record, entries))

    def trial_ended(self, record: TrialRecord) -> None:
        """Write the outcome in `record`, close the trial's run, and write the best value so far into the parent run."""
        self._see(record)
        self._count(record)
        self._put_end(record)

    def _put_end(self, record: TrialRecord) -> None:
        when, step, best = _now_ms(), len(self._ended), self._best

        def write() -> None:
            if self._writer.lost(record.name):
                self._start(record)
                self._write_missing(record, len(record.history), when)
            self._end(record, when)
            if best is not None and step not in self._parent_steps:
                self.client.log_batch(self.parent_run_id, metrics=[Metric(best_key(self._metric), best, when, step)])
                self._parent_steps.add(step)
            self._runs.close(record)
            self._writer.recovered(record.name)

        self._put(record, "the end", write)
        self._put_seeds(record, when)

    def _end(self, record: TrialRecord, when: int) -> None:
        run_id = self._runs.open(record)
        entries: list[Metric | RunTag] = [RunTag(OUTCOME_TAG, record.outcome), *note_tags(record)]
        best, kept = record.best(self._metric), dict[int, str]()
        if record.outcome == "diverged":  # replaces the best value so far, so that nobody sorts by it
            entries.append(Metric(best_key(self._metric), math.nan, when, record.epochs + 1))
        if record.error is not None:
            entries.append(RunTag(WHY_TAG, last_line(escaped(record.error))[:TAG_LIMIT]))
            if record.outcome == "failed":
                self.client.log_text(run_id, escaped(record.error), "traceback.txt")
        if record.distances:
            text = json.dumps([snapshot.as_dict() for snapshot in record.distances])
            self.client.log_text(run_id, text, DISTANCES_FILE)
        if best is not None:
            for kept_epoch, name in self._wanted_checkpoints(record, best[1]):
                folder = record.checkpoints.get(kept_epoch)
                if folder is not None:
                    self.client.log_artifacts(run_id, folder, f"checkpoints/{name}")
                    kept[kept_epoch] = f"checkpoints/{name}"
            if self._second_metric and (values := record.objectives([self._metric, self._second_metric])):
                entries += entries_of({second_key(self._second_metric): values[1]}, record.epochs, when)
            if kept and record.outcome != "killed":
                entries += self._model_entries(record, run_id, kept.get(best[1], next(iter(kept.values()))))
        entries += self._description(record)
        entries.append(RunTag(COMPLETE_TAG, str(record.epochs)))  # MLflow writes tags after the metrics
        self._write(record, entries)

    def _model_entries(self, record: TrialRecord, run_id: str, checkpoint: str) -> list[Metric | RunTag]:
        """Complete the logged model of an ended trial; return its metrics in the best epoch, and a tag with its id.

        The run has these metrics already. They are given with the time at which they were written into it, so that
        MLflow does not add them to the run once more. `checkpoint` is the artifact folder with the model's weights.
        """
        config, best = TrialConfig.model_validate(record.config), record.best(self._metric)
        assert best is not None  # a trial without a value has no checkpoint to keep
        epoch = best[1]
        times = self._epoch_times.get(record.name, {})
        if epoch not in times:  # an earlier session wrote the epoch
            times = {point.step: point.timestamp for point in self.client.get_metric_history(run_id, EPOCHS_KEY)}
        params = {key: escaped(str(value))[:PARAM_VALUE_LIMIT] for key, value in trial_params(record, config).items()}
        model_id = self._runs.open_model(record, params, epoch, checkpoint)
        of_epoch = next(entry for entry in record.history if entry["epoch"] == epoch)
        measured = entries_of({key: value for key, value in of_epoch.items() if is_quality(key)}, epoch, times[epoch])
        return [*self._of_model(measured, model_id, run_id, config), RunTag(MODEL_TAG, model_id)]

    def _of_model(
        self, entries: Iterable[Metric | RunTag], model_id: str, run_id: str, config: TrialConfig
    ) -> list[Metric | RunTag]:
        """Return the metrics among `entries` as metrics of a logged model on their splits, and the tags unchanged."""
        splits = self.splits(config)
        return [of_model(one, model_id, run_id, splits) if isinstance(one, Metric) else one for one in entries]

    def _description(self, record: TrialRecord, test: Mapping[str, float] | None = None) -> list[Metric | RunTag]:
        """Return a tag with the description of an ended trial; nothing if trials are not described."""
        if self._describe is None:
            return []
        return [RunTag(MLFLOW_RUN_NOTE, escaped(self._describe(record, test))[:TAG_LIMIT])]

    def _wanted_checkpoints(self, record: TrialRecord, best_epoch: int) -> list[tuple[int, str]]:
        """Return the epoch and the artifact folder's name for each checkpoint to upload."""
        if self._checkpoints == "all":
            return [(epoch, f"epoch_{epoch:04d}") for epoch in sorted(record.checkpoints)]
        if self._checkpoints == "last":
            return [(max(record.checkpoints, default=0), "last")]
        return [(best_epoch, "best")]

    def _put_seeds(self, record: TrialRecord, when: int) -> None:
        """Average the best values of a configuration's seeds, and write the mean into the run of the first seed.

        Only seeds that ran to their end count. Nothing is written if only one seed has started, or if none ran to its
        end.
        """
        seeds = self._seen[record.config_name]
        first, found = seeds.get(record.config_name), mean_over_seeds(seeds.values(), self._metric)
        if len(seeds) < 2 or found is None or first is None:
            return
        mean, count = found
        entries = entries_of({mean_key(self._metric): mean, SEEDS_KEY: float(count)}, count, when)

        def write() -> None:
            run_id = self._runs.open(first)
            if count not in {point.step for point in self.client.get_metric_history(run_id, SEEDS_KEY)}:
                self._write(first, entries)

        self._put(first, f"the mean over {count} seeds", write)

    def catch_up(self, records: Iterable[TrialRecord]) -> None:
        """Write the data of ended trials in `records` that MLflow lacks, on a resume, or after writes were lost.

        If a trial's run is complete, no call to the store is needed, unless its configuration has several seeds. The
        writes are queued like all others, and retried if the store does not take them.
        """
        for record in records:
            self._see(record)
            if record.outcome == "running":
                continue
            self._count(record)
            if self._runs.is_complete(record):
                self._put_seeds(record, _now_ms())
                continue
            self._put(record, "the start", lambda record=record: self._start(record))  # type: ignore[misc]
            self._put_missing(record)
            self._put_end(record)

    def _put_missing(self, record: TrialRecord) -> None:
        done, when = len(record.history), _now_ms()  # later epochs are written as they come
        self._put(record, "what was missing", lambda: self._write_missing(record, done, when))

    def _write_missing(self, record: TrialRecord, done: int, when: int) -> None:
        """Write the first `done` epochs of a trial, as far as the trial's run lacks them, and the trial's tags.

        Each epoch is written in one call, so that the run never has only a part of an epoch.
        """
        run_id = self._runs.open(record)
        there: dict[str, set[int]] = {}

        def has(key: str, epoch: int) -> bool:
            if key not in there:
                there[key] = {point.step for point in self.client.get_metric_history(run_id, key)}
            return epoch in there[key]

        for index, entry in enumerate(record.history[:done]):
            epoch = int(entry["epoch"])
            in_force = values_in_force(record, epoch)
            if not has(EPOCHS_KEY, epoch):
                self._write(record, entries_of(epoch_metrics(record, index, self._metric), epoch, when))
            elif not all(has(key, epoch) for key in in_force):
                self._write(record, entries_of(in_force, epoch, when))
        tags = [*note_tags(record), *_first_tags(record, self._draws_tag)]
        if tags:
            self._write(record, tags)

    def test_scored(
        self, record: TrialRecord, metrics: Mapping[str, float], details: TestDetails | None = None
    ) -> None:
        """Write an evaluation on the test classes into the run of `record`'s trial: `metrics`, `details` and the time.

        If an earlier session wrote an evaluation of the same epoch, nothing is written.
        """
        best = record.best(self._metric)
        epoch = best[1] if best else record.epochs
        scores = TestScores(epoch, metrics, details, _now_ms(), has_test_curves(record))

        def write() -> None:
            run_id = self._runs.open(record)
            if not scores.are_in(self.client, run_id):
                self._log_inputs(record, ("test",))
                scores.write_details(self.client, run_id)
                entries, model_id = scores.entries(), self._runs.model_id(record)
                if model_id is not None:
                    config = TrialConfig.model_validate(record.config)
                    entries = self._of_model(entries, model_id, run_id, config)
                self._write(record, [*entries, *self._description(record, metrics)])

        self._put(record, "the test metrics", write)

    def measured(self, lanes: Sequence[tuple[str | None, Mapping[str, float]]]) -> None:
        """Write how much the machines of the lanes are used into the runs of their trials, and into the parent run.

        In the parent run, the names begin with the lane if there are several: `system/lane_1/...`. The step is the time
        since the launch began, in seconds. Values that the store does not take are lost, and nothing else is.

        Args:
            lanes: For each lane, the name of the trial that has it, or None, and the values by MLflow's names.
        """
        when = _now_ms()
        step, of_parent = (when - self._began_ms) // 1000, dict[str, float]()
        for lane, (name, values) in enumerate(lanes):
            part = f"lane_{lane}/" if len(lanes) > 1 else ""
            of_parent |= {f"{SYSTEM}{part}{key}": value for key, value in values.items()}
            record = self._seen.get((name or "").split(".")[0], {}).get(name or "")
            if record is not None and record.outcome == "running" and record.history and values:
                of_trial = {f"{SYSTEM}{key}": value for key, value in values.items()}
                self._put_measured(record.name, entries_of(of_trial, step, when), self._runs.id_of(record.name))
        self._put_measured("the launch", entries_of(of_parent, step, when), self.parent_run_id)

    def _put_measured(self, whose: str, entries: list[Metric | RunTag], run_id: str) -> None:
        metrics = [entry for entry in entries if isinstance(entry, Metric)]

        def write() -> None:
            try:
                self.client.log_batch(run_id, metrics=metrics)
            except Exception as error:
                logger.warning("MLflow: the use of the machines during %s was not written: %s", whose, error)

        self._writer.put(f"the use of the machines during {whose}", write, run_id)

    def note(self, markdown: str) -> None:
        """Set the parent run's description to `markdown` while the sweep runs.

        A failed write is not retried, because the next call of `note` or `describe` replaces the description.
        """

        def write() -> None:
            try:
                self.client.set_tag(self.parent_run_id, MLFLOW_RUN_NOTE, markdown)
            except Exception as error:
                logger.warning("MLflow: the description so far was not written: %s", error)

        self._writer.put("the description so far", write, self.parent_run_id)

    def describe(self, markdown: str, metrics: Mapping[str, float]) -> None:
        """Set the parent run's description to `markdown`, and its final `metrics`, at the end of the sweep."""
        when, step = _now_ms(), len(self._ended)

        def write() -> None:
            entries = entries_of(metrics, step, when)
            self.client.set_tag(self.parent_run_id, MLFLOW_RUN_NOTE, markdown)
            self.client.log_batch(self.parent_run_id, metrics=[e for e in entries if isinstance(e, Metric)])

        self._writer.put("the description of the sweep", write)

    def flush(self) -> None:
        """Wait until all queued writes are done.

        Raises:
            TrackingLost: The store did not take some of the writes. `catch_up` can write the missing data later.
        """
        self._writer.wait()

    def close(self, status: Literal["FINISHED", "FAILED", "KILLED"]) -> None:
        """Set the final `status` of the parent run, even if it was closed before, and wait for all writes.

        Raises:
            TrackingLost: The store did not take some of the writes.
        """
        self._writer.put("the end of the sweep", lambda: self.client.set_terminated(self.parent_run_id, status))
        self._writer.close()

    def _put(self, record: TrialRecord, what: str, write: Callable[[], None]) -> None:
        self._writer.put(f"{what} of {record.name}", write, record.name)

    def _see(self, record: TrialRecord) -> None:
        self._seen.setdefault(record.config_name, {})[record.name] = record
        self._ended.discard(record.name)
        if record.changes:
            self._changed.add(record.name)

    def _count(self, record: TrialRecord) -> None:
        self._ended.add(record.name)
        best = record.best(self._metric)
        if best is not None and (self._best is None or best[0] > self._best):
            self._best = best[0]


def _first_tags(record: TrialRecord, of_all: Mapping[str, str]) -> list[Metric | RunTag]:
    """Return the tags that are known after a trial's first epoch: those `of_all` trials, and its own.

    They name the device, say whether torch.compile is used, and say whether the test classes are read after every
    epoch.
    """
    ran: list[Metric | RunTag] = [RunTag(key, text) for key, text in of_all.items()]
    if record.device:
        is_compiled = record.config.get("compile", False)
        ran += [RunTag(DEVICE_TAG, record.device), RunTag(COMPILED_TAG, "yes" if is_compiled else "no")]
    return [*ran, *([RunTag(TEST_READ_TAG, CURVES_READ)] if has_test_curves(record) else [])]


def _now_ms() -> int:
    return int(time.time() * 1000)
