"""The details of an evaluation as Parquet files, which any tool reads: `queries`, `class_centres` and `gallery`."""

import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mdr_tune.records.query_details import ShownImage, ShownQuery, TestDetails

if TYPE_CHECKING:
    import pyarrow as pa

QUERIES, CENTRES, GALLERY = "queries.parquet", "class_centres.parquet", "gallery.parquet"


def write_details(details: TestDetails, folder: Path) -> None:
    """Write three files into a folder.

    - `queries.parquet`: a row a query: `index`, `label`, `first_hit`, `average_precision`, `r_precision`.
    - `class_centres.parquet`: a row a class: `label`, `centre`, a list of D float32.
    - `gallery.parquet`: a row a picture: `kind`, `query`, `score`, `place` (0: the query itself, then its neighbours,
      the nearest first), `label`, `png`.
    """
    import pyarrow.parquet as pq

    for name, table in ((QUERIES, _queries(details)), (CENTRES, _centres(details)), (GALLERY, _gallery(details))):
        pq.write_table(table, folder / name)


def read_details(folder: Path) -> TestDetails:
    """Return what `write_details` was given.

    Raises:
        OSError: A file is missing.
        ValueError: A file is damaged.
    """
    import pyarrow.parquet as pq

    queries, centres = pq.read_table(folder / QUERIES), pq.read_table(folder / CENTRES)
    vectors = centres["centre"].combine_chunks()
    return TestDetails(
        labels=queries["label"].to_numpy(),
        first_hit=queries["first_hit"].to_numpy(),
        average_precision=queries["average_precision"].to_numpy(),
        r_precision=queries["r_precision"].to_numpy(),
        centre_labels=centres["label"].to_numpy(),
        centres=vectors.flatten().to_numpy().reshape(len(vectors), vectors.type.list_size),
        shown=_shown(pq.read_table(folder / GALLERY).to_pylist()),
    )


def _queries(details: TestDetails) -> "pa.Table":
    import pyarrow as pa

    return pa.table(
        {
            "index": np.arange(len(details.labels)),
            "label": details.labels,
            "first_hit": details.first_hit,
            "average_precision": details.average_precision,
            "r_precision": details.r_precision,
        }
    )


def _centres(details: TestDetails) -> "pa.Table":
    """Of fixed length: the file knows D even without a class."""
    import pyarrow as pa

    flat = pa.array(np.ascontiguousarray(details.centres, np.float32).ravel())
    vectors = pa.FixedSizeListArray.from_arrays(flat, details.centres.shape[1])
    return pa.table({"label": details.centre_labels, "centre": vectors})


def _gallery(details: TestDetails) -> "pa.Table":
    import pyarrow as pa

    rows = [
        {
            "kind": query.kind,
            "query": query.index,
            "score": query.score,
            "place": place,
            "label": picture.label,
            "png": _png(picture.pixels),
        }
        for query in details.shown
        for place, picture in enumerate([query.image, *query.neighbours])
    ]
    columns = {
        "kind": pa.string(),
        "query": pa.int64(),
        "score": pa.float64(),
        "place": pa.int64(),
        "label": pa.int64(),
        "png": pa.binary(),
    }
    return pa.Table.from_pylist(rows, schema=pa.schema(list(columns.items())))


def _shown(rows: list[dict[str, Any]]) -> list[ShownQuery]:
    """Put the pictures together again: each query is followed by its neighbours."""
    found: list[ShownQuery] = []
    for row in rows:
        picture = ShownImage(row["label"], _pixels(row["png"]))
        if row["place"] == 0:
            found.append(ShownQuery(row["kind"], row["query"], row["score"], picture, []))
        else:
            found[-1].neighbours.append(picture)
    return found


def _png(pixels: np.ndarray) -> bytes:
    """Return a picture, (1, H, W) or (3, H, W) uint8, as PNG, which loses nothing."""
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(pixels[0] if len(pixels) == 1 else np.moveaxis(pixels, 0, -1)).save(file, "PNG")
    return file.getvalue()


def _pixels(png: bytes) -> np.ndarray:
    from PIL import Image

    with Image.open(io.BytesIO(png)) as image:
        pixels = np.asarray(image)
    return pixels[None] if pixels.ndim == 2 else np.moveaxis(pixels, -1, 0)
