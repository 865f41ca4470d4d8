"""Everything that is needed to repeat a trial: configuration, versions, commit of the source, processor."""

import functools
import importlib.metadata
import importlib.util
import os
import platform
import re
import subprocess
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from mdr_tune import __version__
from mdr_tune.util.import_path import is_import_path, own_place
from mdr_tune.util.user_code import UserCode, changed_files
from mdr_tune.util.words import without_password

PACKAGES = (
    "torch",
    "torchvision",
    "numpy",
    "pillow",
    "ray",
    "optuna",
    "mlflow",
    "pytorch-metric-learning",
    "scipy",
)
GIT_TIMEOUT_S = 2.0
_SOURCE = Path(__file__).parent


def repeat_info(
    config: dict[str, Any], workers: int, threads: int, command: str, code: UserCode | None = None
) -> dict[str, Any]:
    """Return the configuration, versions, commit, machine and command of a trial, to repeat it later, as plain JSON.

    Facts that do not change while a process lives are looked up once, so that a call costs microseconds. The processor
    and the system are those of the driver's machine. The workers of a cluster may run on others.

    Args:
        config: Nested configuration of the whole trial, including the seed.
        workers: Number of DDP ranks. With another number, sums are rounded differently.
        threads: Number of torch's threads in each rank. With another number, sums are rounded differently.
        command: Command line that the user typed; passwords in it are masked.
        code: The user's own modules; None if the configuration names none. Their hashes are recorded.

    The versions of the installed packages that import paths in `config` lead to are recorded as `packages`.
    """
    names = [section.get("name") for section in config.values() if isinstance(section, dict)]
    packages = packages_of(name for name in names if isinstance(name, str))
    return {
        "config": config,
        "seed": config.get("seed"),
        "workers": workers,
        "threads": threads,
        "versions": versions(),
        "source": source(),
        "cpu": cpu(),
        "system": system(),
        "command": without_password(command),
        **({} if code is None else {"code": code.describe()}),
        **({"packages": packages} if packages else {}),
    }


def packages_of(names: Iterable[str]) -> dict[str, str]:
    """Return the versions of the installed packages that the import paths among `names` lead to, by package.

    The user's own modules, in the folder of `code`, belong to no package.
    """
    tops = {name.partition(":")[0].partition(".")[0] for name in names if is_import_path(name)}
    found = {package for top in tops if own_place(top) is None for package in _packages_with().get(top, [top])}
    return {package: version for package in sorted(found) if (version := version_of(package)) is not None}


@functools.cache
def _packages_with() -> Mapping[str, list[str]]:
    return importlib.metadata.packages_distributions()


@functools.cache
def versions() -> dict[str, str | None]:
    """Return the versions of Python, of this package and of its main dependencies, by name.

    CUDA and cuDNN are those that torch was built for. No package is imported. A missing package has the version None.
    """
    found: dict[str, str | None] = {"python": platform.python_version(), "mdr_tune": __version__}
    found.update({package: version_of(package) for package in PACKAGES})
    return {**found, "cuda": _cuda(), "cudnn": _cudnn()}


def version_of(package: str) -> str | None:
    """Return the version of the installed `package`; None if it is not installed."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _cuda() -> str | None:
    """Return torch's CUDA version, read from `torch/version.py`, as importing torch takes seconds; None if unknown."""
    spec = importlib.util.find_spec("torch")
    if spec is None or spec.origin is None:
        return None
    file = Path(spec.origin).parent / "version.py"
    found = re.search(r"^cuda[^=\n]*= *'([^']+)'", file.read_text(), re.MULTILINE) if file.exists() else None
    return found[1] if found else None


def _cudnn() -> str | None:
    """Return the version of the cuDNN package that torch requires; None if unknown."""
    try:
        required = importlib.metadata.requires("torch") or []
    except importlib.metadata.PackageNotFoundError:
        return None
    names = [found[0] for line in required if (found := re.match(r"nvidia-cudnn[\w-]*", line))]
    return version_of(names[0]) if names else None


@functools.cache
def source() -> dict[str, Any] | None:
    """Return the `commit` of the Git repository that this package runs from, and whether it is `dirty`.

    `dirty` means that files differ from the commit; untracked files do not count. None if there is no repository.
    """
    return source_of(_SOURCE)


def source_of(folder: Path) -> dict[str, Any] | None:
    """Return `commit` and `dirty`, as `source` does, of the repository that tracks the package in `folder`, or None."""
    # A package that was installed into some folder of a repository does not belong to that repository.
    if _git(folder, "ls-files", "--error-unmatch", "__init__.py") is None:
        return None
    commit, status = _git(folder, "rev-parse", "HEAD"), _git(folder, "status", "--porcelain", "--untracked-files=no")
    if commit is None or status is None:
        return None
    return {"commit": commit.strip(), "dirty": bool(status.strip())}


def _git(folder: Path, *arguments: str) -> str | None:
    """Return what git prints for `arguments` in `folder`; None if git is not installed, fails or takes too long."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith("GIT_")}  # set in git hooks
    command = ["git", "--no-optional-locks", "-C", str(folder), *arguments]
    try:
        done = subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=GIT_TIMEOUT_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None


@functools.cache
def cpu() -> str:
    """Return the model of the processor, by which numerical libraries choose their kernels."""
    file = Path("/proc/cpuinfo")
    found = re.search(r"^model name\s*: (.+)$", file.read_text(), re.MULTILINE) if file.exists() else None
    return found[1].strip() if found else platform.processor() or platform.machine()


@functools.cache
def system() -> str:
    """Return the operating system, the machine type and the C library, which provides mathematical functions."""
    return " ".join(part for part in (platform.system(), platform.machine(), *platform.libc_ver()) if part)


def differences(then: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """Return a line such as `torch: 2.14.1 then, 2.15.0 now` for each fact that differs between two runs.

    `then` and `now` are results of `repeat_info`. Configurations and commands are not compared.
    """
    old, new = _surroundings(then), _surroundings(now)
    changed = [key for key in {**old, **new} if old.get(key) != new.get(key)]
    lines = [f"{key}: {old.get(key, 'not known')} then, {new.get(key, 'not known')} now" for key in changed]
    files = [(info.get("code") or {}).get("files", {}) for info in (then, now)]
    if changed := changed_files(*files):
        lines.append(f"your code: {', '.join(changed)} changed since then")
    dirty = [when for when, info in (("then", then), ("now", now)) if (info.get("source") or {}).get("dirty")]
    if dirty:
        lines.append(f"source: files differ from the commit ({' and '.join(dirty)}), and how is not recorded")
    return lines


def _surroundings(info: dict[str, Any]) -> dict[str, str]:
    """Return the entries of `info` that `differences` compares, as text. Entries that are None are left out."""
    source = info.get("source") or {}
    found = {
        **info.get("versions", {}),
        **info.get("packages", {}),
        "commit": source.get("commit"),
        **{key: info.get(key) for key in ("cpu", "system", "device", "workers", "threads")},
    }
    return {key: str(value) for key, value in found.items() if value is not None}
