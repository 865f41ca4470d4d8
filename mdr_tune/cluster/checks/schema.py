"""Check a cluster file with Ray's own code."""

import copy
import logging
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from io import StringIO
from typing import Any

from mdr_tune.cluster.cluster_file import ClusterFile, Problem


def completed(cluster: ClusterFile) -> tuple[dict[str, Any], list[Problem]]:
    """Return the contents of `cluster` with Ray's defaults, as `ray up` uses them, and the problems in the file.

    Problems are errors that Ray finds, a provider other than `aws` or `local`, and missing addresses of machines. If
    there are problems, the contents are empty.
    """
    from mdr_tune.lanes.ray_seams import prepare_config, validate_config

    provider = cluster.provider.get("type")
    if provider not in ("aws", "local"):
        known = "aws or local (machines of your own): others were not tried with this program"
        return {}, [Problem(("provider", "type"), f"expected {known}, got {provider!r}")]
    if provider == "local":
        missing = [key for key in ("head_ip", "worker_ips") if key not in cluster.provider]
        if missing:
            return {}, [Problem(("provider", key), "is missing") for key in missing]
    try:
        with _silence():
            effective: dict[str, Any] = prepare_config(copy.deepcopy(cluster.tree))
            validate_config(effective)
    except Exception as error:  # Ray raises whatever its code runs into
        message = getattr(error, "message", None) or str(error) or type(error).__name__
        path = tuple(str(part) for part in getattr(error, "absolute_path", ()))
        return {}, [Problem(path, f"Ray refuses it: {message}")]
    return effective, []


@contextmanager
def _silence() -> Iterator[None]:
    """Suppress Ray's output within the block. Ray prints remarks on Docker, which this project does not use."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with redirect_stdout(StringIO()), redirect_stderr(StringIO()):
            yield
    finally:
        logging.disable(before)
