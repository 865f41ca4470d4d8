"""Guess what a user meant by a mistake. Most functions return the end of a message.

Mistakes are a misspelt key, a key of another program or section, a searched value under `trial`, and a wrong type.
"""

import functools
import json
import re
import shlex
import types
import typing
from collections.abc import Callable, Iterator
from typing import Any

from pydantic import BaseModel, Tag

from mdr_tune.config.other_names import meant_metric
from mdr_tune.config.strict_model import is_tag, tag_name
from mdr_tune.util.nearest_name import did_you_mean, nearest_name

_SHORT_FORMS = {
    "learning_rate": ("lr", "base_lr", "init_lr", "learningrate", "step_size"),
    "weight_decay": ("wd", "l2_penalty"),
    "batch.size": ("batch_size", "bs", "batchsize"),
    "images_per_class": ("samples_per_class", "instances_per_class", "num_instances"),
    "epochs": ("num_epochs", "n_epochs", "max_epochs", "nb_epochs"),
    "iterations_per_epoch": ("iters", "iterations", "steps", "steps_per_epoch", "num_iterations"),
    "embedding.size": ("embedding_size", "embedding_dim", "embed_dim", "emb_dim", "dim"),
    "mdr.weight": ("lambda", "mdr_weight", "lambda_mdr"),
    "memory": ("xbm", "cross_batch_memory"),
    "memory.size": ("memory_size", "queue_size"),
    "backbone": ("model", "arch", "architecture", "network", "encoder"),
    "optimizer": ("opt", "optim", "optimiser"),
    "loss": ("criterion", "loss_fn", "losses"),
    "miner": ("mining",),
    "data": ("dataset", "data_set"),
    "finalists": ("finals", "num_finalists", "n_finalists"),
    "trials": ("n_trials", "num_trials", "max_trials", "num_samples"),
    "workers_per_trial": ("workers", "num_workers", "world_size"),
    "gpus_per_worker": ("gpus", "gpu", "num_gpus"),
    "warmup_epochs": ("warmup",),
    "gamma": ("lr_gamma",),
    "seed": ("random_seed", "random_state"),
    "metric": ("objective", "monitor", "target_metric"),
    "levels": ("level",),
    "train": ("freeze", "frozen", "trainable", "requires_grad", "freeze_backbone", "unfreeze"),
    "frozen_epochs": ("freeze_epochs", "head_warmup_epochs", "head_epochs"),
    "layer_decay": ("llrd", "layerwise_decay", "layer_wise_decay", "lr_layer_decay"),
    "pool": ("pooling", "global_pool"),
    "head": ("mlp", "projector", "projection_head"),
}
_MEANT = {short: name for name, all_short in _SHORT_FORMS.items() for short in all_short}
_ALSO_MEANT = {"warmup_epochs": "frozen_epochs"}
"""Keys of this project by a name that other programs use for them. This project has keys of that name as well."""
_MOST_SHOWN = 3
_NEARLY_THE_SAME = 0.82
_WORDS = {**dict.fromkeys(("yes", "on", "y", "true"), True), **dict.fromkeys(("no", "off", "n", "false"), False)}
DOMAIN_KINDS = {"uniform", "loguniform", "int", "choice"}
NOTHING = ("none", "null", "nil", "off", "no", "false")


def models_in(annotation: Any, tag: str | None = None) -> Iterator[tuple[str | None, type[BaseModel]]]:
    """Yield (tag, model) for each model that a field of the type `annotation` can hold.

    A tag marks a member of a pydantic union; a model in no union has None. `tag` is the tag of `annotation` itself.
    """
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield tag, annotation
        return
    own = next((item.tag for item in getattr(annotation, "__metadata__", ()) if isinstance(item, Tag)), tag)
    arguments = annotation.__args__ if isinstance(annotation, types.UnionType) else typing.get_args(annotation)
    for argument in arguments:
        yield from models_in(argument, own)


