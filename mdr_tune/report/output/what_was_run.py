"""Describe what a sweep ran, and how the numbers of its table were made, for readers who judge or repeat it."""

from collections import Counter

from mdr_tune.records.recorded_sweep import SweepEvidence
from mdr_tune.report.rows import EVALUATION, AblationTable
from mdr_tune.util.words import count, duration, last_line, without_password

_PROTOCOLS = {
    "validation": "Epochs and configurations were chosen on the validation classes; the test classes had no say.",
    "paper": "The best epoch of each trial was chosen on the test classes, as in the authors' code: its test values "
    "are higher than those of a choice on validation classes.",
}
_FROM_SEEDS = (
    "A value is the mean over the training seeds that ran to their end, with Student's 95 % interval over them.",
    "A difference is taken seed by seed and then averaged, so that what a seed does to both rows drops out; its "
    "interval and p-value are those of the paired t-test.",
    "p is corrected by Holm's method for all differences of the table; a row is called better or worse where the "
    "corrected p is at most 0.05, else the seeds do not separate the two.",
)
_EVALUATED = (
    "Each model embeds the same images, brought to the size that it was made for. A query is compared with the "
    "gallery, or with all other images of the split, by Euclidean distance.",
    "Intervals are percentile bootstraps of 2,000 resamples. Over the queries: other images of the same classes. Over "
    "classes, which are resampled whole: other classes of the same kind; queries of a class are not independent, so "
    "that this interval is the one to read.",
    "A difference is taken query by query and then averaged, so that what is hard for both models drops out. It says "
    "nothing of other training seeds.",
)
_OF_A_SWEEP = ("Trials", "Training seeds", "Epochs of a trial", "Protocol", "DDP workers of a trial")
"""Facts that an evaluation does not have."""
_FROM_ONE_RUN = (
    "Each row has a single training seed; its interval is a percentile bootstrap over the test queries. It says how "
    "much the choice of images matters, and nothing of how much the seed does.",
    "A difference is taken query by query and then averaged. There is no p-value: one seed each cannot tell whether a "
    "difference is the method's.",
)
_FROM_FOLDS = (
    "A value is the mean over the folds of the classes; that of a fold is the mean over the training seeds that ran to "
    "their end in it. Its 95 % interval is Student's over the folds, with Nadeau and Bengio's corrected variance "
    "(1/J + 1/(folds - 1)) s^2 of J folds, since the folds share most of their training classes.",
    "A difference is taken for each fold and seed, averaged over the seeds of a fold, and then over the folds; its "
    "interval and p-value are those of the t-test with the corrected variance and J - 1 degrees of freedom. It is "
    "assumed that the results of two folds correlate by the share of the classes that a fold holds out.",
    "The test classes are the same in all folds. An interval on them covers other training classes and other seeds, "
    "and not other test classes.",
    "p is corrected by Holm's method for all differences of the table; a row is called better or worse where the "
    "corrected p is at most 0.05.",
)
_ERROR_CHARACTERS = 300


def state(evidence: SweepEvidence) -> str | None:
    """Return a sentence on how many trials of the launch of `evidence` have ended; None if the launch is finished."""
    sweep = evidence.sweep
    ended = sum(record.ended for record in sweep.records)
    of_all = f"{ended} of {count(len(sweep.records), 'trial')} that it started had ended"
    if sweep.status == "RUNNING":
        read = f"when it was read, {sweep.read_at:%Y-%m-%d %H:%M}"  # a killed process leaves this status
        return f"This sweep still runs, or was killed: MLflow has no end of it. {of_all} {read}."
    if sweep.status != "FINISHED":
        return f"This launch did not come to its end ({sweep.status.lower()}): {of_all}."
    return None


def incomplete(evidence: SweepEvidence) -> str | None:
    """Return a warning if the launch of `evidence` has not ended, or if trials were deleted in MLflow; else None."""
    gone = sorted(evidence.deleted)
    left_out = f"Left out, since deleted in MLflow: {', '.join(gone)}." if gone else None
    return " ".join(filter(None, [state(evidence), left_out])) or None


def protocol(evidence: SweepEvidence) -> str:
    """Return a sentence that says on which classes the launch of `evidence` chose epochs and configurations."""
    return _PROTOCOLS.get(evidence.facts.protocol, evidence.facts.protocol)


def what_was_run(evidence: SweepEvidence) -> list[tuple[str, str]]:
    """Return the known facts of the launch of `evidence` as pairs of name and text: `Command`, `Versions` and so on."""
    facts, sweep = evidence.facts, evidence.sweep
    is_evaluation = facts.protocol == EVALUATION
    outcomes = Counter(record.outcome.replace("_", " ") for record in sweep.records)
    versions = ", ".join(f"{name} {version}" for name, version in facts.versions.items())
    best = sweep.finalists
    finalists = "" if best is None else f"; all of them for the best {best} of each arm, one for the others"
    found = [
        ("Evaluation" if is_evaluation else "Sweep", f"{sweep.name}, MLflow run {sweep.parent_run_id}"),
        ("Command", without_password(facts.command)),
        ("When", _when(evidence)),
        ("Trials", ", ".join(f"{number} {outcome}" for outcome, number in outcomes.items())),
        ("Search", "grid: every combination" if facts.sampler == "grid" else facts.sampler),
        ("Folds", "" if facts.folds is None else f"{facts.folds}, each configuration in all of them"),
        ("Training seeds", ", ".join(map(str, facts.seeds)) + finalists),
        ("Epochs of a trial", " or ".join(map(str, facts.epochs))),
        ("Metric", sweep.metric),
        ("Protocol", facts.protocol),
        ("Images", "; ".join(f"{name}: {text}" for name, text in facts.images.items())),
        ("DDP workers of a trial", str(facts.workers_per_trial)),
        ("Devices", ", ".join(facts.devices)),
        ("Versions", versions),
        ("Git commit", facts.commit or ""),
    ]
    return [(name, text) for name, text in found if text and not (is_evaluation and name in _OF_A_SWEEP)]


def _when(evidence: SweepEvidence) -> str:
    started, ended = evidence.facts.started, evidence.facts.ended
    text = f"started {started:%Y-%m-%d %H:%M}"
    return text if ended is None else f"{text}, took {duration((ended - started).total_seconds())}"


def failed_trials(evidence: SweepEvidence) -> list[tuple[str, str, str]]:
    """Return name, outcome and reason of each trial of `evidence` that failed, diverged or was killed."""
    bad = [record for record in evidence.sweep.records if record.outcome in ("failed", "diverged", "killed")]
    return [(record.name, record.outcome, _why(record.error)) for record in bad]


def _why(error: str | None) -> str:
    text = last_line(error or "")
    return text if len(text) <= _ERROR_CHARACTERS else text[: _ERROR_CHARACTERS - 3] + "..."


def how_the_numbers_were_made(evidence: SweepEvidence, table: AblationTable) -> list[str]:
    """Return sentences on how values, intervals and p-values of `table` were computed from `evidence`."""
    if table.is_evaluation:
        return list(_EVALUATED)
    if evidence.facts.folds is not None:
        return [protocol(evidence), *_FROM_FOLDS]
    over_queries = any(e.over == "queries" for row in table.rows for e in row.estimates.values())
    return [protocol(evidence), *(_FROM_ONE_RUN if over_queries else _FROM_SEEDS)]
