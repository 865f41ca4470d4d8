"""Describe a sweep's run in the MLflow UI, in Markdown: while the sweep runs, at its end, and for an ablation."""

import datetime
from collections.abc import Iterable, Sequence

from mdr_tune.records.objectives import chosen_on
from mdr_tune.records.trial_record import Outcome, SweepResult, TrialRecord, standing
from mdr_tune.report.names import full_title, test_key, value_titles
from mdr_tune.report.output import texts
from mdr_tune.report.output.markdown import escape, table_lines
from mdr_tune.report.rows import AblationTable, Row, best_of, result_rows, said_outcome, said_parameters
from mdr_tune.report.sentences import beside_baselines, best_trial, verdict
from mdr_tune.util.words import count

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
    start, then the best configuration of each baseline. The value of a configuration is the mean over its seeds.
    """
    rows = result_rows(result)
    main = [r for r in rows if r.first.arm == result.main_arm and best_of(r.trials[0], r.metric) is not None]
    if not result.shows_all:
        main.sort(key=lambda row: standing(row.value, result.finalists), reverse=True)
        del main[BEST_TRIALS_SHOWN:]
    baselines = [record.config_name for arm, record in result.best.items() if arm != result.main_arm]
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
    return head + _cut_to_room([_line(row) for row in cells], "`mdr-tune leaderboard` shows all trials")


def _line(cells: Iterable[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _cut_to_room(rows: Sequence[str], where: str) -> list[str]:
    """Return as many of the Markdown lines `rows` as fit into `ROOM` characters.

    If rows are left out, a last line says how many, and ends with `where`, the place where all rows can be read.
    """
    left = ROOM
    for number, row in enumerate(rows):
        left -= len(row) + 1
        if left < 0:
            return [*rows[:number], "", f"{count(len(rows) - number, 'further row')}: {where}."]
    return list(rows)


def search_description(result: SweepResult, load_command: str | None) -> str:
    """Return the Markdown description of a search that has ended with `result`, for the sweep's MLflow run.

    `load_command` is lines of Python that load the winner; None without a winner.
    """
    first, *further = verdict(result)
    lines = [f"### {first}", "", *(f"- {line}" for line in further), "", *_trial_lines(result)]
    return "\n".join([*lines, *(_code("Load the winner:", load_command))])


def running_description(
    result: SweepResult, total: int, doing: str, now: datetime.datetime, head: str = "Running"
) -> str:
    """Return the Markdown description of a sweep that runs, was interrupted or failed, for the sweep's MLflow run.

    Args:
        result: Result so far. Its `best` comes from `rows.best_so_far`.
        total: Number of trials of the whole sweep, if nothing ends the sweep early.
        doing: Current activity of the sweep, in words.
        now: Time at which the description is made. The text contains it.
        head: State of the sweep in one word: `Running`, `Interrupted` or `Failed`.
    """
    done = sum(record.ended for record in result.records)
    best = "No trial has a value yet."
    if result.winner is not None:
        best = f"Best so far on {chosen_on(result.metric)}: {best_trial(result)}."
    lines = [f"### {head}: {done} of {count(max(total, done), 'trial')} done", ""]
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
        texts.seeds_title(table),
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
    lines += [head, rule, *_cut_to_room(body, "in the report")]
    lines += ["", "The whole report: artifacts, `report/index.html`."]
    winner = f"Load the winner ({texts.protocol(table.protocol)}; first seed of the best mean):"
    return "\n".join([*lines, *_code(winner, load_command)])


def _code(head: str, load_command: str | None) -> list[str]:
    return ["", head, "", "```python", load_command, "```"] if load_command else []
