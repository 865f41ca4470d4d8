"""What the machines install: the project, its pinned packages, and no other versions of them."""

import os
import re
from collections.abc import Iterator
from pathlib import Path

from mdr_tune.cluster.checks.commands import Command, setup_commands, setups
from mdr_tune.cluster.cluster_file import ClusterFile, Problem, as_mapping

_NODE_SETUP = "setup_node.sh"
_PARTS = ("mdr_tune", "clusters", "launch.py", "requirements.txt", "pyproject.toml")
_BUCKET = re.compile(r"s3://BUCKET\b")
_NIGHTLY = re.compile(r"ray-wheels|\.dev\d+|nightly|^--pre$")
_OPTIONS_WITH_VALUE = ("-i", "-f", "-c", "--index-url", "--extra-index-url", "--find-links", "--constraint", "--python")


def check_project_is_copied(cluster: ClusterFile) -> Iterator[Problem]:
    """Yield parts of the project that nothing copies to the machines."""
    mounts = as_mapping(cluster.tree.get("file_mounts"))
    for part in _PARTS:
        remote = f"~/mdr_tune/{part}"
        if not _is_copied(remote, mounts):
            yield Problem(("file_mounts", remote), f"is missing: the machines need it; write {remote}: {part}")


def check_placeholders(cluster: ClusterFile) -> Iterator[Problem]:
    """Yield commands in which the example's bucket still stands."""
    for command in _all_setup(cluster):
        if any(_BUCKET.search(word) for word in command.words):
            yield Problem(command.path, "s3://BUCKET is an example: write the name of your bucket")


def check_project_is_installed(cluster: ClusterFile) -> Iterator[Problem]:
    """Yield kinds of machines on which nothing installs the project and its pinned packages."""
    for kind in ("head", "worker"):
        for path, commands in setups(cluster, kind):
            if not any(command.runs_script(_NODE_SETUP) for command in commands):
                instead = "; these commands take the place of the shared ones" if len(path) > 1 else ""
                yield Problem(
                    path, f"nothing installs the project: bash ~/mdr_tune/clusters/{_NODE_SETUP} does{instead}"
                )
    of_head = [command for command in setup_commands(cluster, "head") if command.runs_script(_NODE_SETUP)]
    if of_head and not any("--head" in command.words for command in of_head):
        yield Problem(
            of_head[-1].path,
            f"expected {_NODE_SETUP} --head: without it launch.py there looks for no cluster or MLflow",
        )


def check_scripts_are_there(cluster: ClusterFile) -> Iterator[Problem]:
    """Yield files of the project that a command runs and that nothing copies to the machines."""
    mounts = as_mapping(cluster.tree.get("file_mounts"))
    for command in _all_setup(cluster):
        for word in command.words[:2]:
            if word.startswith("~/mdr_tune/") and not _is_copied(word, mounts):
                yield Problem(command.path, f"{word}: no entry of file_mounts puts it there")


def check_versions(cluster: ClusterFile) -> Iterator[Problem]:
    """Yield packages that would be installed in another version than the one in requirements.txt, or a nightly one."""
    pins = _pins(Path("requirements.txt"))
    for command in _all_setup(cluster):
        if "pip" not in (word.rpartition("/")[2] for word in command.words) or "install" not in command.words:
            continue
        nightly = [word for word in command.words if _NIGHTLY.search(word)]
        if nightly:
            yield Problem(command.path, f"installs an unreleased version ({nightly[0]}); {_how_to_install()}")
            continue
        for name, text, fits in _installed(command, pins):
            if not fits:
                yield Problem(
                    command.path,
                    f"installs {text}, but requirements.txt pins {name}=={pins[name]}; {_how_to_install()}",
                )


def _how_to_install() -> str:
    return f"clusters/{_NODE_SETUP} installs what is pinned"


def _all_setup(cluster: ClusterFile) -> list[Command]:
    both = [*setup_commands(cluster, "head"), *setup_commands(cluster, "worker")]
    return [command for i, command in enumerate(both) if command not in both[:i]]


def _is_copied(remote: str, mounts: dict[str, object]) -> bool:
    for place, local in mounts.items():
        if remote == place or remote.startswith(f"{str(place).rstrip('/')}/"):
            below = remote[len(str(place).rstrip("/")) :].lstrip("/")
            return os.path.exists(Path(os.path.expanduser(str(local))) / below)
    return False


def _pins(file: Path) -> dict[str, str]:
    from packaging.requirements import Requirement

    if not file.is_file():
        return {}
    pins = {}
    for line in file.read_text(encoding="utf-8").splitlines():
        if line.strip() and not line.startswith("#"):
            requirement = Requirement(line)
            if requirement.marker is None or requirement.marker.evaluate({"python_full_version": "3.11.0"}):
                pins[requirement.name] = next(iter(requirement.specifier)).version
    return pins


def _installed(command: Command, pins: dict[str, str]) -> Iterator[tuple[str, str, bool]]:
    """Yield the pinned packages that a command names: name, what is asked for, and whether that can only be the pin."""
    from packaging.requirements import InvalidRequirement, Requirement
    from packaging.utils import canonicalize_name

    words = command.words[command.words.index("install") + 1 :]
    for before, word in zip(["", *words], words, strict=False):
        if word.startswith("-") or before in _OPTIONS_WITH_VALUE:
            continue
        try:
            requirement = Requirement(word)
        except InvalidRequirement:
            continue
        name = str(canonicalize_name(requirement.name))
        if name in pins:
            exact = any(part.operator == "==" for part in requirement.specifier)
            yield name, word, exact and requirement.specifier.contains(pins[name], prereleases=True)
