"""What keeps the server running, seen from outside: systemd, or the supervisor of this package."""

from dataclasses import dataclass
from typing import Protocol

from mdr_tune.cluster.mlflow_server.server_process import ProcessId


@dataclass(frozen=True)
class ServiceState:
    """How the service is now.

    Attributes:
        process: The server's first process, None if it does not run (it may be about to be started again).
        restarts: How often the server was started again, since it was told to run.
    """

    process: ProcessId | None
    restarts: int


class Service(Protocol):
    """Something that runs `mdr-tune mlflow-server run`, and runs it again when it ends."""

    @property
    def description(self) -> str:
        """What it is, in a few words."""

    def start(self) -> str:
        """Keep the server running from now on.

        Returns:
            A sentence that says whether it also comes back after a reboot.

        Raises:
            UserError: It may not be set up here.
        """

    def stop(self) -> None:
        """End the server and what keeps it running, and forget it; nothing happens if there is nothing."""

    def state(self) -> ServiceState | None:
        """Return how it is, None if nothing keeps the server running."""
