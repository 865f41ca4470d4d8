"""Find an earlier launch of a sweep in the storage, and check what is needed to resume it."""

import contextlib
import json
import os
import sqlite3
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from mdr_tune.config.arms import arms
from mdr_tune.config.domains import describe_value, tell_apart
from mdr_tune.config.explain import explain
from mdr_tune.config.overrides import read_override
from mdr_tune.config.space import parameter_tree, searched, walk
from mdr_tune.config.space_checks import key_problems
from mdr_tune.config.strict_model import set_dotted
from mdr_tune.config.sweep import MOST_TRIALS, SweepConfig
from mdr_tune.records.journal import FILE as JOURNAL
from mdr_tune.records.journal import Past, lock
from mdr_tune.sweep.own_components import look_for_recorded_code
from mdr_tune.sweep.plan import Plan
from mdr_tune.sweep.stores import Stores, choose_stores
from mdr_tune.tracking.mlflow_database import check_whole, connect
from mdr_tune.util.errors import UserError
from mdr_tune.util.files import atomic_write
from mdr_tune.util.nearest_name import did_you_mean
from mdr_tune.util.sqlite_address import sqlite_options, sqlite_url
from mdr_tune.util.words import duration

PLAN = "plan.json"
STUDIES = "optuna.db"
"""Name of Optuna's database in the launch's folder. It has a study for each arm."""
VERSION = 2
"""Version of plan.json that this program writes. In a launch of version 1, the random draws of the search also depend
on the sweep's name, and two trials may have the same configuration; on a resume this stays so."""
MAY_CHANGE = ("resources.lanes", "resources.cpus_per_worker", "resources.gpus_per_worker", "search.stop")
MAY_CHANGE_TOO = (
    "code",
    "resources.lane_restarts",
    "resources.stuck_worker_timeout_s",
    "resources.stalled_worker_timeout_s",
    "resources.system_metrics",
)
"""Further keys, besides MAY_CHANGE, that --set may change on a resume. No trial's results depend on any of them."""


@dataclass(frozen=True)
class Stored:
    """A launch, read from its plan.json.

    Attributes:
        folder: Folder of the launch.
        file: YAML file that the launch was started with; `text` is its content at that time.
        tracking_uri: MLflow's tracking URI without a password.
        storage: Storage folder at the start of the launch; None if an older version started it and did not record the
            folder.
        legacy_draws: Whether plan.json has version 1; see `VERSION`.
    """

    folder: Path
    sweep: SweepConfig
    file: Path
    text: str
    tracking_uri: str
    storage: Path | None
    legacy_draws: bool = False

    @property
    def notes(self) -> list[str]:
        """Notes for the user on the peculiarities of this launch when it is resumed."""
        text = "an earlier version began this launch: as then, draws depend on the sweep's name, and may repeat"
        return [text] if self.legacy_draws else []

    @property
    def launch(self) -> str:
        """Name of the launch."""
        return self.folder.name


def save_plan(plan: Plan) -> None:
    """Write plan.json, which --resume needs, into the launch's folder."""
    content = {
        "version": VERSION,
        "sweep": plan.sweep.model_dump(mode="json"),
        "file": str(plan.file.absolute()),
        "text": plan.text,
        "tracking_uri": plan.stores.shown_uri,
        "storage": str(plan.stores.storage),
    }
    with atomic_write(plan.folder / PLAN) as file:
        file.write(json.dumps(content, indent=2).encode())


def find_launch(stores: Stores, name: str, code: str | None = None) -> Stored:
    """Return the newest launch of the sweep `name` in the storage of `stores`.

    `code` is the folder of the user's own modules, if they are no longer where the launch had them.

    Raises:
        UserError: There is no launch of the sweep, or the plan.json of the newest one cannot be read.
    """
    sweeps = stores.storage / "sweeps"
    launches = sorted(filter(_has_begun, (sweeps / name).glob("*"))) if name else []
    if not launches:
        known = sorted({path.parent.parent.name for path in sweeps.glob(f"*/*/{PLAN}")})
        there = did_you_mean(name, known) or (f" There: {', '.join(known)}." if known else "")
        raise UserError(f"--resume {name}: no such sweep in {sweeps}; --storage names another folder.{there}")
    return _read(launches[-1], code)


def _has_begun(folder: Path) -> bool:
    """Return whether a launch's `folder` has a plan.json or, if the plan was lost, a journal that is not empty."""
    journal = folder / JOURNAL
    return (folder / PLAN).exists() or (journal.is_file() and journal.stat().st_size > 0)


