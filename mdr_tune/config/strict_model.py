"""Base classes of all configuration models. The models refuse unknown keys and convert no types silently."""

from collections.abc import Callable, Iterator
from typing import Annotated, Any, ClassVar, TypeVar, Union, get_args

from pydantic import BaseModel, BeforeValidator, ConfigDict, Discriminator, Field, Tag

from mdr_tune.config.units import Unit
from mdr_tune.util.import_path import is_import_path

IMPORT_PATH = "package.module:name"
"""Tag, in a pydantic union, of the member whose name is an import path."""


class StrictModel(BaseModel):
    """A frozen model that refuses unknown keys, strings for numbers, NaN and infinities."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)

    def all_values(self) -> dict[str, Any]:
        """Return all values as nested dicts. Unlike `model_dump`, it keeps `added` keys that have their default."""
        return {key: value.all_values() if isinstance(value, StrictModel) else value for key, value in self}

    def units(self) -> Iterator[tuple[str, float, Unit]]:
        """Yield (dotted key, number, unit) for each number whose field declares a unit. Numbers in a list count too."""
        for name, field in type(self).model_fields.items():
            value = getattr(self, name)
            if isinstance(value, StrictModel):
                yield from ((f"{name}.{key}", number, unit) for key, number, unit in value.units())
                continue
            for unit in field.metadata:
                if isinstance(unit, Unit):
                    yield from ((name, number, unit) for number in _numbers(value))


def added(default: Any, **checks: Any) -> Any:
    """Return a field for a key that older versions lacked, with its `default` and the `checks` of pydantic's Field.

    A key with its default is left out of `model_dump`. So records of this and of older versions are the same.
    """
    return Field(default, exclude_if=lambda value: bool(value == default), **checks)


class OpenModel(StrictModel):
    """A section that takes further keys: the arguments of a class or function that is declared elsewhere.

    A subclass checks the arguments, and raises `UnknownArguments` for those that it does not know.
    """

    model_config = ConfigDict(extra="allow")

    def known_arguments(self) -> list[str]:
        """Return the names of the arguments that a sweep file may give."""
        raise NotImplementedError


def _numbers(value: Any) -> list[float]:
    return [number for number in (value if isinstance(value, list) else [value]) if isinstance(number, int | float)]


class Named(StrictModel):
    """Base class of all sections that a sweep file chooses by a name, such as a loss.

    A kind is a direct subclass of this class, such as `Loss`. The members of a kind are the leaves of its tree of
    subclasses, such as `TripletLossConfig`. Their `name` is a Literal, or text such as an import path. Their other
    fields are the section's other keys. `one_of` makes the type of a field that takes any member of a kind.

    Attributes:
        takes_import_path: True for the member whose name is an import path of the user's own code.
    """

    takes_import_path: ClassVar[bool] = False
    name: str

    def arguments(self) -> dict[str, Any]:
        """Return the values of all fields except the name, by key."""
        return self.model_dump(exclude={"name"})


N = TypeVar("N", bound=Named)


def members(kind: type[N]) -> dict[str, type[N]]:
    """Return the members of `kind` by name, in the order of their declaration.

    A member whose `name` is any text, such as `LibraryLossConfig`, is left out.

    Example:
        >>> from mdr_tune.config.miners import Miner
        >>> list(members(Miner))[:2]
        ['auto', 'distance_weighted']
    """
    named = {get_args(member.model_fields["name"].annotation): member for member in _leaves(kind)}
    return {names[0]: member for names, member in named.items() if names}


def _leaves(kind: type[N]) -> Iterator[type[N]]:
    """Yield the direct and indirect subclasses of `kind` that have no subclass themselves, in order of declaration."""
    for member in kind.__subclasses__():
        yield from _leaves(member) if member.__subclasses__() else [member]


def one_of(kind: type[Named], default: str, library_prefix: str | None = None) -> Any:
    """Return the type of a field that holds a member of `kind`, given as a mapping with a `name`, or as the name alone.

    `default` is the name for a mapping without a `name`. Names that begin with `library_prefix`, such as `pml.`, stand
    for the member whose `name` is any text; `library_prefix` is None if there is no such member. Names with a colon
    stand for the member that takes import paths.
    """
    tags = {member: IMPORT_PATH if member.takes_import_path else library_prefix for member in _leaves(kind)}
    tags |= {member: name for name, member in members(kind).items()}
    union: Any = Union.__getitem__(tuple(Annotated[member, Tag(tag(str(name)))] for member, name in tags.items()))
    choose = choose_by_name(default, library_prefix, IMPORT_PATH in tags.values())
    return Annotated[union, Discriminator(choose), BeforeValidator(by_name)]


class KeyProblem(ValueError):  # noqa: N818 - a ValueError that knows its key
    """An error of one key, raised by a check of a whole model. `key` is the dotted key, relative to that model."""

    def __init__(self, key: str, message: str) -> None:
        super().__init__(message)
        self.key = key


class UnknownArguments(ValueError):  # noqa: N818 - a ValueError that knows its keys
    """An error for arguments of an `OpenModel` that are not known.

    Attributes:
        keys: Names of the unknown arguments.
        known: Names of all known arguments.
    """

    def __init__(self, keys: list[str], known: list[str]) -> None:
        super().__init__(f"unknown keys: {', '.join(keys)}")
        self.keys, self.known = keys, known


def by_name(value: Any) -> Any:
    """Return `value` as `{"name": value}` if it is text, so that `loss: triplet` means `loss: {name: triplet}`."""
    return {"name": value} if isinstance(value, str) else value


def tag(name: str) -> str:
    """Return the tag of the member `name` of a pydantic union. Pydantic puts the tag into the paths of its errors.

    A tag contains the null character, which a usual key of a file does not have. `is_tag` recognises tags by it.
    """
    return f"<\0{name}>"


def is_tag(part: Any) -> bool:
    """Return whether `part`, of an error's path, is the tag of a union's member, not a key of the sweep file."""
    return isinstance(part, str) and part.startswith("<\0")


def tag_name(tag: str) -> str:
    """Return the name of the union's member that has the tag `tag`."""
    return tag.removeprefix("<\0").removesuffix(">")


