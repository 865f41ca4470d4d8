"""Describe the runs and models of a sweep in the MLflow UI, in Markdown.

The sweep's own run is described while the sweep runs, at its end, and for an ablation; a trial's run when the trial has
ended.
"""

import datetime
from collections.abc import Iterable, Mapping, Sequence

from mdr_tune.config.domains import describe_value
from mdr_tune.records.objectives import chosen_on
from mdr_tune.records.trial_record import Outcome, SweepResult, TrialRecord, standing
from mdr_tune.report.names import full_title, test_key, value_titles
from mdr_tune.report.output import texts
from mdr_tune.report.output.markdown import escape, table_lines
from mdr_tune.report.rows import AblationTable, Row, best_of, best_so_far, result_rows, said_outcome, said_parameters
from mdr_tune.report.sentences import beside_baselines, best_trial, verdict
from mdr_tune.util.words import count, last_line

ROOM = 3500
"""Largest number of characters in a table's rows. MLflow's stores accept descriptions of 5000 characters, of which the
table is a part."""
BEST_TRIALS_SHOWN = 5
NAMED = 5
"""Largest number of trials that a sentence names."""
_FAILURES: tuple[Outcome, ...] = ("failed", "diverged")


def trial_table(result: SweepResult) -> tuple[list[str], list[list[str]]]:
    """Return the column titles and the rows of cells of the table of trials in `result`, for the terminal and MLflow.

    The rows are the best configurations of the main search, or all configurations of a grid in the order of their
    start, then the best configuration of each baseline, so far if the sweep was interrupted. The value of a
    configuration is the mean over its seeds.
    """
    rows = result_rows(result)
    main = [r for r in rows if r.first.arm == result.main_arm and best_of(r.trials[0], r.metric) is not None]
    if not result.shows_all:
        main.sort(key=lambda row: standing(row.value, result.finalists), reverse=True)
        del main[BEST_TRIALS_SHOWN:]
    best = result.best or best_so_far(result.records, result.metric, result.finalists)
    baselines = [record.config_name for arm, record in best.items() if arm != result.main_arm]
    shown = [*main, *(row for name in baselines for row in rows if row.name == name)]
    said = said_parameters([trial for row in rows for trial in row.trials], result.metric)
    several = any((row.value or (0.0, 1))[1] > 1 for row in shown)
    titles = ["trial", "outcome", "epochs", *(["seeds"] if several else []), *value_titles(result.metric), "parameters"]
    return titles, [_cells(row, several, said[row.first.name]) for row in shown]


def _cells(row: Row, several: bool, parameters: str) -> list[str]:
    (value, seeds), test = row.value or (0.0, 1), row.mean_of(test_key(row.metric))
    numbers = [str(row.first.epochs), *([str(seeds)] if several else []), f"{value:.2f}"]
    shown_test = "" if test is None else f"{test:.2f}"
    return [row.name, said_outcome(row.first.outcome), *numbers, shown_test, parameters]


def _trial_lines(result: SweepResult) -> list[str]:
    titles, cells = trial_table(result)
    head = [_line(titles), "|" + " --- |" * len(titles)]
    return head + cut_to_room([_line(row) for row in cells], "`mdr-tune leaderboard` shows all trials")


