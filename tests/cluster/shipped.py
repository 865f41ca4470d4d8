"""The cluster files of the repository, with the lines marked SET set, in a home that has key and token."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

PROJECT = Path(__file__).parents[2]
AWS, ONPREM = PROJECT / "cluster.yaml", PROJECT / "clusters" / "onprem.yaml"
GROUP = "sg-0123456789abcdef0"


def make_home(home: Path) -> Path:
    """Make a home with an ssh key and a token of Ray's."""
    for name in (".ssh/mdr_tune", ".ray/auth_token"):
        file = home / name
        file.parent.mkdir(parents=True)
        file.write_text("not a real one\n")
        file.chmod(0o600)
    return home


def with_values_set(text: str) -> str:
    """Return the text of a shipped file as a user has set it."""
    for example, own in (
        ("sg-00000000000000000", GROUP),
        ("192.0.2.10", "10.1.0.10"),
        ("192.0.2.11", "10.1.0.11"),
        ("192.0.2.12", "10.1.0.12"),
    ):
        text = text.replace(example, own)
    return text


def changed(shipped: Path, target: Path, change: Callable[[dict[str, Any]], object]) -> Path:
    """Write a shipped file, set and then changed, to `target`."""
    tree = yaml.safe_load(with_values_set(shipped.read_text()))
    change(tree)
    target.write_text(yaml.safe_dump(tree, sort_keys=False))
    return target
