"""Check a user's own loss, miner, network or data set for `mdr-tune check`: as a launch does, and further.

Each check gives a `Line`: what was checked, whether it passed, and what was found. If a check fails, the checks that
need its result are left out.
"""

import inspect
import json
import os
import random
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy
import torch
from pytorch_metric_learning import losses, miners
from torch import Tensor, nn

from mdr_tune.backbones.family import NORMALIZATION_KEYS
from mdr_tune.config.trial import TrialConfig
from mdr_tune.data.dataset import ImageDataset, ImageSplit
from mdr_tune.data.own.imported_data import open_imported
from mdr_tune.metric.imported_loss import ImportedLoss, build_for_trial, check_trains, loss_note, trial_batch, value_of
from mdr_tune.metric.imported_miner import build_imported_miner, mined_in_trial, miner_note
from mdr_tune.metric.mined import Pairs
from mdr_tune.training.local_draws import local_draws
from mdr_tune.training.ranks import Ranks
from mdr_tune.training.session import TrialSession
from mdr_tune.util.call_arguments import REQUIRED, ArgumentProblem, call, call_arguments
from mdr_tune.util.errors import UserError
from mdr_tune.util.import_path import FAILURES, CodeError, code_folders, import_named, look_for_code_in, said
from mdr_tune.util.nearest_name import did_you_mean
from mdr_tune.util.words import count

Kind = Literal["backbone", "loss", "miner", "data"]
SIGNATURE = "signature, values"
"""Name of the first check in the line of its failure. It fails, for example, for a component of another kind."""
RANKS_TIMEOUT_S = 600
_FILLED = {"num_classes": 4, "embedding_size": 6}
_BATCH, _STEPS, _IMAGES_PER_CLASS = 16, 2, 4
_LOOKED_AT = 256
_OF_EMBEDDINGS = ("embeddings", "embedding", "embs", "emb")
"""Names of the first parameter of losses and miners, by which they are told from networks."""
_STEPS_OF_DIFFERENCES = (1e-6, 1e-7, 1e-8, 1e-5, 1e-4)
"""Steps of finite differences, relative to the size of what is moved, of which the best counts: a large step crosses
kinks, such as those of a deep network of ReLUs, and a small one has rounding errors."""
_LARGEST_ERROR = 1e-3
"""Largest difference of a gradient from finite differences, relative to the gradient."""
_LARGEST_DIFFERENCE = 1e-9
"""Largest relative difference, in float64, between the results of one rank and of two."""


Differentiable = tuple[Callable[[], Tensor], list[Tensor]]
"""A function that returns a scalar, and the tensors to differentiate the scalar by."""

_Batch = tuple[Tensor, Tensor]
"""Embeddings (12, 6) and labels (12,)."""


class Line(NamedTuple):
    """The result of one check.

    Attributes:
        what: what was checked.
        status: `ok`, `FAILED`, or `note` for a finding that stops no launch.
        text: what was found.
    """

    what: str
    status: Literal["ok", "FAILED", "note"]
    text: str


def kind_of(name: str, arguments: Mapping[str, Any]) -> Kind:
    """Tell whether the import path `name` with `arguments` is a network, a loss, a miner or a data set.

    Raises:
        CodeError: The component cannot be imported or made, or is none of these four.
    """
    function = import_named(name)
    taken = call_arguments(function, tuple(_FILLED))
    if taken.filled:
        return "loss"
    given = {key: value for key, value in arguments.items() if key not in NORMALIZATION_KEYS}
    known = list(taken.defaults)
    if unknown := [key for key in given if key not in known and not taken.takes_any]:
        hint = did_you_mean(unknown[0], known)
        raise CodeError(f"{name} has no argument {unknown[0]!r}.{hint} Known: {', '.join(known) or 'none'}.")
    made = call(name, function, taken.check(name, given))
    if isinstance(made, losses.BaseMetricLossFunction):
        return "loss"
    if isinstance(made, miners.BaseMiner):
        return "miner"
    if not isinstance(made, nn.Module) and callable(getattr(made, "split", None)):
        return "data"
    if not callable(made):
        raise CodeError(f"{name} gives a {type(made).__name__}, which is no network, loss, miner or data set")
    return _kind_by_call(name, made)


