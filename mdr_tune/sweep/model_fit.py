"""Check the models of a sweep before any weights are downloaded, and describe which parts of them are trained.

torch is imported only for a sweep whose keys need it.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from mdr_tune.config.space import section_variants
from mdr_tune.config.sweep import SweepConfig
from mdr_tune.config.trial import LastBlocks, TrialConfig
from mdr_tune.util.errors import UserError
from mdr_tune.util.import_path import is_import_path
from mdr_tune.util.words import count

if TYPE_CHECKING:
    from mdr_tune.training import EmbeddingModel

MOST_DESCRIBED = 4
"""Largest number of backbones that the plan describes."""


def outline(trial: TrialConfig) -> "EmbeddingModel":
    """Return the model of `trial`, on the meta device if possible, where its weights take no memory.

    Parameters that are never trained require no gradient.

    Raises:
        UserError: The keys of the model do not fit each other. The message begins with the key.
    """
    import torch

    from mdr_tune.training import EmbeddingModel
    from mdr_tune.training.fine_tuning import freeze, freeze_idle

    try:
        with torch.device("cpu" if is_import_path(trial.backbone.name) else "meta"):  # a user's code may read weights
            model = EmbeddingModel.from_config(trial, pretrained=False, image_size=trial.data.input_shape[-1])
    except NotImplementedError:  # a network, such as torchvision's RegNet, that reads numbers of tensors as it is built
        model = EmbeddingModel.from_config(trial, pretrained=False, image_size=trial.data.input_shape[-1])
    freeze(model.backbone, trial.backbone)
    freeze_idle(model.backbone)
    return model


def model_problems(sweep: SweepConfig) -> list[str]:
    """Return a message for each model of `sweep` whose backbone, pooling and head do not fit, with its key first."""
    problems = []
    for trial in models_of(sweep):
        if trial.embedding.needs_network or isinstance(trial.backbone.train, LastBlocks):
            try:
                backbone = outline(trial).backbone
            except UserError as error:
                problems.append(str(error))
                continue
            train = trial.backbone.train
            if isinstance(train, LastBlocks) and not any(one.requires_grad for one in backbone.parameters()):
                problems.append(
                    f"backbone.train: last_blocks {train.last_blocks} trains nothing of {backbone.name}, whose last "
                    "parameters get no gradient: write a larger number, or train: none"
                )
    return list(dict.fromkeys(problems))


def describe_training(sweep: SweepConfig) -> list[str]:
    """Return a line for each backbone of `sweep` that is not trained as a whole in all epochs.

    The line is about the first head of `sweep`. If there are more than `MOST_DESCRIBED` lines, a last line has the
    number of the others.
    """
    trials = {trial.backbone.model_dump_json(): trial for trial in reversed([*models_of(sweep)])}
    partly = [trial for trial in trials.values() if trial.backbone.train != "all" or trial.backbone.frozen_epochs]
    lines = list(dict.fromkeys(map(_line, reversed(partly))))
    more = len(lines) - MOST_DESCRIBED
    return [*lines[:MOST_DESCRIBED], *([f"and {count(more, 'further backbone')}"] if more > 0 else [])]


def models_of(sweep: SweepConfig) -> Iterator[TrialConfig]:
    """Yield a trial of `sweep` for each backbone with each head. Both ends of a searched range are tried."""
    for backbone in section_variants(sweep.trial, sweep.space, "backbone"):
        for embedding in section_variants(sweep.trial, sweep.space, "embedding"):
            yield sweep.trial.model_copy(update={"backbone": backbone, "embedding": embedding})


def _line(trial: TrialConfig) -> str:
    """Return the line of `describe_training` on the model of `trial`.

    An example is `resnet18: the last 2 of 9 blocks and the head, 8,459,392 of 11,242,176 parameters`.
    """
    from mdr_tune.training.fine_tuning import frozen_blocks

    model, backbone = outline(trial), trial.backbone
    blocks = len(model.backbone.list_blocks())
    trained = blocks - frozen_blocks(model.backbone, backbone.train)
    parts = [f"the last {trained} of {count(blocks, 'block')}"] if 0 < trained < blocks else []
    parts += [f"all {count(blocks, 'block')}"] if trained == blocks else []
    parts += ["the head"] if trial.embedding.has_parameters else []
    sizes = [(parameter.numel(), parameter.requires_grad) for parameter in model.parameters()]
    trained_size = sum(size for size, is_trained in sizes if is_trained)
    shares = f"{trained_size:,} of {sum(size for size, _ in sizes):,} parameters"
    late = f"; at first, for {count(backbone.frozen_epochs, 'epoch')}, the head alone" if backbone.frozen_epochs else ""
    return f"{backbone.name}: {' and '.join(parts)}, {shares}{late if trained else ''}"
