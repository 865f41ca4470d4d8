"""The result of an evaluation of models on one split of a data set, which is recorded in MLflow and reported."""

import datetime
from collections.abc import Mapping
from dataclasses import dataclass, field

from mdr_tune.records.query_details import TestDetails


@dataclass(frozen=True)
class EvaluatedModel:
    """A model with its results.

    Attributes:
        name: Name that is unique in the evaluation: its number, from 1.
        title: Text that tells what the model is, such as `mdr_levels/mdr-007`.
        metrics: Values by name, such as `test/recall_at_1`.
        details: Results of each query.
        facts: What the model is and what it was fed, by key, for the parameters of its run.
        run_id: Id of the MLflow run that trained or imported the model; None if there is none.
        version: Name and number of the registered version that was given; None if none was.
        logged_model: Id of MLflow's logged model that was given; None if none was.
        notes: Sentences on the model that a reader of its numbers has to know.
    """

    name: str
    title: str
    metrics: Mapping[str, float]
    details: TestDetails
    facts: Mapping[str, str] = field(default_factory=dict)
    run_id: str | None = None
    version: tuple[str, str] | None = None
    logged_model: str | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Evaluation:
    """Models that were evaluated on the same queries.

    Attributes:
        data: Name of the data set.
        keys: Keys of the data set's section in a sweep file, with their values.
        split: Name of the split, `test` or `validation`.
        content: Hash of all images of the data set and their splits; empty if it is not known.
        queries: Number of queries.
        classes: Number of classes of the queries.
        images: Number of images: the queries, and those of the gallery if there is one.
        has_gallery: Whether the queries are compared with a gallery, and not with each other.
        device: Device that computed, `cpu` or a GPU's name.
        models: Results of each model. The others are compared with the first one.
    """

    data: str
    keys: Mapping[str, object]
    split: str
    content: str
    queries: int
    classes: int
    images: int
    has_gallery: bool
    device: str
    started: datetime.datetime
    ended: datetime.datetime
    models: tuple[EvaluatedModel, ...]
