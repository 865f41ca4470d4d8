"""Journals and plans that a disk has damaged: --resume goes on, or names the line, and never ends in a traceback."""

import json
from collections.abc import Iterable
from pathlib import Path
from random import Random
from typing import Any

import pytest

from mdr_tune.cluster.machine import Machine
from mdr_tune.lanes.lane_resources import LaneResources
from mdr_tune.records.journal import FILE, Journal, read_past
from mdr_tune.sweep.plan import Plan
from mdr_tune.sweep.stored_launches import PLAN, save_plan
from mdr_tune.sweep.stores import Stores
from mdr_tune.util.errors import UserError
from tests.fuzz.attempts import check_each, dry_run, some_seeds
from tests.sweep.make import METRIC, make_sweep

ODD: tuple[Any, ...] = (
    *(None, True, 0, -1, 10**30, 1.5, 1e308, float("nan"), float("inf"), "", "x", "mdr-001", "\0", "\ud800", "\u2028"),
    *(
        [],
        {},
        [[]],
        [None],
        ["a"],
        {"a": None},
        {"": 1},
        {"epoch": "x"},
        {"epoch": float("nan")},
        [1, 2, 3],
        {"seed": None},
    ),
)
LITTER = (
    b"\0" * 512,
    b"\xff\xfe",
    b"\n",
    b"\r",
    b"{",
    b"[" * 9000,
    b"null\n",
    b"NaN\n",
    b'{"event": "x"}\n',
    b"9" * 5000,
    b"",
)


def launch(storage: Path) -> Path:
    """Write plan and journal of a launch with two trials, one cut off, and no MLflow store; return its folder."""
    lanes = LaneResources(1, 1, 1, 0, 8, 120.0, 600.0)
    stores = Stores(storage, f"sqlite:///{storage / 'mlflow.db'}")
    sweep = make_sweep(resources={"workers_per_trial": 1})
    plan = Plan(
        sweep, storage / "sweep.yaml", "name: letters\n", (), stores, Machine(2, 0, "here"), lanes, None, "2026"
    )
    journal = Journal(plan.folder, print)
    save_plan(plan)
    journal.write("session", command="launch.py", lanes=1)
    config = sweep.trial.model_dump(mode="json")
    for number in range(2):
        name = f"mdr-{number + 1:03d}"
        parameters = {"mdr.weight": 0.1 + number}
        journal.write(
            "started", name=name, arm="mdr", number=number, seed_index=0, parameters=parameters, config=config
        )
        distances = {"epoch": 1, "same": [1] * 100, "different": [2] * 100, "levels": [0.0], "held": [1.0]}
        metrics = {"epoch": 1.0, METRIC: 50.0, "time/epoch_s": 2.0}
        journal.write("epoch", name=name, metrics=metrics, device="cpu", distances=distances)
        journal.write("checkpoint", name=name, epoch=1, folder="a")
        journal.write("note", name=name, text="its process was lost")
    journal.write("dropped", name="mdr-001", epochs=[1])
    journal.write("changed", name="mdr-002", epoch=1, source="mdr-001", parameters={"mdr.weight": 0.2})
    journal.write("ended", name="mdr-001", outcome="completed", error=None)
    journal.write("searched", arm="mdr")
    journal.write("extended", trials=2)
    journal.write("tested", name="mdr-001", epoch=1, metrics={"test/recall_at_1": 40.0})
    journal.close()
    return plan.folder


def damaged(data: bytes, random: Random) -> bytes:
    """Return JSON, a value a line, with something changed: bytes, lines, or values."""
    lines = data.splitlines(keepends=True)
    i, j = random.randrange(len(lines)), random.randrange(len(lines))
    at = random.randrange(len(data))
    match random.randrange(7):
        case 0:
            return data[:at] + random.choice(LITTER) + data[at + random.choice((0, 1, 9)) :]
        case 1:
            return data[:at]
        case 2:
            del lines[i]
        case 3:
            lines.insert(j, lines[i])
        case 4:
            lines[i], lines[j] = lines[j], lines[i]
        case _:
            lines[i] = _changed_value(lines[i], random)
    return b"".join(lines)


