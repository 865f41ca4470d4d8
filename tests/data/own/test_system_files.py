import re

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from mdr_tune.data.own.system_files import IN_PATH, is_kept_by_a_system

NAMES = ["@eaDir", "#recycle", "#snapshot", "$RECYCLE.BIN", "$Recycle.Bin", "System Volume Information", "lost+found"]
NAMES += [".Trash-1000", ".Trashes", ".ipynb_checkpoints", "__MACOSX", ".AppleDouble", ".thumbnails", "Thumbs.db"]
NAMES += ["@Recycle", ".@__thumb", "@Recently-Snapshot", "~snapshot", "._1.jpg", "found.000", "Icon\r"]
NAMES += ["@sharebin", "@Transcode", "Thumbs", "_gsdata_"]


@pytest.mark.parametrize("name", NAMES)
def test_what_systems_keep_is_told_by_its_name(name: str) -> None:
    assert is_kept_by_a_system(name)
    paths = [name, f"{name}/1.jpg", f"cat/{name}/a/1.jpg", f"/cat/{name}", f"cat/x{name}/1.jpg", f"cat/{name}x/1.jpg"]
    expected = [True] * 4 + [False, name == "._1.jpg" or name.startswith(".Trash-")]
    assert [re.search(IN_PATH, path) is not None for path in paths] == expected
    assert pc.match_substring_regex(pa.array(paths), IN_PATH).to_pylist() == expected


@pytest.mark.parametrize(
    "name", ["recycled", "trash", "lost", "found", "thumbnails", "thumbs", "snapshot", "eaDir", "@home", "1.jpg"]
)
def test_a_class_may_be_named_nearly_so(name: str) -> None:
    assert not is_kept_by_a_system(name)
