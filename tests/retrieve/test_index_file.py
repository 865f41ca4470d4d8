"""The file of embeddings: what is written is read again, in blocks, and half a file is none."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from mdr_tune.retrieve import index_file, read_index
from mdr_tune.retrieve.index_file import writing_index
from mdr_tune.util.errors import UserError
from tests.retrieve.make import info, write


def test_what_is_written_is_read(tmp_path: Path) -> None:
    embeddings = torch.randn(23, 5)
    index = write(tmp_path / "e.parquet", embeddings, run_id="r1")
    assert len(index) == 23
    assert index.info == info(run_id="r1")
    assert index.paths[3].as_py() == "c/3.png"
    assert index.labels.to_pylist()[:4] == [None, "c", "c", None]
    assert torch.equal(index.embeddings(), embeddings)


def test_blocks_put_together_are_the_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(index_file, "_ROW_GROUP_NUMBERS", 35)  # 7 rows: several row groups
    embeddings = torch.randn(23, 5)
    index = write(tmp_path / "e.parquet", embeddings)
    assert pq.ParquetFile(index.file).num_row_groups == 4
    for rows in (1, 4, 7, 10, 100):
        blocks = list(index.blocks(rows))
        assert torch.equal(torch.cat([block for _, block in blocks]), embeddings)
        assert all(len(block) <= rows for _, block in blocks)
        assert [start for start, _ in blocks] == [sum(len(b) for _, b in blocks[:i]) for i in range(len(blocks))]


def test_anything_reads_the_columns(tmp_path: Path) -> None:
    """The file is plain Parquet, for who has other tools."""
    embeddings = torch.randn(3, 2)
    table = pq.read_table(write(tmp_path / "e.parquet", embeddings).file)
    assert table.schema.names == ["path", "label", "embedding"]
    assert table.schema.field("embedding").type == pa.list_(pa.float32(), 2)
    assert table["embedding"].to_pylist() == embeddings.tolist()


def test_rows_of_paths(tmp_path: Path) -> None:
    index = write(tmp_path / "e.parquet", torch.randn(23, 5))
    assert index.rows_of(["c/22.png", None, "d/1.png", "c/0.png"]).tolist() == [22, -1, -1, 0]


def test_nothing_half_written_stays(tmp_path: Path) -> None:
    file = tmp_path / "e.parquet"
    before = write(file, torch.ones(2, 3)).file.read_bytes()

    def interrupted() -> None:
        with writing_index(file, info(), 3) as index:
            index.add(["a"], [None], torch.zeros(1, 3))
            index.flush()
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert file.read_bytes() == before
    assert list(tmp_path.iterdir()) == [file]


def test_mistakes(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="there is no file"):
        read_index(tmp_path / "none.parquet")
    (tmp_path / "text.parquet").write_text("path,label\n")
    with pytest.raises(UserError, match="cannot be read as Parquet"):
        read_index(tmp_path / "text.parquet")
    pq.write_table(pa.table({"path": ["a"]}), tmp_path / "other.parquet")
    with pytest.raises(UserError, match="was not made by `mdr-tune embed`"):
        read_index(tmp_path / "other.parquet")
    with pytest.raises(UserError, match="cannot write"), writing_index(tmp_path / "no" / "e.parquet", info(), 3):
        pass
    index = write(tmp_path / "e.parquet", torch.ones(2, 3))
    table = pq.read_table(index.file)
    for name, change, what in (
        ("path", [None, "a"], "has rows without a path: embed anew"),
        ("path", [1, 2], "or is damaged: give a file that was made so"),
        ("embedding", [[0.0] * 3] * 2, "or is damaged"),  # of any length
        ("embedding", pa.array([None, [0.0] * 3], pa.list_(pa.float32(), 3)), "cannot be read any more .*: embed anew"),
    ):
        changed = table.set_column(table.column_names.index(name), name, pa.array(change))
        pq.write_table(changed, tmp_path / "changed.parquet")
        with pytest.raises(UserError, match=what):
            read_index(tmp_path / "changed.parquet").embeddings()
    pq.write_table(table.slice(0, 0), tmp_path / "changed.parquet")
    with pytest.raises(UserError, match="has no rows: embed anew"):
        read_index(tmp_path / "changed.parquet")
    index.file.write_bytes(index.file.read_bytes()[:50])
    with pytest.raises(UserError, match="cannot be read any more"):
        index.embeddings()
