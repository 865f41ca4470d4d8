"""Import the modules of a package only when their names are used, so that the package itself is imported quickly."""

import importlib
from collections.abc import Mapping, Sequence
from typing import Any


def lazy_name(package: str, modules: Mapping[str, Sequence[str]], name: str) -> Any:
    """Import the module that has a name of a package, and return the object. A package's `__getattr__` calls this.

    Python calls the `__getattr__` of a package for names that are not imported yet (PEP 562).

    Args:
        package: Dotted name of the package.
        modules: The names that each module of the package has. The keys are the names of the modules.
        name: Name of the object.

    Raises:
        AttributeError: `modules` does not list the name.
    """
    for module, names in modules.items():
        if name in names:
            return getattr(importlib.import_module(f"{package}.{module}"), name)
    raise AttributeError(f"module {package!r} has no attribute {name!r}")
