"""The description of an ablation's run in the MLflow UI: what was found, the table, how to load the winner."""

from collections.abc import Sequence

from mdr_tune.report.ablation_table import AblationTable, TableRow
from mdr_tune.report.output import texts
from mdr_tune.report.output.markdown import escape, table_lines
from mdr_tune.report.trial_table import cut_to_room


def ablation_description(table: AblationTable, sentences: Sequence[str], load_command: str | None) -> str:
    """Return Markdown of at most some 5000 characters.

    Args:
        sentences: What was gained, in words.
        load_command: Lines that load the champion, if there is one.
    """
    lines = [f"### {escape(sentences[0])}", ""] if sentences else []
    lines += [*(f"- {escape(sentence)}" for sentence in sentences[1:]), "", escape(texts.caption(table)), ""]
    titles = ["row", *texts.name_titles(table), "seeds", texts.full_title(table.metric), "beside the baseline"]
    rows = [
        [
            row.name,
            *texts.name_cells(table, row),
            texts.seeds(row, table.metric),
            texts.value(row.estimates.get(table.metric)),
            _beside(row),
        ]
        for row in table.rows
    ]
    head, rule, *body = table_lines(titles, rows, len(titles))
    lines += [head, rule, *cut_to_room(body, "in the report")]
    lines += ["", "The whole report: artifacts, `report/index.html`."]
    if load_command:
        lines += [
            "",
            f"Load the winner ({texts.protocol(table.protocol)}; first seed of the best mean):",
            "",
            "```python",
            load_command,
            "```",
        ]
    return "\n".join(lines)


def _beside(row: TableRow) -> str:
    found = [
        f"{texts.signed(d.estimate.mean)} {texts.spread(d.estimate)} over {d.label}: {d.verdict}"
        for d in row.differences
    ]
    return "; ".join(found)