def _read(folder: Path, code: str | None) -> Stored:
    file = folder / PLAN
    try:
        content = json.loads(file.read_text())
        if content["version"] not in (1, VERSION):
            raise ValueError(f"it is of version {content['version']}, this program reads 1 and {VERSION}")
        tree = content["sweep"]
        look_for_recorded_code(tree.get("code") if isinstance(tree, dict) else None, code)
        sweep = _checked_sweep(tree)
        os.path.realpath(content.get("storage", ""))  # ValueError if it has a character that no path can have
        legacy_draws = content["version"] == 1
        if legacy_draws and (renamed := _named_by_more_digits(sweep)):
            raise ValueError(f"it is of version 1, which numbered the choices of {renamed} that are equal to 3 digits")
        return Stored(
            folder=folder,
            sweep=sweep,
            file=Path(content["file"]),
            text=str(content["text"]),
            tracking_uri=str(content["tracking_uri"]),
            storage=Path(content["storage"]) if "storage" in content else None,
            legacy_draws=legacy_draws,
        )
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        reason = f"it has no {error}" if isinstance(error, KeyError) else reason
        raise UserError(
            f"{file}: cannot be read ({reason}), so that the sweep cannot be resumed; restore it from a back-up, or "
            "launch the sweep anew with --space"
        ) from None


def _checked_sweep(tree: Any) -> SweepConfig:
    """Return the sweep configuration in `tree`, which plan.json contains.

    Raises:
        ValueError: The configuration is not valid. The message names each problem.
    """
    try:
        sweep = SweepConfig.model_validate(tree)
        problems = key_problems(sweep)
    except ValidationError as error:
        problems = explain(error, SweepConfig)
    if problems:
        raise ValueError("; ".join(f"{'.'.join(path) or 'sweep'}: {message}" for path, message in problems))
    return sweep


def choose_store(stored: Stored, storage: str | None, tracking_uri: str | None) -> Stores:
    """Return the stores of the resumed launch `stored`: those that it was launched with, unless flags name others.

    `storage` and `tracking_uri` are the values of the flags --storage and --tracking-uri, if given. If the storage was
    moved or copied, and the launch's MLflow store is a file in the storage, the file at the new place is used. A
    password is not recorded, so a tracking URI with a password must be given again.

    Raises:
        UserError: The launch is a copy that would write into the runs of its original, or `choose_stores` refuses the
            stores.
    """
    if tracking_uri is not None or "***" in stored.tracking_uri:
        return choose_stores(storage, tracking_uri)
    stores = choose_stores(storage, stored.tracking_uri)
    recorded, before = stores.database, stored.storage
    was_moved = before is not None and os.path.realpath(before) != os.path.realpath(stores.storage)
    if before is None and recorded is not None and not os.path.exists(recorded):
        before, was_moved = recorded.parent, True  # a launch has its store in its storage unless told otherwise
    if not was_moved or before is None:
        return stores
    if recorded is not None and recorded.is_relative_to(before):
        moved = sqlite_url(stores.storage / recorded.relative_to(before), sqlite_options(stored.tracking_uri))
        return choose_stores(storage, moved)
    original = before / "sweeps" / stored.sweep.name / stored.launch
    if os.path.exists(original / JOURNAL):  # False too if a damaged plan has a name that is too long
        raise UserError(
            f"--resume {stored.sweep.name}: {stored.folder} is a copy of {original}, and both have their runs in "
            f"{stores.shown_uri}: go on with the original (--storage {before}), or launch the sweep anew"
        )
    return stores


def own_stores(stored: Stored, storage: str | None) -> Stores | None:
    """Return the stores with which --resume continues `stored` if no flag names an MLflow store.

    `storage` is the value of the flag --storage, if given. The result is None if `choose_store` refuses the stores.
    """
    try:
        return choose_store(stored, storage, None)
    except UserError:
        return None


def _named_by_more_digits(sweep: SweepConfig) -> str | None:
    """Return a key of `sweep` whose choices had other names in the studies of version 1; None if there is none.

    A study of version 1 with such a key cannot be continued.
    """
    for parameter in walk(parameter_tree(sweep.space)):
        sections = [choice for choice in parameter.domain.choice or [] if isinstance(choice, dict)]
        in_short, apart = map(describe_value, sections), tell_apart(sections, describe_value)
        if len(set(in_short)) < len(set(apart)) == len(sections):
            return parameter.key
    return None