def fields_at(model: type[BaseModel], location: tuple[Any, ...]) -> list[str]:
    """Return the keys that the mapping at `location`, the path in a pydantic error of `model`, may have."""
    return sorted({name for _, m in models_at(model, location) for name in m.model_fields})


def members_at(model: type[BaseModel], location: tuple[Any, ...]) -> list[str]:
    """Return the names that the section at `location` in `model` can have; none if it is not chosen by a name."""
    if not location or not is_tag(location[-1]):
        return []
    return [tag_name(tag) for tag, _ in models_at(model, location[:-1]) if tag is not None]


def models_at(model: type[BaseModel], location: tuple[Any, ...]) -> list[tuple[str | None, type[BaseModel]]]:
    """Return (tag, model) for each model that the mapping at `location`, a path in an error of `model`, may be."""
    here: list[tuple[str | None, type[BaseModel]]] = [(None, model)]
    for part in location:
        if is_tag(part):
            here = [(None, m) for tag, m in here if tag == part] or here
            continue
        fields = [m.model_fields[part] for _, m in here if part in m.model_fields]
        if fields:  # else `part` is the key of a mapping, such as the space
            here = [found for field in fields for found in _models_of(field)]
    return here


def _models_of(field: Any) -> Iterator[tuple[str | None, type[BaseModel]]]:
    tag = next((item.tag for item in field.metadata if isinstance(item, Tag)), None)
    return models_in(field.annotation, tag)


def all_keys(model: type[BaseModel], prefix: str = "") -> list[str]:
    """Return the dotted keys of `model` and of all sections inside of it, without duplicates, each after `prefix`."""
    found: dict[str, None] = {}
    for name, entry in model.model_fields.items():
        found[f"{prefix}{name}"] = None
        if typing.get_origin(entry.annotation) is not dict:  # the keys of the space are a user's
            for _, section in models_in(entry.annotation):
                found.update(dict.fromkeys(all_keys(section, f"{prefix}{name}.")))
    return list(found)


def meant_key(key: str, here: list[str], everywhere: list[str], section: str = "") -> str:
    """Return ` Did you mean ...?` for the unknown `key` of the mapping `section`; empty if no known key is similar.

    `here` are the keys that the mapping may have, and `everywhere` the dotted keys of the whole file.
    """
    if "." in key:
        full = next((k for k in (f"{section}.{key}".lstrip("."), key) if k in everywhere), None)
        *sections, last = (full or "").split(".")
        nested = "".join(f"{name}: {{" for name in sections) + f"{last}: ..." + "}" * len(sections)
        return f" Keys with dots are for the space and --set: write {nested} instead." if full else ""
    name = _MEANT.get(key.lower(), key)
    close = name if name in here else nearest_name(key, here, _NEARLY_THE_SAME)
    others = [k for k in everywhere if k != f"{section}.{key}".lstrip(".")]  # such as keys of another data set or loss
    is_elsewhere = not section and close != name and any(k.rpartition(".")[2] == name for k in others)
    if (close is None or is_elsewhere) and (dotted := meant_dotted(key, others, section)):
        return dotted
    return f" Did you mean {close!r}?" if close is not None else did_you_mean(key, here)


def meant_dotted(key: str, known: list[str], section: str = "") -> str:
    """Return ` Did you mean ...?` for a `key` that is none of the dotted keys `known`; empty if none is similar.

    The text names known keys with the last part of `key`, those in `section` first, or else with a similar last part.
    """
    last = key.rpartition(".")[2]
    name = _MEANT.get(last.lower(), last)
    found = [k for k in known if f".{k}".endswith((f".{name}", f".{_ALSO_MEANT.get(name, name)}"))]
    if not found:
        alike = nearest_name(last, sorted({k.rpartition(".")[2] for k in known}), _NEARLY_THE_SAME)
        found = [k for k in known if alike is not None and k.rpartition(".")[2] == alike]
    nearest = sorted(found, key=lambda k: (not f"{k}.".startswith(f"{section}."), k.count("."), len(k)))
    return f" Did you mean {' or '.join(nearest[:_MOST_SHOWN])}?" if nearest else ""


