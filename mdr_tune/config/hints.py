"""What a user probably meant: a key of another name, in another section, values to search that stand under `trial`."""

import json
import shlex
import types
import typing
from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel, Tag

from mdr_tune.config.base import is_tag, tag_name
from mdr_tune.registry import did_you_mean, nearest_name

_SHORT_FORMS = {
    "learning_rate": ("lr", "base_lr", "init_lr", "learningrate", "step_size"),
    "weight_decay": ("wd", "l2_penalty"),
    "batch.size": ("batch_size", "bs", "batchsize"),
    "images_per_class": ("samples_per_class", "instances_per_class", "num_instances"),
    "epochs": ("num_epochs", "n_epochs", "max_epochs", "nb_epochs"),
    "iterations_per_epoch": ("iters", "iterations", "steps", "steps_per_epoch", "num_iterations"),
    "embedding.size": ("embedding_size", "embedding_dim", "embed_dim", "emb_dim", "dim"),
    "mdr.weight": ("lambda", "mdr_weight", "lambda_mdr"),
    "backbone": ("model", "arch", "architecture", "network", "encoder"),
    "optimizer": ("opt", "optim", "optimiser"),
    "loss": ("criterion", "loss_fn", "losses"),
    "miner": ("mining",),
    "data": ("dataset", "data_set"),
    "trials": ("n_trials", "num_trials", "max_trials", "num_samples"),
    "workers_per_trial": ("workers", "num_workers", "world_size"),
    "gpus_per_worker": ("gpus", "gpu", "num_gpus"),
    "warmup_epochs": ("warmup",),
    "gamma": ("lr_gamma",),
    "seed": ("random_seed", "random_state"),
}
_MEANT = {short: name for name, all_short in _SHORT_FORMS.items() for short in all_short}
_MOST_SHOWN = 3
_NEARLY_THE_SAME = 0.82
_WORDS = {**dict.fromkeys(("yes", "on", "y", "true"), "true"), **dict.fromkeys(("no", "off", "n", "false"), "false")}
_DOMAINS = {"uniform", "loguniform", "int", "choice"}


def models_in(annotation: Any, tag: str | None = None) -> Iterator[tuple[str | None, type[BaseModel]]]:
    """Yield the models that a field of this type can hold, each with its tag if it is a member of a tagged union."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield tag, annotation
        return
    own = next((item.tag for item in getattr(annotation, "__metadata__", ()) if isinstance(item, Tag)), tag)
    arguments = annotation.__args__ if isinstance(annotation, types.UnionType) else typing.get_args(annotation)
    for argument in arguments:
        yield from models_in(argument, own)


def fields_at(model: type[BaseModel], location: tuple[Any, ...]) -> list[str]:
    """Return the keys that the mapping at `location`, as pydantic's errors give it, may have."""
    return sorted({name for _, m in models_at(model, location) for name in m.model_fields})


def members_at(model: type[BaseModel], location: tuple[Any, ...]) -> list[str]:
    """Return the names that the section at `location` can have; none if it is not chosen by its name."""
    if not location or not is_tag(location[-1]):
        return []
    return [tag_name(tag) for tag, _ in models_at(model, location[:-1]) if tag is not None]


def models_at(model: type[BaseModel], location: tuple[Any, ...]) -> list[tuple[str | None, type[BaseModel]]]:
    """Return the models that the mapping at `location`, as pydantic's errors give it, may be, each with its tag."""
    here: list[tuple[str | None, type[BaseModel]]] = [(None, model)]
    for part in location:
        if is_tag(part):
            here = [(None, m) for tag, m in here if tag == part] or here
            continue
        fields = [m.model_fields[part] for _, m in here if part in m.model_fields]
        if fields:  # else the key of a mapping, such as one of the space
            here = [found for field in fields for found in _models_of(field)]
    return here


def _models_of(field: Any) -> Iterator[tuple[str | None, type[BaseModel]]]:
    tag = next((item.tag for item in field.metadata if isinstance(item, Tag)), None)
    return models_in(field.annotation, tag)


def all_keys(model: type[BaseModel], prefix: str = "") -> list[str]:
    """Return the dotted keys of all sections of a model, and of theirs, each once."""
    found: dict[str, None] = {}
    for name, entry in model.model_fields.items():
        found[f"{prefix}{name}"] = None
        if typing.get_origin(entry.annotation) is not dict:  # the keys of the space are a user's
            for _, section in models_in(entry.annotation):
                found.update(dict.fromkeys(all_keys(section, f"{prefix}{name}.")))
    return list(found)


