from pathlib import Path

import pytest

from mdr_tune.config.datasets import GlyphsDataConfig
from mdr_tune.data import ImageDataset, load_dataset


@pytest.fixture(scope="session")
def glyphs_dataset(glyph_cache: Path) -> ImageDataset:
    return load_dataset(GlyphsDataConfig())