def _kind_by_call(name: str, made: Callable[..., Any]) -> Kind:
    """Return the kind of `made`, found by the names and the number of its parameters, and by its result."""
    signature = inspect.signature(made.forward if isinstance(made, nn.Module) else made)
    takes = [number for number in (1, 2) if _binds(signature, number)]
    if next(iter(signature.parameters), "") not in _OF_EMBEDDINGS:
        if takes[:1] == [1] and isinstance(made, nn.Module):
            return "backbone"
        if not takes:
            raise CodeError(
                f"{name}: its call takes neither (images), as a network, nor (embeddings, labels), as a loss or miner "
                "does: change it, or say what it is: --kind backbone, loss or miner"
            )
    try:
        returned = made(*trial_batch())
    except FAILURES:  # the check of the component reports the error
        return "loss" if isinstance(made, nn.Module) else "miner"
    if isinstance(returned, Tensor):
        return "loss" if returned.is_floating_point() or returned.numel() == 1 else "miner"
    is_miner = isinstance(returned, tuple | list) or not isinstance(made, nn.Module)
    return "miner" if is_miner and not isinstance(returned, int | float) else "loss"


def _binds(signature: inspect.Signature, number: int) -> bool:
    try:
        signature.bind(*range(number))
    except TypeError:
        return False
    return True


def usual_image_size(name: str, arguments: Mapping[str, Any]) -> int:
    """Return the height and width of images in the attribute `image_size` of the network `name`, or else 224."""
    from mdr_tune.backbones.imported_network import USUAL_SIZE, facts

    return facts(name, arguments).image_size or USUAL_SIZE


def check_component(kind: Kind, name: str, arguments: Mapping[str, Any], image_size: int) -> Iterator[Line]:
    """Yield the result of each check of the component of this `kind` with the import path `name` and `arguments`.

    `image_size` is the height and width of the images that a network is tried with.
    """
    try:
        trial = _trial(kind, name, arguments, image_size)
    except UserError as error:
        yield Line(SIGNATURE, "FAILED", for_flags(error, kind, arguments))
        return
    yield Line("signature", "ok", _signature(name, arguments))
    draws = _local_draws(trial) if kind == "backbone" else []
    if kind == "backbone":
        yield from _check_network(name, arguments, trial, draws)
    elif kind == "data":
        yield from _check_data(name, arguments, trial)
        return
    else:
        yield from (_check_loss if kind == "loss" else _check_miner)(name, arguments, trial)
    yield _check_ranks(trial, bool(draws))


def for_flags(error: UserError, kind: Kind | None, arguments: Mapping[str, Any]) -> str:
    """Return the text of `error` with flags of `mdr-tune check`, such as `--set p=2`, in place of a sweep file's keys.

    `kind` is the section of the sweep file that the error is on; None: it is on the code alone. `arguments` are those
    of the component.
    """
    message = str(error)
    key, _, problem = message.removeprefix(f"{kind}.").partition(": ")
    if isinstance(error, ArgumentProblem):
        message = f"--set {error.key}={arguments[error.key]}: {message}"
    elif message.startswith(f"{kind}."):
        message = (
            problem if key == "name" else f"--set {key}={arguments[key]}: {problem}" if key in arguments else message
        )
    wanted = re.search(r"write \{name: [\w.:]+, ([^{}]*)\}", message)
    if wanted is None:
        return message
    flags = " ".join(f"--set {argument.replace(': ', '=')}" for argument in wanted[1].split(", "))
    return message.replace(wanted[0], f"write {flags}")


def _trial(kind: Kind, name: str, arguments: Mapping[str, Any], image_size: int) -> TrialConfig:
    """Return a trial of two steps with the component `name`. Raise UserError if a launch would refuse it."""
    usual: dict[str, Any] = {
        "backbone": "conv4",
        "loss": "triplet",
        "miner": "auto" if kind == "loss" else "all",
        "augmentation": "none",
        "batch": {"size": _BATCH, "images_per_class": _IMAGES_PER_CLASS},
        "embedding": {"size": 16},
        "iterations_per_epoch": _STEPS,
        "epochs": 1,
    }
    if kind == "backbone":
        usual["data"] = {"name": "folder", "root": "/", "resize": image_size, "image_size": image_size}
    trial = TrialConfig.from_keys({**usual, kind: {"name": name, **arguments}})
    if kind == "backbone":
        from mdr_tune.backbones import check_takes

        try:
            check_takes(name, trial.backbone.weights, trial.data.input_shape, trial.backbone.arguments)
        except ValueError as error:
            raise CodeError(str(error)) from None
    return trial


