"""Write into MLflow's runs which classes of a data set they used, so that MLflow can list and filter runs by them.

Each split is a data set of its own, such as `glyphs validation`. Its digest comes from the hash of the images and
splits that is known already: no image is read for it.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from mlflow import MlflowClient
from mlflow.entities import Dataset, DatasetInput, InputTag, Metric
from mlflow.utils.mlflow_tags import MLFLOW_DATASET_CONTEXT

Context = Literal["training", "validation", "test"]
_DIGITS = 16
"""Number of characters of a hash that MLflow gets as a digest. Its limit is 36."""
_OF_GROUP: dict[str, Context] = {"train": "training", "val": "validation", "test": "test"}


@dataclass(frozen=True)
class DataSplit:
    """A split of a data set, as MLflow shows it.

    Attributes:
        data: Name of the data set, such as `glyphs`.
        context: What the split was used for.
        images: Number of images.
        classes: Number of classes.
        content: Hash of the images and splits of the whole data set; empty if it is not known.
        source: Section `data` of the trial's configuration.
    """

    data: str
    context: Context
    images: int
    classes: int
    content: str
    source: dict[str, Any]

    @property
    def name(self) -> str:
        """Name of the split in MLflow."""
        return f"{self.data} {self.context}"

    @property
    def digest(self) -> str:
        """First characters of the hash; the counts in its place if the hash is not known."""
        return self.content[:_DIGITS] or f"{self.images}-{self.classes}"

    def entity(self) -> DatasetInput:
        """Return what MLflow gets of the split."""
        counts = {"num_rows": self.images, "images": self.images, "classes": self.classes}
        source, profile = json.dumps(self.source, default=str), json.dumps(counts)
        return DatasetInput(
            Dataset(self.name, self.digest, self.data, source, profile=profile),
            [InputTag(MLFLOW_DATASET_CONTEXT, self.context)],
        )


def log_splits(client: MlflowClient, run_id: str, splits: Sequence[DataSplit], contexts: Iterable[Context]) -> None:
    """Write those of `splits` that are used as one of `contexts` into the run `run_id`, in one call.

    MLflow leaves out a split that the run has already.
    """
    wanted = set(contexts)
    found = [split.entity() for split in splits if split.context in wanted]
    if found:
        client.log_inputs(run_id, found)


def measured_on(metric: str) -> Context | None:
    """Return the split that `metric` is measured on; None for a metric of no split, such as a time."""
    group, _, name = metric.partition("/")
    if group == "curves":
        return "test" if name.removeprefix("best_").startswith("test_") else "training"
    return _OF_GROUP.get(group)


def of_model(metric: Metric, model_id: str, run_id: str, splits: Sequence[DataSplit]) -> Metric:
    """Return `metric` as a metric of the logged model `model_id`, measured on that one of `splits` that it names."""
    split = next((split for split in splits if split.context == measured_on(metric.key)), None)
    return Metric(
        metric.key,
        metric.value,
        metric.timestamp,
        metric.step,
        model_id=model_id,
        dataset_name=None if split is None else split.name,
        dataset_digest=None if split is None else split.digest,
        run_id=run_id,
    )
