"""A sweep's part of a report for the tests of each format, and one in which everything that users write is hostile."""

from dataclasses import replace

from mdr_tune.report.output.section import Section, slugs
from tests.report.make_evidence import make_evidence
from tests.report.plots.plain_table import plain_table

HOSTILE = """<script>alert("a")</script> & 100 % of_it | [x](y) ]\\ {}$^~#`"""


def plain_section(seeds: int = 3) -> Section:
    """Return a section whose table is computed in the plainest way, without figures."""
    evidence = make_evidence(seeds=seeds)
    sentences = ["MDR gains 8 points over triplet."]
    return Section("ablation_demo", evidence, plain_table(evidence), sentences)


def hostile_section() -> Section:
    """Return one in which names, settings, notes, errors and the file are made of what each format must escape."""
    plain = plain_section()
    rows = [replace(row, method=f"{row.method} {HOSTILE}", setting=HOSTILE) for row in plain.table.rows]
    for trial in plain.evidence.sweep.trials:
        trial.record.error = HOSTILE if trial.record.error else None
    facts = replace(plain.evidence.facts, command=HOSTILE, sweep_file=HOSTILE, versions={HOSTILE: HOSTILE})
    evidence = replace(plain.evidence, sweep=replace(plain.evidence.sweep, name=HOSTILE), facts=facts)
    table = replace(plain.table, sweep=HOSTILE, data=HOSTILE, rows=rows, notes=[HOSTILE])
    return Section(slugs([HOSTILE])[0], evidence, table, [HOSTILE])
