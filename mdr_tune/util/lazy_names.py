"""Import the names of a package only when they are asked for, so that its light modules load alone."""

import importlib
from collections.abc import Mapping, Sequence
from typing import Any


def lazy_name(package: str, modules: Mapping[str, Sequence[str]], name: str) -> Any:
    """Return an object of a package by its name, for the package's `__getattr__` (PEP 562).

    Args:
        package: Dotted name of the package.
        modules: Names that each module of the package offers, by the module's name.
        name: Name that is asked for.

    Raises:
        AttributeError: No module offers the name.
    """
    for module, names in modules.items():
        if name in names:
            return getattr(importlib.import_module(f"{package}.{module}"), name)
    raise AttributeError(f"module {package!r} has no attribute {name!r}")