def with_overrides(stored: Stored, overrides: list[str]) -> SweepConfig:
    """Return the sweep of the launch `stored` with the changes in `overrides`, the `KEY=VALUE` texts of --set.

    Raises:
        UserError: The key is not one that may be changed, or the value is not valid.
    """
    tree: dict[str, Any] = stored.sweep.model_dump(mode="json")
    for text in overrides:
        key, value = read_override(text, "resources.lanes=4")
        if not any(key == allowed or key.startswith(f"{allowed}.") for allowed in (*MAY_CHANGE, *MAY_CHANGE_TOO)):
            raise UserError(
                f"--set {text}: a sweep that goes on keeps its trials as they are; only "
                f"{', '.join((*MAY_CHANGE, *MAY_CHANGE_TOO))} may be changed. For anything else launch it anew"
            )
        set_dotted(tree, key, value)
    try:
        return SweepConfig.model_validate(tree)
    except ValidationError as error:
        problems = explain(error, SweepConfig)
        raise UserError("\n".join(f"--set {'.'.join(path)}: {message}" for path, message in problems)) from None


def check_not_running(folder: Path) -> None:
    """Raise UserError if another process is running the launch in `folder`."""
    journal = folder / JOURNAL
    if journal.exists():
        with journal.open("rb") as file:
            lock(file, folder)


def another_runs(folder: Path) -> bool:
    """Return whether another launch of the same sweep is running. The launch in `folder` itself does not count."""
    for journal in folder.parent.glob(f"*/{JOURNAL}"):
        try:
            if journal.parent != folder:
                check_not_running(journal.parent)
        except UserError:
            return True
    return False


def check_study(folder: Path) -> None:
    """Check that Optuna can open the studies of the launch in `folder`.

    Raises:
        UserError: The studies are damaged or of another version of Optuna. They can be rebuilt from the journal.
    """
    file = folder / STUDIES
    if not file.exists():
        return
    from optuna.exceptions import StorageInternalError
    from optuna.storages import RDBStorage
    from sqlalchemy.exc import SQLAlchemyError

    try:
        with contextlib.closing(connect(file)) as connection:
            check_whole(connection)
        RDBStorage(sqlite_url(file)).get_all_studies()
    except (sqlite3.Error, SQLAlchemyError, StorageInternalError, RuntimeError, ValueError) as error:
        cause = error.__cause__ if isinstance(error, StorageInternalError) else error
        reason = " ".join(str(getattr(cause, "orig", None) or cause).split())
        raise UserError(
            f"{file}: Optuna cannot open it ({reason}); move it away: it is made again from the journal"
        ) from None


def check_budget(sweep: SweepConfig, past: Past) -> None:
    """Raise UserError if a resumed `sweep`, whose journal is `past`, has used up its time budget."""
    limit = sweep.search.stop.time
    if limit is not None and past.used_s >= limit:
        raise UserError(
            f"--resume {sweep.name}: its time budget of {duration(limit)} is used up ({duration(past.used_s)} so far); "
            "give it more in all: --set search.stop.time=TIME"
        )


def check_can_extend(sweep: SweepConfig, trials: int, past: Past, legacy_draws: bool) -> None:
    """Raise UserError, which says why, if --extend cannot add `trials` trials to each arm of `sweep`.

    `past` is the journal, which has the earlier extensions. `legacy_draws` says whether plan.json has version 1; see
    `VERSION`.
    """
    if trials < 1:
        raise UserError(f"--extend {trials}: give the number of trials to add, 1 or more")
    if sweep.search.trials + sum(past.extensions) + trials > MOST_TRIALS:
        raise UserError(f"--extend {trials}: a search has at most {MOST_TRIALS:,} trials")
    if sweep.search.sampler_class.lists_all:
        raise UserError("--extend: a grid has all of its combinations already; launch a file with more choices")
    if sweep.search.scheduler.takes_over:
        raise UserError("--extend: a population cannot grow once it has begun; launch it anew with more trials")
    if not searched(sweep.space):
        raise UserError("--extend: nothing is searched, so that there is nothing to add")
    budgets = [arms(sweep, sum(past.extensions) + more, legacy_draws) for more in (0, trials)]
    if [arm.trials for arm in budgets[0]] == [arm.trials for arm in budgets[1]]:
        there_are = ", ".join(f"{arm.name} {arm.configurations}" for arm in budgets[0] if searched(arm.space))
        raise UserError(
            f"--extend: the trials that it has are all configurations of the space ({there_are}), so that there is "
            "nothing to add; launch a file with a larger space"
        )
