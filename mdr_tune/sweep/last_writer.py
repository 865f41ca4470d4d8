"""Find out which copy of a storage wrote last into the MLflow run of a launch. Only that copy may continue the run.

Each session of a launch has an id. The session first adds its id to `sessions.txt` in the launch's folder, then sets it
as a tag of the launch's run. So the tag's id is in the storage's file, unless another copy of the storage has written
into the run since. This also holds if the session is killed between the two steps, if the MLflow database is restored
from a back-up, and if the damaged end of a journal is deleted.
"""

import uuid
from pathlib import Path
from typing import TYPE_CHECKING

from mdr_tune.sweep.stores import Stores
from mdr_tune.tracking.tags import SESSION_TAG
from mdr_tune.util.errors import UserError
from mdr_tune.util.files import atomic_write

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

FILE = "sessions.txt"
"""Name of the file with the ids of a launch's sessions, one in each line, the latest session last."""


def new_session(folder: Path) -> str:
    """Add the id of a new session to the launch in `folder`; return the id."""
    session = uuid.uuid4().hex
    with atomic_write(folder / FILE) as file:
        file.write("".join(f"{line}\n" for line in [*_sessions(folder), session]).encode())
    return session


def claim(client: "MlflowClient", run_id: str, session: str, storage: Path) -> None:
    """Tag the launch's MLflow run `run_id` with the `session` that writes into it, and that session's `storage`."""
    client.set_tag(run_id, SESSION_TAG, f"{session} {storage}")


def check_last_writer(run: "Run", name: str, folder: Path, stores: Stores, own: Stores | None = None) -> None:
    """Check that no other copy of the launch in `folder` has written into the launch's `run` after this copy.

    A run without the tag that `claim` sets is accepted: an older version recorded the run, or a user deleted the tag.
    `name` is the sweep's name, and `stores` are this session's stores. `own` are the stores that --resume uses when no
    flag names an MLflow store; None if they are not known.

    Raises:
        UserError: Another copy has written into the run. The message names both copies and the ways to continue.
    """
    session, _, storage = run.data.tags.get(SESSION_TAG, "").partition(" ")
    if not session or session in _sessions(folder):
        return
    choices = []
    if own is not None and own.tracking_uri != stores.tracking_uri and (own.database is None or own.database.exists()):
        choices.append(f"go on in the store that belongs to it (--tracking-uri {own.shown_uri})")
    if storage != str(stores.storage):
        choices.append(f"go on with the other copy (--storage {storage})")
    choices.append(f"if that copy is lost, delete the tag {SESSION_TAG} of run {run.info.run_id} in MLflow")
    raise UserError(
        f"--resume {name}: {folder} was overtaken: another copy of it, in {storage}, has gone on since in the MLflow "
        f"store {stores.shown_uri}, and their trials would be mixed: {', or '.join(choices)}"
    )


def _sessions(folder: Path) -> list[str]:
    file = folder / FILE
    return file.read_text(errors="replace").split() if file.exists() else []
