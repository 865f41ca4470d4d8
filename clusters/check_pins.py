"""Check that the packages of this Python are those that requirements.txt pins: python check_pins.py PROJECT."""

import sys
import tomllib
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from packaging.requirements import Requirement


def needed(project: Path) -> set[str]:
    """Return the names of the packages that the project imports."""
    table = tomllib.loads((project / "pyproject.toml").read_text())["project"]
    wanted = [*table["dependencies"], *table["optional-dependencies"]["cluster"]]
    return {Requirement(text).name for text in wanted}


def pins(project: Path) -> list[Requirement]:
    """Return the lines of requirements.txt that hold on this machine."""
    lines = (line.strip() for line in (project / "requirements.txt").read_text().splitlines())
    pinned = [Requirement(line) for line in lines if line and not line.startswith("#")]
    return [pin for pin in pinned if pin.marker is None or pin.marker.evaluate()]


def problems(project: Path) -> list[str]:
    """Return a line for each package that is not what is pinned, or not there."""
    names, found = needed(project), []
    for pin in pins(project):
        if pin.name not in names:
            continue
        try:
            installed = version(pin.name)
        except PackageNotFoundError:
            found.append(f"{pin.name}: not installed, pinned is {pin.specifier}")
            continue
        if not pin.specifier.contains(installed, prereleases=True):
            found.append(f"{pin.name}: {installed} is installed, pinned is {pin.specifier}")
    if sys.version_info[:2] != (3, 11):
        found.append(f"Python: {sys.version.split()[0]}, all nodes have 3.11")
    return found


if __name__ == "__main__":
    differences = problems(Path(sys.argv[1]))
    for difference in differences:
        print(difference, file=sys.stderr)
    sys.exit(bool(differences))