def _signature(name: str, arguments: Mapping[str, Any]) -> str:
    taken = call_arguments(import_named(name), tuple(_FILLED))
    values = {**taken.defaults, **arguments}
    shown = [key if value is REQUIRED else f"{key}={value!r}" for key, value in values.items()]
    filled = f"; the trial fills in {' and '.join(taken.filled)}" if taken.filled else ""
    return f"keys: {', '.join(shown) or 'none'}{filled}"


def _check_loss(name: str, arguments: Mapping[str, Any], trial: TrialConfig) -> Iterator[Line]:
    batch = check_trains(build_for_trial(name, arguments)) or trial_batch()
    loss = build_for_trial(name, arguments)
    value = value_of(loss, *batch)
    of_random = value_of(build_for_trial(name, arguments), *trial_batch())
    mined = "takes mined pairs" if loss.takes_mined else "takes no mined pairs"
    angular = ", compares directions only: embeddings have length 1" if trial.loss.compares_directions else ""
    yield Line("value", "ok", f"{of_random.item():.4g} for {len(batch[1])} random embeddings; {mined}{angular}")
    note = loss_note(name, arguments)
    own = f"finite; {sum(one.numel() for one in loss.parameters()):,} own parameters"
    yield Line("gradients", "note" if note else "ok", note or own)
    is_same = torch.equal(value, value_of(build_for_trial(name, arguments), *batch))
    determinism = _state_of_loss(name, arguments, loss, value, batch) if is_same else _determinism(False, "value")
    yield determinism
    if determinism.status != "FAILED":
        yield _finite_differences(lambda: _in_double(name, arguments, batch))
    yield _equal_embeddings(loss)


def _state_of_loss(name: str, arguments: Mapping[str, Any], loss: ImportedLoss, value: Tensor, batch: _Batch) -> Line:
    """Return the line on determinism of `loss`. Its first call returned `value`, as did that of another instance.

    If each call changes a state of the loss, this state must be in buffers, which checkpoints have.
    """
    resumed = build_for_trial(name, arguments)
    resumed.load_state_dict(loss.state_dict())
    second = value_of(loss, *batch)
    if torch.equal(value, second):
        return _determinism(True, "value", _draws_of_loss(loss, batch))
    if torch.equal(second, value_of(resumed, *batch)):
        return Line("determinism", "note", "each call changes its state, which is in buffers: checkpoints have it")
    fix = "keep it in a buffer (register_buffer), so that a resumed trial goes on with it"
    return Line("determinism", "FAILED", f"it keeps a state from call to call, which no checkpoint has: {fix}")


def _in_double(name: str, arguments: Mapping[str, Any], batch: _Batch) -> Differentiable:
    loss = build_for_trial(name, arguments).to(torch.float64)
    embeddings, labels = batch[0].to(torch.float64), batch[1]
    leaves = [embeddings.requires_grad_(), *(one for one in loss.parameters() if one.requires_grad)]
    state = [buffer.clone() for buffer in loss.buffers()]

    def value() -> Tensor:
        with torch.no_grad():
            for buffer, before in zip(loss.buffers(), state, strict=True):
                buffer.copy_(before)
        return value_of(loss, embeddings, labels)

    return value, leaves


def _finite_differences(make: Callable[[], Differentiable]) -> Line:
    """Compare the gradient of the function that `make` returns with finite differences in three random directions."""
    what = "finite differences"
    try:
        value, leaves = make()
        at_start = value()
        if at_start.dtype != torch.float64:
            return Line(
                what, "note", f"not compared: for float64 it gives {str(at_start.dtype).removeprefix('torch.')}"
            )
        if not leaves:
            return Line(what, "ok", "it has no parameters to train")
        gradients = torch.autograd.grad(at_start, leaves, allow_unused=True)
        worst = max(_error(value, leaves, gradients, seed, abs(at_start.item())) for seed in range(3))
    except CodeError as error:
        return Line(what, "FAILED", f"in float64: {error}")
    text = f"the gradient in float64 differs from them by {worst:.1g} of itself"
    is_wrong = not worst < _LARGEST_ERROR
    more = ": is there a detach() or a no_grad() on the way, or a backward of your own?" if is_wrong else ""
    return Line(what, "FAILED" if is_wrong else "ok", text + more)