def _changed_value(line: bytes, random: Random) -> bytes:
    try:
        value = json.loads(line)
        holder, key = random.choice(list(_places(value)))
    except (ValueError, LookupError, AttributeError, TypeError, RecursionError):  # damaged before, or nothing in it
        return line
    match random.randrange(4):
        case 0:
            del holder[key]
        case 1 if isinstance(holder, dict):
            holder[str(random.choice(ODD))] = holder.pop(key)
        case _:
            holder[key] = random.choice(ODD)
    return json.dumps(value).encode() + b"\n"


def _places(value: Any) -> Iterable[tuple[Any, Any]]:
    for key, item in list(value.items() if isinstance(value, dict) else enumerate(value)):
        yield value, key
        if isinstance(item, dict | list):
            yield from _places(item)


@some_seeds
def test_a_damaged_launch_goes_on_or_is_refused(tmp_path: Path, seeds: range) -> None:
    folder = launch(tmp_path)
    whole = {name: (folder / name).read_bytes() for name in (FILE, PLAN)}
    whole[PLAN] = json.dumps(json.loads(whole[PLAN])).encode() + b"\n"

    def attempt(random: Random) -> None:
        for name, data in whole.items():
            (folder / name).write_bytes(data)
        name = random.choice((FILE, FILE, FILE, PLAN))
        data = whole[name]
        for _ in range(random.choice((1, 1, 3))):
            data = damaged(data, random) or data
        (folder / name).write_bytes(data)
        dry_run(tmp_path, "--resume", "letters", *random.choice(((), ("--extend", "2"))))

    check_each(seeds, attempt)


def test_a_damaged_line_is_named_and_what_stands_before_it_can_be_kept(tmp_path: Path) -> None:
    folder = launch(tmp_path)
    lines = (folder / FILE).read_bytes().splitlines(keepends=True)
    (folder / FILE).write_bytes(b"".join([*lines[:5], b"\0" * 512 + b"\n", *lines[6:]]))
    with pytest.raises(UserError, match=r"journal\.jsonl:6: is damaged, or of another version .* it is no JSON"):
        dry_run(tmp_path, "--resume", "letters")
    (folder / FILE).write_bytes(b"".join(lines[:5]))
    assert [record.name for record in read_past(folder).records] == ["mdr-001"]
    dry_run(tmp_path, "--resume", "letters")


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ('{"event": "by_name", "time": 1}', "'by_name' is no event that this version knows"),
        ('{"event": "epoch", "time": 1, "name": "mdr-9", "metrics": {"epoch": 1}}', "no trial 'mdr-9' was started"),
        ('{"event": "epoch", "time": 1, "name": "mdr-001", "metrics": {"epoch": "x"}}', "epoch: metrics.epoch: "),
        ('{"event": "ended", "time": 1, "name": "mdr-001", "outcome": "lost", "error": null}', "ended: outcome: "),
        ('{"event": "finished"}', "finished: time: Field required"),
        ("[1]", "None is no event that this version knows"),
    ],
)
def test_an_event_that_does_not_fit_is_named(tmp_path: Path, line: str, why: str) -> None:
    folder = launch(tmp_path)
    with (folder / FILE).open("a") as journal:
        journal.write(line + "\n")
    with pytest.raises(UserError) as caught:
        read_past(folder)
    number = len((folder / FILE).read_text().splitlines())
    assert f"{folder / FILE}:{number}: is damaged" in str(caught.value)
    assert why in str(caught.value)


def test_the_damaged_journal_of_another_sweep_is_in_nobody_s_way(tmp_path: Path) -> None:
    folder = launch(tmp_path)
    (folder / FILE).write_bytes(b"[" * 9000 + b"\n")
    space = Path(__file__).parents[2] / "search_spaces" / "mdr_levels.yaml"
    dry_run(tmp_path, "--space", str(space), "--set", "resources.workers_per_trial=1")