def choose_by_name(
    default: str, library_prefix: str | None = None, takes_import_paths: bool = False
) -> Callable[[Any], str | None]:
    """Return a pydantic discriminator that chooses the member of a union by the `name` in the mapping, or `default`.

    Names that begin with `library_prefix` all belong to one member, whose tag is made from the prefix. So do import
    paths, if `takes_import_paths` is True.
    """

    def choose(value: Any) -> str | None:
        name = value.get("name", default) if isinstance(value, dict) else getattr(value, "name", None)
        if isinstance(name, str) and takes_import_paths and is_import_path(name):
            return tag(IMPORT_PATH)
        if isinstance(name, str) and library_prefix and name.startswith(library_prefix):
            return tag(library_prefix)
        return tag(name) if isinstance(name, str) else None

    return choose


def flatten(tree: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return `tree` with dotted keys that begin with `prefix`: `{"mdr": {"weight": 0.1}}` -> `{"mdr.weight": 0.1}`."""
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        if isinstance(value, dict):
            flat.update(flatten(value, f"{prefix}{key}."))
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def set_dotted(tree: dict[str, Any], key: str, value: Any) -> None:
    """Set `tree["a"]["b"] = value` for the `key` a.b.

    A text at the key a becomes {name: text} first. Any other value there that is no mapping is replaced by {}.
    """
    *parents, last = key.split(".")
    for parent in parents:
        section = by_name(tree.get(parent))
        tree[parent] = section if isinstance(section, dict) else {}
        tree = tree[parent]
    tree[last] = value
