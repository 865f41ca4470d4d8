"""What a session finds of an earlier session's test."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from mdr_tune.search.ledger import Ledger
from mdr_tune.sweep.run import SweepRun
from mdr_tune.sweep.search_run import ArmEnd, ArmRun
from tests.sweep.make import METRIC, Heard, make_arm, make_record, make_sweep


@pytest.mark.parametrize(("finalists", "best"), [(None, "mdr-003"), (2, "mdr-002")])
def test_the_best_of_an_arm_is_the_finalist_with_the_best_mean(finalists: int | None, best: str) -> None:
    """mdr-003 has the best single value, mdr-001 the better first seed of the two finalists."""
    values = {(0, 0): 60.0, (0, 1): 40.0, (1, 0): 55.0, (1, 1): 53.0, (2, 0): 59.0}
    records = [make_record(n, value, seed_index=k, outcome="completed") for (n, k), value in values.items()]
    search = {"seeds_per_trial": 2, "finalists": finalists}
    plan = cast(Any, SimpleNamespace(metrics=[METRIC], arms=[make_arm()], sweep=make_sweep(search=search)))
    nothing = cast(Any, None)
    ledger = Ledger(nothing, [METRIC], 2, False, [], records, num_finalists=finalists)
    found = SweepRun(plan, None, ledger, nothing, [], nothing)._best_of(plan.arms[0])
    assert found is not None
    assert found.name == best


@pytest.mark.parametrize("finalists", [None, 1])
def test_a_search_that_lacks_further_seeds_when_its_budget_ends_can_go_on(finalists: int | None) -> None:
    """The last first seed, in its last epoch, used the budget up: no trial is cut off."""
    records = [make_record(n, 50.0 + n, outcome="completed") for n in range(2)]
    nothing, over = cast(Any, None), "its GPU hours are used up"
    ledger = Ledger(nothing, [METRIC], 2, False, [], records, num_finalists=finalists)
    rules = cast(Any, SimpleNamespace(out_of_budget=lambda _: over, closed=lambda _: over))
    plan = cast(Any, SimpleNamespace(sweep=make_sweep()))
    run = ArmRun(plan, make_arm(trials=2), None, ledger, nothing, rules, lambda: False)
    why = over if finalists is None else f"{over}, before its finalists had all of their seeds"
    assert run._end(has_nothing_new=False) == ArmEnd(why, can_go_on=True)
    for n in (0, 1):
        ledger._by_name[f"mdr-00{n + 1}.2"] = make_record(n, 1.0, seed_index=1, outcome="completed")
    assert run._end(has_nothing_new=False) == ArmEnd(None, can_go_on=False)


@pytest.mark.parametrize("file", ["queries.parquet", "nothing"])
def test_details_that_are_damaged_are_left_out_and_said(tmp_path: Path, file: str) -> None:
    heard, record = Heard(), make_record(0, 50.0)
    arms = [SimpleNamespace(name="mdr")]
    plan = cast(Any, SimpleNamespace(folder=tmp_path, metrics=["m"], arms=arms, sweep=make_sweep()))
    ledger, listener, nothing = cast(Any, SimpleNamespace(records=[])), cast(Any, heard), cast(Any, None)
    run = SweepRun(plan, None, ledger, nothing, [listener], nothing)
    assert run._known_details(record) is None
    assert heard.events == []
    (tmp_path / "test" / record.name).mkdir(parents=True)
    (tmp_path / "test" / record.name / file).write_bytes(b"\x94\xf3" * 100)
    assert run._known_details(record) is None
    ((event, text),) = heard.events
    assert event == "stage"
    assert text.startswith(f"the details of mdr-001's test in {tmp_path}/test/mdr-001 cannot be read (")
