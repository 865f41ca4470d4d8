"""What a session finds of an earlier session's test."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from mdr_tune.sweep.run import SweepRun
from tests.sweep.make import Heard, make_record, make_sweep


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
