"""Find a launch of a sweep in the storage, and what is needed to go on with it."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from mdr_tune.cache_files import atomic_write
from mdr_tune.config.base import set_dotted
from mdr_tune.config.explain import explain
from mdr_tune.config.load import parse_yaml
from mdr_tune.config.space import searched
from mdr_tune.config.sweep import SweepConfig
from mdr_tune.errors import UserError
from mdr_tune.registry import nearest_name
from mdr_tune.sweep.journal import FILE as JOURNAL
from mdr_tune.sweep.journal import Past, lock
from mdr_tune.sweep.plan import Plan
from mdr_tune.sweep.stores import Stores
from mdr_tune.words import duration

PLAN = "plan.json"
VERSION = 1
MAY_CHANGE = ("resources.lanes", "resources.cpus_per_worker", "resources.gpus_per_worker", "search.stop")
MAY_CHANGE_TOO = ("resources.lane_restarts", "resources.stuck_worker_timeout_s", "resources.stalled_worker_timeout_s")
"""What --set may change of a sweep that goes on: nothing that the trials' numbers depend on."""


@dataclass(frozen=True)
class Stored:
    """A launch as its plan.json has it.

    Attributes:
        folder: Of the launch.
        file: The YAML that it was started with.
        text: What stood in it then.
        tracking_uri: Without a password.
    """

    folder: Path
    sweep: SweepConfig
    file: Path
    text: str
    tracking_uri: str

    @property
    def launch(self) -> str:
        """Name of the launch."""
        return self.folder.name


def save_plan(plan: Plan) -> None:
    """Write what --resume needs into the launch's folder."""
    content = {
        "version": VERSION,
        "sweep": plan.sweep.model_dump(mode="json"),
        "file": str(plan.file.absolute()),
        "text": plan.text,
        "tracking_uri": plan.stores.shown_uri,
    }
    with atomic_write(plan.folder / PLAN) as file:
        file.write(json.dumps(content, indent=2).encode())


def find_launch(stores: Stores, name: str) -> Stored:
    """Return the newest launch of a sweep.

    Raises:
        UserError: There is none, or it cannot be read.
    """
    sweeps = stores.storage / "sweeps"
    launches = sorted(path.parent for path in (sweeps / name).glob(f"*/{PLAN}")) if name else []
    if not launches:
        known = sorted({path.parent.parent.name for path in sweeps.glob(f"*/*/{PLAN}")})
        guess = nearest_name(name, known)
        there = f" Did you mean {guess}?" if guess else f" There: {', '.join(known)}." if known else ""
        raise UserError(f"--resume {name}: no such sweep in {sweeps}; --storage names another folder.{there}")
    return _read(launches[-1])


def _read(folder: Path) -> Stored:
    file = folder / PLAN
    try:
        content = json.loads(file.read_text())
        if content["version"] != VERSION:
            raise ValueError(f"it is of version {content['version']}, this program reads {VERSION}")
        sweep = SweepConfig.model_validate(content["sweep"])
    except (OSError, ValueError, KeyError) as error:
        raise UserError(f"{file}: cannot be read ({error}); the sweep cannot be resumed") from None
    return Stored(folder, sweep, Path(content["file"]), content["text"], content["tracking_uri"])


def with_overrides(stored: Stored, overrides: list[str]) -> SweepConfig:
    """Return the sweep with what --set changes.

    Raises:
        UserError: One of them would change the trials, or is not valid.
    """
    tree: dict[str, Any] = stored.sweep.model_dump(mode="json")
    for text in overrides:
        key, _, value = text.partition("=")
        if not any(key == allowed or key.startswith(f"{allowed}.") for allowed in (*MAY_CHANGE, *MAY_CHANGE_TOO)):
            raise UserError(
                f"--set {text}: a sweep that goes on keeps its trials as they are; only "
                f"{', '.join((*MAY_CHANGE, *MAY_CHANGE_TOO))} may be changed. For anything else launch it anew"
            )
        try:
            set_dotted(tree, key, parse_yaml(value))
        except yaml.YAMLError:
            raise UserError(f"--set {text}: {value!r} is not a YAML value") from None
    try:
        return SweepConfig.model_validate(tree)
    except ValidationError as error:
        problems = explain(error, SweepConfig)
        raise UserError("\n".join(f"--set {'.'.join(path)}: {message}" for path, message in problems)) from None


def check_not_running(folder: Path) -> None:
    """Check that no other process is at work on a launch.

    Raises:
        UserError: One is.
    """
    journal = folder / JOURNAL
    if journal.exists():
        with journal.open("rb") as file:
            lock(file, folder)


def check_budget(sweep: SweepConfig, past: Past) -> None:
    """Check that a sweep that goes on has time left.

    Raises:
        UserError: It has used up its budget.
    """
    limit = sweep.search.stop.time
    if limit is not None and past.used_s >= limit:
        raise UserError(
            f"--resume {sweep.name}: its time budget of {duration(limit)} is used up ({duration(past.used_s)} so far); "
            "give it more in all: --set search.stop.time=TIME"
        )


def check_can_extend(sweep: SweepConfig, trials: int) -> None:
    """Check that trials can be added to a sweep.

    Raises:
        UserError: They cannot; the message says why.
    """
    if trials < 1:
        raise UserError(f"--extend {trials}: give the number of trials to add, 1 or more")
    if sweep.search.sampler == "grid":
        raise UserError("--extend: a grid has all of its combinations already; launch a file with more choices")
    if sweep.search.scheduler.name == "pbt":
        raise UserError("--extend: a population cannot grow once it has begun; launch it anew with more trials")
    if not searched(sweep.space):
        raise UserError("--extend: nothing is searched, so that there is nothing to add")