def meant_value(expected: str, value: Any, accepts: Callable[[Any], bool]) -> str:
    """Return the end of a message: what to write instead of `value`, which has the wrong type; empty if unknown.

    `expected` is pydantic's name of the error, such as `int_type`. `accepts` says if the key takes a given value.
    """
    instead = next(filter(accepts, _likely(expected, value)), ...)
    if instead is ...:
        return ""
    if isinstance(value, str) and re.fullmatch(_THOUSANDS, value.strip()):
        return f": write {flow(instead)}, without separators"
    if isinstance(value, str) and re.fullmatch(_BASE_60, value.strip()):
        return f": write {flow(instead)}, if that is what it stands for, as in YAML 1.1"
    return f": write {flow(instead)}"


def _likely(expected: str, value: Any) -> Iterator[Any]:
    """Yield what a user may have meant by `value`, the most likely first.

    `expected` is pydantic's name of the error, such as `bool_type` or `int_type`.
    """
    word = str(value).strip().lower()
    is_nothing = value is None or value is False or (isinstance(value, str) and word in NOTHING)
    if expected == "bool_type" and isinstance(value, str) and word in _WORDS:
        yield _WORDS[word]
    elif expected in ("int_type", "int_from_float", "float_type"):
        number = _number(value)
        if number is not None:
            yield int(number) if number == number // 1 else number
        if word == "auto":
            yield None
    if value is not None and is_nothing:
        yield None
    if expected == "list_type":
        yield [] if is_nothing else list(value.values()) if isinstance(value, dict) else [value]


_THOUSANDS = r"[-+]?[1-9][0-9]{0,2}(,[0-9]{3})+(\.[0-9]+)?"
_BASE_60 = r"[0-9]{1,9}(:[0-5]?[0-9])+"


def _kindly(text: str) -> float:
    if re.fullmatch(_THOUSANDS, text):
        return float(text.replace(",", ""))
    if re.fullmatch(_BASE_60, text):
        return float(functools.reduce(lambda total, part: 60 * total + int(part), text.split(":"), 0))
    if re.fullmatch(r"[-+]?0[bB][01]+", text):
        return float(int(text, 2))
    return float(text.replace(",", "."))


