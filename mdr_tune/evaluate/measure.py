"""Evaluate models on one split of a data set, in one process: the same queries for all, in batches."""

import contextlib
import datetime
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch

from mdr_tune.config.chosen_metrics import NO_OTHERS, MetricsConfig
from mdr_tune.config.datasets import Dataset
from mdr_tune.data import ImageSplit, dataset_content, load_dataset, read_test_split
from mdr_tune.evaluate.feeding import feed, keys_of
from mdr_tune.evaluate.models import FoundModel
from mdr_tune.evaluate.vector_file import with_vectors
from mdr_tune.metric.retrieval import EmbeddingsNotFinite
from mdr_tune.records.evaluation import EvaluatedModel, Evaluation
from mdr_tune.training.evaluate import EVALUATION_BATCH
from mdr_tune.training.examine import examine
from mdr_tune.training.memory import device_name
from mdr_tune.training.ranks import Ranks
from mdr_tune.util.errors import UserError
from mdr_tune.util.progress import Progress, no_progress

GROUPS = {"test": "test", "validation": "val"}
"""First part of the names of metrics, by the split that they are measured on."""


@dataclass(frozen=True)
class FedModel:
    """A model, and the data set as it is read for the model."""

    model: FoundModel
    data: Dataset


def feed_models(models: Sequence[FoundModel], data: Dataset) -> list[FedModel]:
    """Return each of `models` with `data` as it is read for the model.

    Raises:
        UserError: A model does not take the images of `data`, which has a line for each such model.
    """
    fed, problems = [], []
    for model in models:
        try:
            read = feed(data, model.feeding, model.text)
            model.check(read)
            fed.append(FedModel(model, read))
        except UserError as error:
            problems.append(str(error))
        except ValueError as error:
            problems.append(f"{model.text}: {error}")
    if problems:
        raise UserError("\n".join(problems))
    return fed


def evaluate_models(
    models: Sequence[FedModel],
    data: Dataset,
    split: str,
    device: torch.device,
    metrics: MetricsConfig = NO_OTHERS,
    batch_size: int = EVALUATION_BATCH,
    progress: Progress = no_progress,
) -> Evaluation:
    """Evaluate `models` on the split `split` of `data`, `test` or `validation`, on `device`.

    The numbers of a trial's checkpoint are those that its sweep measured, to the bit on a CPU with as many threads and
    one worker: images go through the network in the same batches. One model is on the device at a time, unless MLflow
    has loaded it.

    Args:
        metrics: Metrics on request, `trial.metrics` of a sweep file.
        batch_size: Number of images that go through a network at a time; it is halved until they fit a GPU's memory.
        progress: Function that is told how many images are done; see `Progress`.

    Raises:
        UserError: Images cannot be read, a model cannot be loaded, or its embeddings are not finite.
    """
    started = datetime.datetime.now()
    found: list[EvaluatedModel] = []
    first: ImageSplit | None = None
    for number, one in enumerate(models, 1):
        part = _read(one.data, split, progress)
        if first is not None and not torch.equal(first.labels, part.labels):
            raise UserError(f"{one.model.text}: gets other queries than {models[0].model.text}: images were left out")
        first = part if first is None else first
        found.append(_evaluated(str(number), one, part, split, device, metrics, batch_size, progress))
    assert first is not None
    return Evaluation(
        data=data.name,
        keys=data.model_dump(),
        split=split,
        content=dataset_content(models[0].data),
        queries=len(first),
        classes=first.num_classes,
        images=len(first) if first.gallery is None else _together(first, first.gallery),
        has_gallery=first.gallery is not None,
        device=device_name(device),
        started=started,
        ended=datetime.datetime.now(),
        models=tuple(found),
    )


def _together(queries: ImageSplit, gallery: ImageSplit) -> int:
    return len(queries) + len(gallery)


def _read(data: Dataset, split: str, progress: Progress) -> ImageSplit:
    try:
        dataset = load_dataset(data, lambda what, done, total: progress(f"{data.name}: {what}", done, total))
    except OSError as error:
        raise UserError(f"data: {data.name} cannot be prepared: {error}") from error
    return read_test_split(data) if split == "test" else dataset.split("validation")


def _evaluated(
    name: str,
    fed: FedModel,
    split: ImageSplit,
    split_name: str,
    device: torch.device,
    chosen: MetricsConfig,
    batch_size: int,
    progress: Progress,
) -> EvaluatedModel:
    model, data = fed.model, fed.data
    if model.vectors is not None:
        split = with_vectors(split, model.vectors, data, "test" if split_name == "test" else "validation")
    total, done = len(split) + (0 if split.gallery is None else len(split.gallery)), 0

    def on_batch() -> None:
        nonlocal done
        done = min(total, done + batch_size)
        progress(f"embedding images by {model.title}", done, total)

    with _naming(model.text):
        network = model.load(data, device)
        ranks = Ranks(device=device)
        size = data.chosen_image_size
        metrics, details = examine(network, split, ranks, data.recall_ks, size, on_batch, batch_size, chosen)
    group = GROUPS[split_name]
    return EvaluatedModel(
        name=name,
        title=model.title,
        metrics={f"{group}/{key}": value for key, value in metrics.items()},
        details=details,
        facts={
            "model": model.text,
            **model.facts,
            **{f"fed.{key}": str(value) for key, value in keys_of(data).items()},
        },
        run_id=model.run_id,
        version=model.version,
        logged_model=model.logged_model,
        notes=(*model.notes, *_seen_in_training(model.trained_on, data, split_name)),
    )


def _seen_in_training(trained_on: Dataset | None, data: Dataset, split: str) -> tuple[str, ...]:
    """Return a sentence if a model was trained on other classes of the files of `data` than the split leaves out."""
    if trained_on is None or trained_on.name != data.name:
        return ()
    then, now = (_drawn(one.measured_on(), split) for one in (trained_on, data))
    if then == now or any(then.get(key) != now.get(key) for key in ("root", "file")):
        return ()
    return (f"it was trained on another split of these images: {split} classes may be among its training classes",)


def _drawn(keys: Mapping[str, object], split: str) -> dict[str, object]:
    """Return those of a data set's `keys` on which the classes of `split` depend."""
    unimportant = ("recall_at", "duplicates", "corrupt", *(("validation",) if split == "test" else ()))
    return {key: value for key, value in keys.items() if key.partition(".")[0] not in unimportant}


@contextlib.contextmanager
def _naming(model: str) -> Iterator[None]:
    try:
        yield
    except EmbeddingsNotFinite:
        raise UserError(f"{model}: its embeddings are not finite, or too large to be compared") from None
    except UserError as error:
        text = str(error)
        raise UserError(text if text.startswith(model) else f"{model}: {text}") from error
