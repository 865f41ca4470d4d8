"""Ray's own validation of a cluster file."""

import copy
import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

from mdr_tune.cluster.cluster_file import ClusterFile, Problem
from mdr_tune.config.yaml_lines import KeyPath
from mdr_tune.util.registry import did_you_mean

_TYPES = {
    "object": "a mapping",
    "array": "a list",
    "string": "text",
    "integer": "a whole number",
    "number": "a number",
    "boolean": "true or false",
    "null": "nothing",
}


def check_schema(cluster: ClusterFile) -> Iterator[Problem]:
    """Yield what Ray's JSON schema says against the file as it is written; `ray up` would stop at the first."""
    from jsonschema import Draft7Validator  # type: ignore[import-untyped]

    if not_text := list(_keys_that_are_no_text(cluster.tree)):
        yield from not_text
        return
    for error in Draft7Validator(_schema()).iter_errors(cluster.tree):
        path = tuple(str(part) for part in error.absolute_path)
        if error.validator == "additionalProperties":
            known = list(error.schema.get("properties", {}))
            for key in sorted(set(map(str, error.instance)) - set(known)):
                yield Problem((*path, key), unknown_key(key, known))
        elif error.validator == "type":
            types = error.validator_value if isinstance(error.validator_value, list) else [error.validator_value]
            expected = " or ".join(_TYPES[kind] for kind in types)
            yield Problem(path, f"expected {expected}, got {error.instance!r}")
        elif error.validator == "required":
            for key in sorted(set(error.validator_value) - set(error.instance)):
                yield Problem((*path, key), "is missing")
        else:
            yield Problem(path, error.message)


def _keys_that_are_no_text(value: Any, path: KeyPath = ()) -> Iterator[Problem]:
    """Yield the keys that YAML 1.1 takes for numbers, dates or booleans: Ray's validation stumbles over them."""
    if isinstance(value, dict):
        for key, item in value.items():
            if not isinstance(key, str):
                yield Problem((*path, str(key)), f"expected text as a key, got {key!r}: put it in quotes")
            yield from _keys_that_are_no_text(item, (*path, str(key)))
    elif isinstance(value, list):
        for i, item in enumerate(value):
            yield from _keys_that_are_no_text(item, (*path, str(i)))


def completed(cluster: ClusterFile) -> tuple[dict[str, Any], list[Problem]]:
    """Return the file with Ray's defaults, as `ray up` completes it; and what Ray has against that."""
    from ray.autoscaler._private.util import prepare_config, validate_config

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


def unknown_key(key: str, known: list[str]) -> str:
    """Say that a key is unknown, and which was probably meant."""
    listed = f" Known here: {', '.join(known)}." if len(known) <= 20 else ""
    return f"unknown key.{did_you_mean(key, known)}{listed}"


@contextmanager
def _silence() -> Iterator[None]:
    """Keep back what Ray prints while it completes a file: remarks on Docker, which nothing here uses."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with redirect_stdout(StringIO()), redirect_stderr(StringIO()):
            yield
    finally:
        logging.disable(before)


def _schema() -> dict[str, Any]:
    import ray.autoscaler

    file = Path(ray.autoscaler.__file__).parent / "ray-schema.json"
    schema: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return schema
