"""What a report says of a launch."""

from dataclasses import replace

from mdr_tune.report.ablation import ablation_table
from mdr_tune.report.output.what_was_run import failed_trials, how_the_numbers_were_made, protocol, state, what_was_run
from tests.report.make_evidence import make_evidence


def test_the_facts_are_the_launchs() -> None:
    evidence = make_evidence()
    facts = dict(what_was_run(evidence))
    assert facts["Trials"] == "17 completed, 1 diverged"
    assert facts["When"] == "started 2026-01-02 03:04, took 30m"
    assert facts["Training seeds"] == "0, 1, 2"
    without = replace(evidence, facts=replace(evidence.facts, commit=None, ended=None, command="x http://a:b@c"))
    facts = dict(what_was_run(without))
    assert "Git commit" not in facts
    assert facts["When"] == "started 2026-01-02 03:04"
    assert facts["Command"] == "x http://a:***@c"


def test_a_launch_that_did_not_end_is_called_that() -> None:
    evidence = make_evidence()
    assert state(evidence) is None
    killed = replace(evidence, sweep=replace(evidence.sweep, status="KILLED"))
    assert state(killed) == "This launch did not come to its end (killed): 18 of 18 trials that it started had ended."


def test_a_launch_without_an_end_runs_or_was_killed() -> None:
    evidence = make_evidence()
    running = replace(evidence, sweep=replace(evidence.sweep, status="RUNNING"))
    assert state(running) == (
        "This sweep still runs, or was killed: MLflow has no end of it. 18 of 18 trials that it started had ended when "
        "it was read, 2026-01-02 04:00."
    )


def test_how_epochs_were_chosen_is_said() -> None:
    evidence = make_evidence()
    assert "test classes had no say" in protocol(evidence)
    assert "chosen on the test classes" in protocol(replace(evidence, facts=replace(evidence.facts, protocol="paper")))


def test_the_statistics_that_were_used_are_told_and_no_others() -> None:
    evidence = make_evidence()
    of_seeds = " ".join(how_the_numbers_were_made(evidence, ablation_table(evidence)))
    evidence = make_evidence(seeds=1)
    of_one = " ".join(how_the_numbers_were_made(evidence, ablation_table(evidence)))
    assert ("Holm" in of_seeds, "bootstrap" in of_seeds) == (True, False)
    assert ("Holm" in of_one, "bootstrap" in of_one) == (False, True)


def test_of_a_traceback_the_last_line_is_told() -> None:
    evidence = make_evidence()
    failed = next(trial.record for trial in evidence.sweep.trials if trial.record.outcome == "diverged")
    failed.outcome, failed.error = "failed", "Traceback:\n  File a\nValueError: too few images\n\n"
    assert failed_trials(evidence) == [("mdr-001.3", "failed", "ValueError: too few images")]
    failed.error = "x" * 1000
    assert len(failed_trials(evidence)[0][2]) == 300