def _error(
    value: Callable[[], Tensor], leaves: list[Tensor], gradients: tuple[Tensor | None, ...], seed: int, size: float
) -> float:
    """Return the error of `gradients` in a random direction, with the step that fits best. `size` is |value()|."""
    generator = torch.Generator().manual_seed(seed)
    ways = [torch.randn(leaf.shape, generator=generator, dtype=leaf.dtype) * _scale(leaf) for leaf in leaves]
    slope = sum(float((one * way).sum()) for one, way in zip(gradients, ways, strict=True) if one is not None)
    best = float("inf")
    for step in _STEPS_OF_DIFFERENCES:
        with torch.no_grad():
            ends = [_moved(value, leaves, ways, sign * step) for sign in (1, -1)]
        measured = (ends[0] - ends[1]) / (2 * step)
        best = min(best, abs(measured - slope) / max(abs(measured), abs(slope), 1e-3 * size, 1e-300))
        if best < _LARGEST_ERROR / 10:
            break
    return best


def _scale(leaf: Tensor) -> float:
    """Return the root mean square of the numbers of `leaf`; 1 if all are 0."""
    return float(leaf.detach().square().mean().sqrt()) or 1.0


def _moved(value: Callable[[], Tensor], leaves: list[Tensor], ways: list[Tensor], step: float) -> float:
    """Return `value()` with the `leaves` moved by `step` times `ways`. The `leaves` are then moved back."""
    before = [leaf.detach().clone() for leaf in leaves]
    for leaf, way in zip(leaves, ways, strict=True):
        leaf.add_(way, alpha=step)
    moved = value().item()
    for leaf, old in zip(leaves, before, strict=True):
        leaf.copy_(old)
    return moved


def _determinism(is_same: bool, noun: str, draws: str | None = None) -> Line:
    if not is_same:
        fix = "draw random numbers with torch, whose generator is seeded, not with numpy or random"
        fix += ", and keep no state outside of the object"
        return Line("determinism", "FAILED", f"two calls with the same seed give another {noun}: {fix}")
    return Line("determinism", "ok", f"twice the same {noun}{f'; {draws}' if draws else ''}")


