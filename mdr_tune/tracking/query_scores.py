"""Write an evaluation on the test classes into a trial's run, and read the details: the results query by query.

The details are three Parquet files, which any tool can read: `queries`, `class_centres` and `gallery`.
"""

import datetime
import io
import math
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from mlflow import MlflowClient
from mlflow.entities import Metric, RunTag

from mdr_tune.records.query_details import ShownImage, ShownQuery, TestDetails
from mdr_tune.tracking.epochs import entries_of
from mdr_tune.tracking.tags import CURVES_READ, TEST_READ_TAG

if TYPE_CHECKING:
    import pyarrow as pa

DETAILS_FOLDER = "test"
"""Artifact folder of a run with the files that `write_details` writes."""
QUERIES, CENTRES, GALLERY = "queries.parquet", "class_centres.parquet", "gallery.parquet"
_QUERY_COLUMNS = ("index", "label", "first_hit", "average_precision", "r_precision")


@dataclass(frozen=True)
class TestScores:
    """Results of one evaluation of a trial on the test classes.

    Attributes:
        epoch: Epoch whose checkpoint was evaluated.
        metrics: Values by metric name, such as `test/recall_at_1`.
        details: Results query by query; None if an earlier version of this program made the evaluation.
        when_ms: Time of the evaluation, in milliseconds since 1970.
        has_curves: Whether the test classes were also read after every epoch of the training.
    """

    __test__ = False  # for pytest: not a test

    epoch: int
    metrics: Mapping[str, float]
    details: TestDetails | None
    when_ms: int
    has_curves: bool

    def are_in(self, client: MlflowClient, run_id: str) -> bool:
        """Say whether an earlier session wrote these results into the run `run_id`.

        It is enough to look for one metric, because all metrics are written in one call, after the details.
        """
        first = next((key for key, value in self.metrics.items() if math.isfinite(value)), None)
        return first is not None and any(point.step == self.epoch for point in client.get_metric_history(run_id, first))

    def write_details(self, client: MlflowClient, run_id: str) -> None:
        """Write the details, if there are any, into the artifact folder `DETAILS_FOLDER` of the run `run_id`."""
        if self.details is None:
            return
        with tempfile.TemporaryDirectory() as folder:
            write_details(self.details, Path(folder))
            client.log_artifacts(run_id, folder, DETAILS_FOLDER)

    def entries(self) -> list[Metric | RunTag]:
        """Return the entries to write to MLflow: the metrics, and a tag with the time of the evaluation."""
        when = datetime.datetime.fromtimestamp(self.when_ms / 1000).isoformat(" ", "seconds")
        before = f"{CURVES_READ}; " if self.has_curves else ""
        read = RunTag(TEST_READ_TAG, f"{before}{when}, after epoch {self.epoch}")
        return [*entries_of(self.metrics, self.epoch, self.when_ms), read]


def write_details(details: TestDetails, folder: Path) -> None:
    """Write the `details` of an evaluation into `folder`, as three files.

    Most columns have the name of a field of `TestDetails` or `ShownQuery`, and mean the same. The other columns are
    explained below.

    - `queries.parquet`, a row for each query: `index` (of the query in the test split), `label`, `first_hit`,
      `average_precision`, `r_precision`, and each metric of `further` by its name.
    - `class_centres.parquet`, a row for each class: `label`, `centre` (a list of D float32).
    - `gallery.parquet`, a row for each picture, either a query that the report shows or a neighbour of it: `kind`,
      `query` (index of the query), `score`, `place` (0 for the query itself; 1, 2 and so on for its neighbours, the
      nearest first), `label`, `png`.
    """
    import pyarrow.parquet as pq

    for name, table in ((QUERIES, _queries(details)), (CENTRES, _centres(details)), (GALLERY, _gallery(details))):
        pq.write_table(table, folder / name)


def read_details(folder: Path) -> TestDetails:
    """Return the details that `write_details` wrote into `folder`.

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
        further={name: queries[name].to_numpy() for name in queries.column_names if name not in _QUERY_COLUMNS},
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
            **details.further,
        }
    )


def _centres(details: TestDetails) -> "pa.Table":
    """Return the table of class centres, whose dimension D is known even if the table has no rows."""
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
    """Return the queries with their neighbours, from the `rows` of the gallery: each query, then its neighbours."""
    found: list[ShownQuery] = []
    for row in rows:
        picture = ShownImage(row["label"], _pixels(row["png"]))
        if row["place"] == 0:
            found.append(ShownQuery(row["kind"], row["query"], row["score"], picture, []))
        else:
            found[-1].neighbours.append(picture)
    return found


def _png(pixels: np.ndarray) -> bytes:
    """Encode a picture, (1, H, W) or (3, H, W) uint8, as the bytes of a PNG file. PNG loses nothing."""
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(pixels[0] if len(pixels) == 1 else np.moveaxis(pixels, 0, -1)).save(file, "PNG")
    return file.getvalue()


def _pixels(png: bytes) -> np.ndarray:
    from PIL import Image

    with Image.open(io.BytesIO(png)) as image:
        pixels = np.asarray(image)
    return pixels[None] if pixels.ndim == 2 else np.moveaxis(pixels, -1, 0)
