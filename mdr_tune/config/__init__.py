"""What a user writes: one trial (`trial`), the search space (`space`), one sweep (`sweep`), and its YAML (`load`).

Pydantic only: neither torch nor ray is imported when these modules are. The names below are imported when they are
asked for.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mdr_tune.config.load import read_sweep
    from mdr_tune.config.sweep import SweepConfig
    from mdr_tune.config.trial import BackboneConfig, BatchConfig, EmbeddingConfig, MDRConfig, TrialConfig

__all__ = [
    "BackboneConfig",
    "BatchConfig",
    "EmbeddingConfig",
    "MDRConfig",
    "SweepConfig",
    "TrialConfig",
    "read_sweep",
]
_MODULES = {"SweepConfig": "sweep", "read_sweep": "load"}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_MODULES.get(name, 'trial')}"), name)


def __dir__() -> list[str]:
    return __all__
