"""The strict base of every configuration model: no unknown key, no silent conversion of types."""

from collections.abc import Callable, Iterator
from typing import Annotated, Any, TypeVar, Union, get_args

from pydantic import BaseModel, BeforeValidator, ConfigDict, Discriminator, Tag

from mdr_tune.config.units import Unit


class StrictModel(BaseModel):
    """Frozen; refuses unknown keys, strings for numbers, NaN and infinities."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)

    def units(self) -> Iterator[tuple[str, float, Unit]]:
        """Yield each number whose field declares a unit, by dotted key, those of a list one by one."""
        for name, field in type(self).model_fields.items():
            value = getattr(self, name)
            if isinstance(value, StrictModel):
                yield from ((f"{name}.{key}", number, unit) for key, number, unit in value.units())
                continue
            for unit in field.metadata:
                if isinstance(unit, Unit):
                    yield from ((name, number, unit) for number in _numbers(value))


def _numbers(value: Any) -> list[float]:
    return [number for number in (value if isinstance(value, list) else [value]) if isinstance(number, int | float)]


class Named(StrictModel):
    """One of the things of a kind, such as a loss, which a file chooses by its name.

    A kind is a subclass of this one, and each thing of the kind a subclass of that, directly or not: its `name` is a
    Literal, its other fields are the keys that stand beside the name. `one_of` makes them known to a file.
    """

    name: str

    def arguments(self) -> dict[str, Any]:
        """Return all fields but the name."""
        return self.model_dump(exclude={"name"})


N = TypeVar("N", bound=Named)


def members(kind: type[N]) -> dict[str, type[N]]:
    """Return the things of a kind by name, in the order of their declaration, but the one that is found by a prefix.

    Example:
        >>> from mdr_tune.config.miners import Miner
        >>> list(members(Miner))[:2]
        ['auto', 'distance_weighted']
    """
    named = {get_args(member.model_fields["name"].annotation): member for member in _leaves(kind)}
    return {names[0]: member for names, member in named.items() if names}


def _leaves(kind: type[N]) -> Iterator[type[N]]:
    """Yield the classes below `kind` that have none below them, in the order of their declaration."""
    for member in kind.__subclasses__():
        yield from _leaves(member) if member.__subclasses__() else [member]


def one_of(kind: type[Named], default: str, library_prefix: str | None = None) -> Any:
    """Return the type of a field that holds one of a kind, given by `name` or as the name alone.

    Args:
        kind: base class of the members.
        default: name of the member where a mapping has no name.
        library_prefix: beginning of the names that belong to the one member whose name is any text.
    """
    tags = dict.fromkeys(_leaves(kind), library_prefix) | {cls: name for name, cls in members(kind).items()}
    union: Any = Union.__getitem__(tuple(Annotated[member, Tag(tag(str(name)))] for member, name in tags.items()))
    return Annotated[union, Discriminator(choose_by_name(default, library_prefix)), BeforeValidator(by_name)]


class KeyProblem(ValueError):  # noqa: N818 - a ValueError that knows its key
    """A problem of one key, found by a check that spans several. `key` is relative to the model that checks."""

    def __init__(self, key: str, message: str) -> None:
        super().__init__(message)
        self.key = key


def by_name(value: Any) -> Any:
    """Let `loss: triplet` stand for `loss: {name: triplet}`."""
    return {"name": value} if isinstance(value, str) else value


def tag(name: str) -> str:
    """Return the tag of one member of a union. It stands in pydantic's error paths, where `is_tag` finds it.

    No key of a file is like it: no text that is read has the character 0.
    """
    return f"<\0{name}>"


def is_tag(part: Any) -> bool:
    """Say whether a part of an error's path is a union's tag and no key of the file."""
    return isinstance(part, str) and part.startswith("<\0")


def tag_name(tag: str) -> str:
    """Return the name that `tag` was made of."""
    return tag.removeprefix("<\0").removesuffix(">")


def choose_by_name(default: str, library_prefix: str | None = None) -> Callable[[Any], str | None]:
    """Return a discriminator that chooses a union's member by the mapping's `name`.

    Args:
        default: Name where none is given.
        library_prefix: Names that begin so belong to one member, tagged by the prefix.
    """

    def choose(value: Any) -> str | None:
        name = value.get("name", default) if isinstance(value, dict) else getattr(value, "name", None)
        if isinstance(name, str) and library_prefix and name.startswith(library_prefix):
            return tag(library_prefix)
        return tag(name) if isinstance(name, str) else None

    return choose


def flatten(tree: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Flatten nested mappings to dotted keys: `{"mdr": {"weight": 0.1}}` -> `{"mdr.weight": 0.1}`."""
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        if isinstance(value, dict):
            flat.update(flatten(value, f"{prefix}{key}."))
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def set_dotted(tree: dict[str, Any], key: str, value: Any) -> None:
    """Set `tree["a"]["b"] = value` for the key `a.b`.

    A text in the way is a section's short form, the name; anything else that is no mapping is replaced.
    """
    *parents, last = key.split(".")
    for parent in parents:
        section = by_name(tree.get(parent))
        tree[parent] = section if isinstance(section, dict) else {}
        tree = tree[parent]
    tree[last] = value
