import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from mdr_tune.data import ImageDataset, load_dataset


@pytest.fixture(scope="session", autouse=True)
def glyphs_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A cache folder of this test run, so that the user's own is neither read nor written."""
    folder = tmp_path_factory.mktemp("cache")
    before = os.environ.get("MDR_TUNE_CACHE")
    os.environ["MDR_TUNE_CACHE"] = str(folder)
    yield folder
    if before is None:
        del os.environ["MDR_TUNE_CACHE"]
    else:
        os.environ["MDR_TUNE_CACHE"] = before


@pytest.fixture(scope="session")
def glyphs_dataset(glyphs_cache: Path) -> ImageDataset:
    return load_dataset("glyphs")