def _draws_of_loss(loss: ImportedLoss, batch: _Batch) -> str | None:
    """Return a text for the report if `loss` draws from torch's global generator; else None."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        before = torch.get_rng_state()
        loss._value(*batch, None)
        drew = not torch.equal(before, torch.get_rng_state())
    return "it draws at random, from torch's generator, which is seeded alike on all ranks" if drew else None


def _equal_embeddings(loss: ImportedLoss) -> Line:
    _, labels = trial_batch()
    leaf = torch.ones(len(labels), 6).requires_grad_()
    value = value_of(loss, leaf, labels)
    if value.requires_grad:
        value.backward()
    if leaf.grad is not None and bool(leaf.grad.isfinite().all()):
        return Line("equal embeddings", "ok", "finite gradients")
    return Line("equal embeddings", "note", "their gradient is not finite: is there a square root without a clamp?")


def _check_miner(name: str, arguments: Mapping[str, Any], trial: TrialConfig) -> Iterator[Line]:
    mined = mined_in_trial(build_imported_miner(name, arguments))
    if isinstance(mined, Pairs):
        text = f"{len(mined.anchors)} positive and {len(mined.negative_anchors)} negative pairs"
    else:
        text = f"{len(mined.anchors)} triplets"
    note = miner_note(name, arguments)
    found = f"{text} of {len(trial_batch()[1])} random embeddings, all of the right classes"
    yield Line("indices", "note" if note else "ok", note or found)
    again = mined_in_trial(build_imported_miner(name, arguments))
    is_same = all(torch.equal(one, other) for one, other in zip(mined, again, strict=True))
    yield _determinism(is_same, "choice")


def _check_network(name: str, arguments: Mapping[str, Any], trial: TrialConfig, draws: list[str]) -> Iterator[Line]:
    from mdr_tune.backbones.imported_network import make_network, output_of, plan_notes, try_network

    size = trial.data.input_shape[-1]
    yield Line("output", "ok", f"{try_network(name, arguments, size).describe()} for images of {size} x {size}")
    for note in plan_notes(name, trial.backbone.weights, size, arguments)[1:]:
        yield Line("plan", "note", note)
    yield Line("gradients", "ok", "finite, in evaluation and in training")

    def network() -> nn.Module:
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(0)
            return make_network(name, arguments).eval()

    images = torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(0))

    def in_double() -> Differentiable:
        made, inputs = network().double(), images.double()
        weights: list[Tensor] = [one for one in made.parameters() if one.requires_grad]
        return lambda: output_of(name, made, inputs).square().mean(), weights

    yield _finite_differences(in_double)
    with torch.no_grad():
        made = network()
        both = output_of(name, made, images)
        alone = torch.cat([output_of(name, made, one[None]) for one in images])
        yield _determinism(torch.equal(both, output_of(name, network(), images)), "output")
    is_alone = torch.allclose(both, alone, rtol=1e-3, atol=1e-5)
    text = "does not depend on the rest of the batch" if is_alone else "depends on the other images of the batch"
    yield Line("single image", "ok" if is_alone else "FAILED", f"in evaluation, the output of an image {text}")
    found = f"{'; '.join(draws)}: several workers do not compute what one computes"
    yield Line("random layers", "note" if draws else "ok", found if draws else "all draw for the global batch")


def _local_draws(trial: TrialConfig) -> list[str]:
    return local_draws(trial.backbone, trial.data.input_shape[-1], trial.freezes_batch_norm)


def _check_data(name: str, arguments: Mapping[str, Any], trial: TrialConfig) -> Iterator[Line]:
    """Yield the results for a data set. `_trial` has opened it before, so that its splits have the right form."""
    validation = trial.data.model_dump()["validation"]
    given: dict[str, Any] = {"name": name, "arguments": trial.data.model_extra or {}, "validation": validation}
    opened = open_imported(**given)
    parts = {"train": opened.searched.split("train"), "validation": opened.searched.split("validation")}
    parts["test"] = opened.test
    sizes = [f"{part} {len(split):,} images of {split.num_classes:,} classes" for part, split in parts.items()]
    yield Line("splits", "ok", f"{', '.join(sizes)}; no class is in two")
    channels, height, width = opened.searched.image_shape
    yield Line("images", "ok", f"uint8 ({channels}, {height}, {width})")
    yield _contrast(parts["train"])
    yield from (_label_line(part, split) for part, split in parts.items())
    try:
        is_same = _content_elsewhere(given) == opened.searched.content
    except CodeError as error:
        yield Line("determinism", "FAILED", f"in another process: {error}")
        return
    fix = "seed what draws at random, and sort what comes from a set or a folder"
    text = "twice the same images, labels and splits" if is_same else f"another process gets other ones: {fix}"
    yield Line("determinism", "ok" if is_same else "FAILED", text)


def _contrast(train: ImageSplit) -> Line:
    """Look for images of one colour, or of numbers from 0 to 1, among the first training images."""
    pixels = train.images[torch.arange(min(len(train), _LOOKED_AT))].flatten(1)
    lowest, highest = pixels.amin(1), pixels.amax(1)
    if highest.max() <= 1:
        highest_of_all = int(highest.max())
        return Line("pixels", "note", f"none is above {highest_of_all}: they go from 0 to 255, not from 0 to 1")
    empty = int((lowest == highest).sum())
    text = f"from {int(lowest.min())} to {int(highest.max())} in the first {len(pixels)} images"
    return Line("pixels", "note" if empty else "ok", f"{text}{f'; {empty} of one colour' if empty else ''}")


def _label_line(part: str, split: ImageSplit) -> Line:
    sizes = torch.bincount(split.labels)
    sizes = sizes[sizes > 0]
    single = int((sizes == 1).sum())
    text = f"{int(sizes.min())} to {int(sizes.max())} images a class"
    more = f"; {count(single, 'class')} of one image, which has no other to find" if single else ""
    return Line(f"labels of {part}", "note" if single else "ok", text + more)


def _content_elsewhere(given: Mapping[str, Any]) -> str:
    """Return the hash of the data set that a new process opens. In that process, Python's sets have another order."""
    with tempfile.TemporaryDirectory(prefix="mdr_tune_check_") as folder:
        file = Path(folder, "given.json")
        file.write_text(json.dumps({**given, "code": [str(one) for one in code_folders()]}))
        program = f"from {__name__} import print_content; print_content()"
        command = [sys.executable, "-c", program, str(file)]
        environment = {**os.environ, "PYTHONHASHSEED": "1"}
        done = subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=RANKS_TIMEOUT_S, check=False
        )
    if done.returncode:
        raise CodeError((done.stderr.strip().splitlines() or ["a process ended without a word"])[-1])
    return done.stdout.strip().splitlines()[-1]


