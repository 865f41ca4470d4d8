"""Reports with one figure, for tests of what is around it: all take seconds to draw."""

import contextlib
from collections.abc import Iterator

import pytest

from mdr_tune.report.plots.all_figures import FIGURES


@contextlib.contextmanager
def one_figure() -> Iterator[None]:
    """Let reports have the figure of Recall@K alone."""
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in FIGURES if name != "recall_at_k"]:
            patch.delitem(FIGURES, name)
        yield