def meant_key(key: str, here: list[str], everywhere: list[str], section: str = "") -> str:
    """Return ` Did you mean ...?` for an unknown key of a mapping, or an empty text.

    Args:
        key: The unknown key.
        here: Keys that its mapping may have.
        everywhere: Dotted keys of the whole file.
        section: Dotted key of its mapping.
    """
    if "." in key:
        full = next((k for k in (f"{section}.{key}".lstrip("."), key) if k in everywhere), None)
        *sections, last = (full or "").split(".")
        nested = "".join(f"{name}: {{" for name in sections) + f"{last}: ..." + "}" * len(sections)
        return f" Keys with dots are for the space and --set: write {nested} instead." if full else ""
    name = _MEANT.get(key.lower(), key)
    close = name if name in here else nearest_name(key, here, _NEARLY_THE_SAME)
    others = [k for k in everywhere if k != f"{section}.{key}".lstrip(".")]  # the same of another data set or loss
    is_elsewhere = not section and close != name and any(k.rpartition(".")[2] == name for k in others)
    if (close is None or is_elsewhere) and (dotted := meant_dotted(key, others, section)):
        return dotted
    return f" Did you mean {close!r}?" if close is not None else did_you_mean(key, here)


def meant_dotted(key: str, known: list[str], section: str = "") -> str:
    """Return ` Did you mean ...?` for a key that is none of the dotted keys `known`, or an empty text.

    Keys of the same last name are meant, those in `section` first; else those whose last name is nearly the same.
    """
    last = key.rpartition(".")[2]
    name = _MEANT.get(last.lower(), last)
    found = [k for k in known if f".{k}".endswith(f".{name}")]
    if not found:
        alike = nearest_name(last, sorted({k.rpartition(".")[2] for k in known}), _NEARLY_THE_SAME)
        found = [k for k in known if alike is not None and k.rpartition(".")[2] == alike]
    nearest = sorted(found, key=lambda k: (not f"{k}.".startswith(f"{section}."), k.count("."), len(k)))
    return f" Did you mean {' or '.join(nearest[:_MOST_SHOWN])}?" if nearest else ""


def meant_value(expected: str, value: Any) -> str:
    """Return what to write instead of a value of the wrong type, as the end of a sentence, or an empty text.

    Args:
        expected: Pydantic's name of the error.
        value: What was read.
    """
    if expected == "bool_type":
        word = _WORDS.get(str(value).lower())
        return f": write {word}" if isinstance(value, str) and word else ""
    if expected in ("int_type", "int_from_float", "float_type"):
        number = _number(value)
        whole = number is not None and number == number // 1
        if number is not None and (whole or expected == "float_type"):
            return f": write {int(number) if whole else repr(number)}"
    return ""


def _number(value: Any) -> float | None:
    """Return the number that a text is when read kindly (1_000; 0,5; one in quotes), or a number with a point."""
    try:
        number = float(value.strip().replace("_", "").replace(",", ".") if isinstance(value, str) else value)
    except (TypeError, ValueError, OverflowError):
        return None
    return number if abs(number) < 1e15 and not isinstance(value, bool) else None


def searched_instead(path: tuple[str, ...], value: Any) -> str:
    """Return where several values, or a range, that stand under `trial` belong, as the end of a sentence."""
    if path[:1] != ("trial",) or len(path) < 2:
        return ""
    if path[-1] in _DOMAINS:
        path, value = path[:-1], {path[-1]: value}
    if index := next((i for i, part in enumerate(path) if part.isdigit()), 0):
        path = path[:index]
    is_domain = isinstance(value, dict) and not value.keys().isdisjoint(_DOMAINS)
    if len(path) < 2 or not (is_domain or isinstance(value, list)):
        return ""
    text = "[[...], [...]]" if index else _flow(value)
    shown = text if len(text) <= 60 else "{...}" if is_domain else "[...]"
    return f": to try several values write them under space, as {'.'.join(path[1:])}: {shown}"


def _flow(value: Any) -> str:
    """Return a value as YAML writes it in a line."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {_flow(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_flow, value)) + "]"
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def in_quotes(value: Any, written: str | None) -> str:
    """Return a value in quotes, as a file has to write it to be text; an empty text if it is empty, or many values.

    Args:
        value: What was read.
        written: The file's own spelling of it, where it is known.
    """
    if written == "" or (written is None and isinstance(value, list | dict)):
        return ""
    return json.dumps(_flow(value) if written is None else written, ensure_ascii=False)


def flag_as_text(override: str, value: Any) -> str:
    """Return the --set whose value is text, in quotes, in place of an `override` that was read as `value`."""
    key, _, text = override.partition("=")
    quoted = in_quotes(value, text.strip())
    return f"--set {shlex.quote(f'{key}={quoted}')}" if quoted else ""
