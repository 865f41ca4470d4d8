"""Secrets in a cluster file, which others are meant to read and change."""

import re
from collections.abc import Iterator
from typing import Any

from mdr_tune.cluster.cluster_file import ClusterFile, Problem
from mdr_tune.config.yaml_lines import KeyPath

_SECRETS = (
    (re.compile(r"\b(AKIA|ASIA)[A-Z0-9]{16}\b"), "a key of AWS"),
    (re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----"), "a private key"),
    (re.compile(r"://[^/\s:@]+:[^/\s:@$]+@"), "a password in an address"),
    (
        re.compile(
            r"\b\w*(secret_access_key|password|passwd|secret|api_key|token)\w*\s*=\s*['\"]?[^\s'\"$;/~]+", re.IGNORECASE
        ),
        "a password or token",
    ),
    (re.compile(r"--(password|secret|api-key|token)[ =]['\"]?[^\s'\"$;/~-]"), "a password or token"),
    (re.compile(r"\b(echo|printf)\b[^$`;&|]*>\s*\S*auth_token"), "Ray's token"),
    (re.compile(r"\b(ghp|github_pat|hf|glpat)_[A-Za-z0-9_]{20,}"), "a token"),
)
_WHERE = (
    "keep it out of this file: a role of the machine (IamInstanceProfile), or a file in file_mounts that only you read"
)


def check_secrets(cluster: ClusterFile) -> Iterator[Problem]:
    """Yield where a key, password or token is written; the message does not repeat it."""
    if "aws_credentials" in cluster.provider:
        yield Problem(("provider", "aws_credentials"), f"keys of AWS: {_WHERE}; your own are in ~/.aws")
    for path, text in _texts(cluster.tree, ()):
        what = next((what for pattern, what in _SECRETS if pattern.search(text)), None)
        if what is not None and path[:2] != ("provider", "aws_credentials"):
            yield Problem(path, f"{what} is written here: {_WHERE}")


def _texts(value: Any, path: KeyPath) -> Iterator[tuple[KeyPath, str]]:
    if isinstance(value, dict):
        for key, item in value.items():
            yield from _texts(item, (*path, str(key)))
    elif isinstance(value, list):
        for i, item in enumerate(value):
            yield from _texts(item, (*path, str(i)))
    elif isinstance(value, str):
        yield path, value