def _line(cells: Iterable[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def cut_to_room(rows: Sequence[str], where: str) -> list[str]:
    """Return as many of the Markdown lines `rows` as fit into `ROOM` characters.

    If rows are left out, a last line says how many, and ends with `where`, the place where all rows can be read.
    """
    left = ROOM
    for number, row in enumerate(rows):
        left -= len(row) + 1
        if left < 0:
            return [*rows[:number], "", f"{count(len(rows) - number, 'further row')}: {where}."]
    return list(rows)


def search_description(result: SweepResult, load_command: str | None, table: AblationTable | None = None) -> str:
    """Return the Markdown description of a search that has ended with `result`, for the sweep's MLflow run.

    `load_command` is lines of Python that load the winner; None without a winner. `table` is the report's, if there is
    one: see `verdict`.
    """
    first, *further = verdict(result, table)
    lines = [f"### {first}", "", *(f"- {line}" for line in further), "", *_trial_lines(result)]
    return "\n".join([*lines, *(_code("Load the winner:", load_command))])


def running_description(
    result: SweepResult,
    total: int,
    doing: str,
    now: datetime.datetime,
    head: str = "Running",
    further_seeds: int | None = None,
) -> str:
    """Return the Markdown description of a sweep that runs, was interrupted or failed, for the sweep's MLflow run.

    Args:
        result: Result so far. Its `best` comes from `rows.best_so_far`.
        total: Number of trials of the whole sweep, if nothing ends the sweep early.
        further_seeds: Number of further seeds that are trained beside these trials; 0 if it is not known, None if
            `total` counts every seed.
        doing: Current activity of the sweep, in words.
        now: Time at which the description is made. The text contains it.
        head: State of the sweep in one word: `Running`, `Interrupted` or `Failed`.
    """
    ended = [record for record in result.records if record.ended]
    later = [] if further_seeds is None else [record for record in ended if record.seed_index > 0]
    done = len(ended) - len(later)
    of = f" of {max(further_seeds, len(later))}" if further_seeds else ""
    seeds = f", {len(later)}{of} further {'seed' if len(later) == 1 and not of else 'seeds'}" if later else ""
    best = "No trial has a value yet."
    if result.winner is not None:
        best = f"Best so far on {chosen_on(result.metric)}: {best_trial(result)}."
    lines = [f"### {head}: {done} of {count(max(total, done), 'trial')}{seeds} done", ""]
    lines += [f"- As of {now:%Y-%m-%d %H:%M}: {doing}.", f"- {best}"]
    lines += [f"- {sentence}" for outcome in _FAILURES if (sentence := _failures(result.records, outcome))]
    table = _trial_lines(result)
    return "\n".join([*lines, "", *(table if len(table) > 2 else [])])  # without rows it is only a head


def _failures(records: Sequence[TrialRecord], outcome: Outcome) -> str | None:
    names = [record.name for record in records if record.outcome == outcome]
    if not names:
        return None
    more = [f"{len(names) - NAMED} more"] if len(names) > NAMED else []
    return f"{count(len(names), 'trial')} {outcome}: {', '.join(names[:NAMED] + more)}."


def ablation_description(table: AblationTable, sentences: Sequence[str], load_command: str | None) -> str:
    """Return the Markdown description of the ablation `table` for the sweep's MLflow run, of about 5000 characters.

    `sentences` are the summary of the table, see `summary_sentences`. `load_command` is lines of Python that load the
    winner; None without a winner.
    """
    lines = [f"### {escape(sentences[0])}", ""] if sentences else []
    lines += [*(f"- {escape(sentence)}" for sentence in sentences[1:]), "", escape(texts.caption(table)), ""]
    titles = [
        "row",
        *texts.name_titles(table),
        texts.count_title(table),
        full_title(table.metric),
        "beside the baseline",
    ]
    rows = [
        [
            row.name,
            *texts.name_cells(table, row),
            texts.seeds(row, table.metric),
            texts.value(row.estimates.get(table.metric)),
            beside_baselines(row),
        ]
        for row in table.rows
    ]
    head, rule, *body = table_lines(titles, rows, len(titles))
    lines += [head, rule, *cut_to_room(body, "in the report")]
    lines += ["", "The whole report: artifacts, `report/index.html`."]
    winner = f"Load the winner ({texts.protocol(table.protocol)}; first seed of the best mean):"
    return "\n".join([*lines, *_code(winner, load_command)])


def trial_description(record: TrialRecord, metric: str, test: Mapping[str, float] | None = None) -> str:
    """Return the Markdown description of an ended trial's run: best value, how it ended, and parameters.

    `metric` is the metric that the sweep maximises. `test` has the trial's metrics on the test classes; None if it was
    not evaluated on them.
    """
    best, label = record.best(metric), full_title(metric)
    value = f"{label} {best[0]:.2f} in epoch {best[1]}" if best is not None else f"no value of {label}"
    parts = [value]
    if (known := (test or {}).get(test_key(metric))) is not None:
        parts.append(f"{full_title(test_key(metric))} {known:.2f}")
    epochs = f"{record.epochs} of {count(int(record.config['epochs']), 'epoch')}"
    why = f": {last_line(record.error)}" if record.error else ""
    searched = ", ".join(f"{key} {describe_value(drawn)}" for key, drawn in record.best_parameters(metric).items())
    lines = [
        searched or "nothing is searched in this arm: its parameters are those of the sweep file",
        f"{said_outcome(record.outcome)}, {epochs} trained, seed {record.seed}{why}",
        *record.notes,
    ]
    return "\n".join([f"### {escape(', '.join(parts))}", "", *(f"- {escape(line)}" for line in lines)])


def registered_description(sweep: str, load_command: str) -> str:
    """Return the Markdown description of the registered model of the sweep `sweep`, for all of its versions.

    `load_command` is lines of Python that load the version with the alias `champion`.
    """
    what = f"Embedding models from the sweep `{sweep}`, which give inputs of one class vectors near each other."
    which = "Each launch registers its best trial, and gives it the alias `champion`."
    return "\n".join([what, which, *_code("Load the champion:", load_command)])


def version_description(result: SweepResult, splits: Sequence[str], load_command: str) -> str:
    """Return Markdown on the winner of `result`, for the page of its registered version.

    Args:
        result: Result of the launch, which has a winner.
        splits: Texts on the winner's images, such as `training 8304 of 692 classes`.
        load_command: Lines of Python that load this version.
    """
    winner, metric = result.winner, result.metric
    assert winner is not None
    best, data = winner.best(metric), winner.config["data"]["name"]
    tested = result.tests.get(winner.name) or result.test.get(winner.arm) or {}
    values = {full_title(metric): None if best is None else best[0]}
    values |= {full_title(key): value for key, value in tested.items() if key == test_key(metric)}
    numbers = ", ".join(f"{title} {value:.2f}" for title, value in values.items() if value is not None)
    lines = [f"- Weights: trial `{winner.name}` (seed {winner.seed}), epoch {best and best[1]}: {escape(numbers)}"]
    lines += [f"- Images: {escape(data)}, {escape(', '.join(splits))}"]
    lines += [f"- {key}: {escape(describe_value(value))}" for key, value in winner.best_parameters(metric).items()]
    return "\n".join([*lines, *_code("Load this version:", load_command)])


def _code(head: str, load_command: str | None) -> list[str]:
    return ["", head, "", "```python", load_command, "```"] if load_command else []