def _number(value: Any) -> float | None:
    """Return `value` as a number; None if it is not a number.

    A text may have any usual form: 1_000; 1,000; 0,5; 0b11 (binary); 1:30 (base 60, as in YAML 1.1).
    """
    try:
        number = _kindly(value.strip().replace("_", "")) if isinstance(value, str) else float(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return number if abs(number) < 1e15 and not isinstance(value, bool) else None


def several_values(key: str, value: Any) -> str:
    """Return the end of a message: how to search the trial's `key` over `value`, a list of values or a domain."""
    if key == "seed":
        return f": for several seeds of each configuration write search.seeds_per_trial: {_length(value)}"
    if key == "mdr.levels" and is_domain(value):
        return f": to search levels write them under space, as {key}: {{count: [2, 3], spread: {{uniform: [1, 5]}}}}"
    text = flow(value)
    shown = text if len(text) <= 60 else "{...}" if isinstance(value, dict) else "[...]"
    return f": to try several values write them under space, as {key}: {shown}"


def _length(value: Any) -> int:
    values = value.get("choice") if isinstance(value, dict) else value
    return len(values) if isinstance(values, list) and len(values) > 1 else 3


def is_domain(value: Any) -> bool:
    """Return whether `value` is written like a domain, such as {uniform: [0, 1]}."""
    return isinstance(value, dict) and not value.keys().isdisjoint(DOMAIN_KINDS)


def searched_instead(path: tuple[str, ...], value: Any) -> str:
    """Return the end of a message about a `value` under `trial` that looks like a search: where to write it instead.

    The result is empty unless `path` begins with `trial` and `value`, or the mapping around it, is a list or a domain.
    """
    if path[:1] != ("trial",) or len(path) < 2:
        return ""
    if path[-1] in DOMAIN_KINDS:
        path, value = path[:-1], {path[-1]: value}
    if index := next((i for i, part in enumerate(path) if part.isdigit()), 0):
        path = path[:index]
    if len(path) < 2 or not (is_domain(value) or isinstance(value, list)):
        return ""
    if index and isinstance(value, list):
        return f": to try several values write them under space, as {'.'.join(path[1:])}: [[...], [...]]"
    return several_values(".".join(path[1:]), value)


def meant_place(path: tuple[str, ...], value: Any, known: list[str], takes: Callable[[str, Any], bool]) -> str:
    """Return the end of a message about the unknown key at `path`: the known key that is meant, and how to write it.

    A known key counts as meant if its name is similar and one more thing suggests it: a dot in the unknown key, or a
    `value` that is a domain, the name of a metric or a mapping with one key. If no key is meant, the text is empty.
    `known` has the dotted keys of the whole file. `takes(key, value)` returns whether a dotted key takes a value.
    """
    given, in_space, is_nested = path, path[0] == "space", False
    is_misspelt = nearest_name(path[0], sorted({key.split(".")[0] for key in known})) is not None
    while isinstance(value, dict) and len(value) == 1 and not is_domain(value):
        ((key, value),) = value.items()
        path, is_nested = (*path, str(key)), True
    parts = [part for name in path for part in name.split(".")]
    full = _full_key([part for part in parts if part not in ("trial", "space")], known)
    if full is None:
        return ""
    below = full.removeprefix("trial.")
    if in_space:
        return f". Keys of the space have dots: write {below}: {flow(value)}" if len(path) > 2 else ""
    if full.startswith("trial.") and (is_domain(value) or (isinstance(value, list) and not takes(full, value))):
        return several_values(below, value)
    if full == "search.seeds" and isinstance(value, list):
        return several_values("seed", value)
    if full == "metric" and isinstance(value, str) and (metric := meant_metric(value)) is not None:
        return f". Write {full}: {metric}"
    if (len(given) == 1 and is_misspelt) or not (is_nested or "." in path[-1]):
        return ""
    *sections, last = full.split(".")
    nested = "".join(f"{name}: {{" for name in sections) + f"{last}: {flow(value)}" + "}" * len(sections)
    return f". Write {nested}, or --set {full}={flow(value)}"


def _full_key(parts: list[str], known: list[str]) -> str | None:
    """Return the dotted key in `known` that `parts`, the parts of a key, stand for; None if no key or several keys fit.

    A key in the section that `parts` name is preferred, then the key with the fewest sections.
    """
    if not parts:
        return None
    *sections, last = parts
    names = sorted({key.rpartition(".")[2] for key in known})
    name = _MEANT.get(last.lower(), last)
    if "." not in name and name not in names:
        name = nearest_name(last, names, _NEARLY_THE_SAME) or last
    found = [key for key in known if f".{key}".endswith(f".{name}")]
    inside = [key for key in found if sections and sections[-1] in key.split(".")[:-1]]
    chosen = sorted(inside or found, key=lambda key: (key.count("."), len(key)))
    is_alone = len(chosen) == 1 or (chosen and chosen[0].count(".") < chosen[1].count("."))
    return chosen[0] if is_alone else None


def flow(value: Any) -> str:
    """Return `value` as YAML in one line, in the style with braces and brackets."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {flow(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(flow, value)) + "]"
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def in_quotes(value: Any, written: str | None) -> str:
    """Return `value` in quotes, so that YAML reads it as text. `written` is its spelling in the file; None if unknown.

    The result is empty for a list, a mapping or an empty value.
    """
    if written == "" or (written is None and isinstance(value, list | dict)):
        return ""
    return json.dumps(flow(value) if written is None else written, ensure_ascii=False)


def flag_as_text(override: str, value: Any) -> str:
    """Return `override`, the text of a --set, with its `value` in quotes, so that YAML reads it as text.

    The result is empty if the --set has no value.
    """
    key, _, text = override.partition("=")
    quoted = in_quotes(value, text.strip())
    return f"--set {shlex.quote(f'{key}={quoted}')}" if quoted else ""
