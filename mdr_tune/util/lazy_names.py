"""Import the modules of a package only when their names are used, so that the package itself is imported quickly."""

import importlib
from collections.abc import Mapping, Sequence
from typing import Any


def lazy_name(package: str, modules: Mapping[str, Sequence[str]], name: str) -> Any:
    """Import the module of `package` that has the object `name`, and return the object.

    Python calls a package's `__getattr__`, which calls this function, for names that are not imported yet (PEP 562).
    `modules` maps each module of the package to the names in it. For any other name, AttributeError is raised.
    """
    for module, names in modules.items():
        if name in names:
            return getattr(importlib.import_module(f"{package}.{module}"), name)
    raise AttributeError(f"module {package!r} has no attribute {name!r}")
