"""The configuration that a user writes in a sweep file: its sections, its checks, and `read_sweep`, which reads it.

Importing this package imports neither torch nor Ray. Each name in `__all__` is imported when it is first used.
"""

from typing import TYPE_CHECKING, Any

from mdr_tune.util.lazy_names import lazy_name

if TYPE_CHECKING:
    from mdr_tune.config.datasets import read_data
    from mdr_tune.config.heads import EmbeddingConfig
    from mdr_tune.config.sweep import SweepConfig
    from mdr_tune.config.sweep_reading import read_sweep
    from mdr_tune.config.trial import BackboneConfig, BatchConfig, MDRConfig, TrialConfig

__all__ = [
    "BackboneConfig",
    "BatchConfig",
    "EmbeddingConfig",
    "MDRConfig",
    "SweepConfig",
    "TrialConfig",
    "read_data",
    "read_sweep",
]
_MODULES = {
    "datasets": ["read_data"],
    "heads": ["EmbeddingConfig"],
    "sweep_reading": ["read_sweep"],
    "sweep": ["SweepConfig"],
    "trial": ["BackboneConfig", "BatchConfig", "MDRConfig", "TrialConfig"],
}


def __getattr__(name: str) -> Any:
    return lazy_name(__name__, _MODULES, name)


def __dir__() -> list[str]:
    return __all__