def print_content() -> None:
    """Print the hash of a data set: the program of `_content_elsewhere`, whose argument is a file with its settings."""
    given = json.loads(Path(sys.argv[1]).read_text())
    look_for_code_in([Path(one) for one in given.pop("code")])
    try:
        print(open_imported(**given).searched.content)
    except UserError as error:
        raise SystemExit(str(error)) from None


def _check_ranks(trial: TrialConfig, draws: bool) -> Line:
    """Train two steps on one rank and on two, in float64, and compare the losses and all weights.

    If the network has layers that draw for each rank (`draws`), a difference is a note, not a failure.
    """
    what = "1 rank against 2"
    try:
        one, two = (_on_ranks(trial, world_size) for world_size in (1, 2))
    except CodeError as error:
        return Line(what, "FAILED", str(error))
    worst = max((_difference(one[key], two[key]) for key in one), default=0.0)
    key = max(one, key=lambda key: _difference(one[key], two[key]))
    if worst <= _LARGEST_DIFFERENCE:
        return Line(what, "ok", f"losses and weights after {_STEPS} steps differ by {worst:.1g} at most, in float64")
    text = f"{key} differs by {worst:.1g} after {_STEPS} steps, in float64"
    if draws:
        return Line(what, "note", f"{text}, see the layers named above")
    return Line(what, "FAILED", f"{text}: does it depend on a worker's own images, or draw by numpy or random?")


def _difference(one: Tensor, other: Tensor) -> float:
    if one.numel() == 0 or not one.is_floating_point():
        return 0.0 if torch.equal(one, other) else 1.0
    return float((one - other).abs().max() / one.abs().max().clamp(min=1))


def _on_ranks(trial: TrialConfig, world_size: int) -> dict[str, Tensor]:
    """Train two steps of `trial` on `world_size` processes; return rank 0's losses and weights by name."""
    with tempfile.TemporaryDirectory(prefix="mdr_tune_check_") as folder:
        given = {"trial": trial.model_dump(), "code": [str(one) for one in code_folders()]}
        Path(folder, "given.json").write_text(json.dumps(given))
        program = f"from {__name__} import run_rank; run_rank()"
        command = [sys.executable, "-c", program, folder, str(world_size)]
        ranks = [
            subprocess.Popen(
                [*command, str(rank)], cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
            )
            for rank in range(world_size)
        ]
        try:
            for process in ranks:
                _, errors = process.communicate(timeout=RANKS_TIMEOUT_S)
                if process.returncode:
                    raise CodeError((errors.strip().splitlines() or ["a process ended without a word"])[-1])
        finally:
            for process in ranks:
                process.kill()
        return torch.load(Path(folder, "rank_0.pt"), weights_only=True)  # type: ignore[no-any-return]


def run_rank() -> None:
    """Run one rank of `_on_ranks`. The arguments of the program are the folder, the number of ranks, and the rank."""
    folder, world_size, rank = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    given = json.loads((folder / "given.json").read_text())
    look_for_code_in([Path(one) for one in given["code"]])
    torch.set_num_threads(1)
    random.seed(rank)  # workers differ in these generators
    numpy.random.seed(rank)
    if world_size > 1:
        store = f"file://{folder}/store"
        torch.distributed.init_process_group("gloo", init_method=store, rank=rank, world_size=world_size)
    try:
        trial = TrialConfig.model_validate(given["trial"])
        session = TrialSession(trial, _random_images(trial), Ranks.current(torch.device("cpu")), torch.float64)
        metrics = session.train_epoch()
    except FAILURES as error:  # the last line of the process is what the user reads
        raise SystemExit(str(error) if isinstance(error, UserError) else said(error)) from None
    losses = {key: torch.tensor(value, dtype=torch.float64) for key, value in metrics.items() if "loss" in key}
    state = session.state_dict()
    weights = {f"{part}.{key}": value for part in ("model", "objective") for key, value in state[part].items()}
    torch.save({**losses, **weights}, folder / f"rank_{rank}.pt")


def _random_images(trial: TrialConfig) -> ImageDataset:
    classes = 2 * _BATCH // _IMAGES_PER_CLASS
    labels = torch.arange(classes).repeat_interleave(_IMAGES_PER_CLASS)
    generator = torch.Generator().manual_seed(0)
    shape = (len(labels), *trial.data.input_shape)
    images = torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator)
    half = len(labels) // 2
    splits = {"train": slice(0, half), "validation": slice(half, None)}
    return ImageDataset("random", {key: ImageSplit(images[rows], labels[rows]) for key, rows in splits.items()})  # type: ignore[misc]
