"""Files as nobody would write them: a good file changed at random, as text, as a tree, as bytes."""

import copy
from random import Random
from typing import Any

import yaml

# fmt: off
TEXTS = (
    "\t", "\0", "\ufeff", "\u2028", "\x85", "é", "\u0130", "\U0001d538", "\ud7ff", "\u200b", "\r", "\n", "\n\n", "  ",
    "\x1b", "\x7f", "&a ", "*a", "&a [*a]", "!", "!!int ", "!!python/object:os.system ", "%YAML 1.1\n", "---\n",
    "...\n", "<<: *a\n", "<<", "[", "]", "{", "}", ":", ": ", ",", "-", "- ", "?", "? ", "|", ">", "'", '"', "#",
    " #", "@", "`", "\\", "~", "=", "null", "0", "-1", "1e999", "-.inf", ".nan", "010", "0x1F", "1:30", "yes",
    "2024-06-01", "1_000", "9" * 400, "1e-3",
    '"\\UFFFFFFFF"',
)
VALUES = (
    "null", "true", "false", "0", "-1", "1", "2", "1e-3", "1e308", "-1e308", "5e-324", ".nan", ".inf", "-.inf",
    "9" * 30, "9" * 5000, "9" * 4000, "0x"+"f" * 400, "010", "1:30", "2024-06-01", "yes", "~", "''", "' '",
    "a" * 5000, "'\\0'", '"\\0"', "é", '"\\uD800"', "'[red]'", "'<<'", "'<x>'", "'..'", "'.'",
    "'a.b'", "'%s'", "'{}'", "'/'", "'~nobody/x'", "'$HOME'", "'*'", "[]", "{}", "[[]]", "[null]", "{a: b}", "{1: 2}",
    "{null: null}", "{[1]: 2}", "{? {a: b} : c}", "{'': 1}", "{'.': 1}", "[1, 2]", "[2, 1]", "[1e-3, 1]",
    "[0, 1e308]", "[-1e308, 1e308]", "{name: null}", "{name: [a]}", "{name: {a: b}}", "{uniform: [0, 1]}",
    "{int: [1, 9]}", "{int: [1, 999999999999]}", "{choice: [1, null, a]}", "{choice: [{a: {b: 1}}]}",
    "{choice: [[1], [2]]}", "{choice: [{choice: [1]}]}", "{loguniform: [1e-320, 1e308]}", "{uniform: [0, 1], a: 1}",
    "{count: [1, 2], spread: [0]}", "{count: 2, spread: 1, offset: .nan}", "{count: {int: [1, 9]}, spread: {}}",
    "{count: [1, 64], spread: [1e308]}", "pml.CircleLoss", "{name: pml.CircleLoss, m: null}", "pml.", "pml.nn",
    "triplet", "arcface", "folder", "table", "sgd", "grid", "cmaes", "gp", "pbt", "hyperband", "cosine", "l2",
    "paper", "resnet18", "vit_b_16", "!!binary aGk=", "!!set {a}", "!!timestamp 2024-06-01", "!!float x", "!!int x",
    "!!omap [a: b]", "!x y", "2024-06-01T00:00:00Z", "!!null x", "!!bool x", "1h", "1e9d", "2024-99-99", "=",
    "[[1, 2], [3]]", "[{a: 1}, {a: 1.0}]", "[true, 1]", "{sweep: x, best: 3}", "[{loss: 1}]",
)
# fmt: on
ENCODINGS = ("utf-16", "utf-16-le", "utf-32", "utf-8-sig", "latin-1", "cp1252", "utf-7", "shift_jis")


def mutated(text: str, random: Random) -> bytes:
    """Return a file's bytes, changed in one to four places: most often still something that means to be the file."""
    for _ in range(random.choice((1, 1, 2, 4))):
        text = random.choice((mutated_characters, _change_lines, change_nodes, change_nodes, change_nodes))(
            text, random
        )
    if random.random() < 0.1:
        return text.encode(random.choice(ENCODINGS), "replace")
    data = text.encode("utf-8", "surrogatepass")
    if random.random() < 0.05:
        at = random.randrange(len(data) + 1)
        data = (
            data[:at] + random.choice((b"\xff", b"\xc3", b"\x00", b"\x80\x81", b"")) + data[at + random.randrange(9) :]
        )
    return data


def mutated_characters(text: str, random: Random) -> str:
    at = random.randrange(len(text) + 1)
    gone = random.choice((0, 0, 1, 1, 2, 9))
    return text[:at] + random.choice((*TEXTS, "")) + text[at + gone :]


def _change_lines(text: str, random: Random) -> str:
    lines = text.splitlines(keepends=True) or [""]
    i, j = random.randrange(len(lines)), random.randrange(len(lines))
    match random.randrange(6):
        case 0:
            del lines[i]
        case 1:
            lines.insert(j, lines[i])
        case 2:
            lines[i], lines[j] = lines[j], lines[i]
        case 3:
            lines[i] = " " * random.choice((1, 2, 4)) + lines[i]
        case 4:
            lines[i] = lines[i].lstrip()
        case _:
            return "".join(lines)[: random.randrange(len(text) + 1)]
    return "".join(lines)


def change_nodes(text: str, random: Random) -> str:
    """Return YAML with one node changed: replaced, moved, doubled, wrapped, aliased, made its own ancestor."""
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
        places = list(_places(root, set()))
        if not places:
            return text
        _change_node(random.choice(places), random.choice(places), random)
        return str(yaml.serialize(root, Dumper=yaml.SafeDumper, allow_unicode=random.random() < 0.5))
    except (
        yaml.YAMLError,
        RecursionError,
        ValueError,
        OverflowError,
    ):  # no YAML any more, or none that can be written
        return text


def _places(node: Any, seen: set[int]) -> Any:
    """Yield (collection, index) of each pair and item below a node, each collection once."""
    if isinstance(node, yaml.CollectionNode) and id(node) not in seen:
        seen.add(id(node))
        for i, item in enumerate(node.value):
            yield node, i
            for child in item if isinstance(item, tuple) else (item,):
                yield from _places(child, seen)


def _change_node(place: Any, other: Any, random: Random) -> None:
    (node, i), (other_node, j) = place, other
    pair, other_pair = node.value[i], other_node.value[j]
    is_pair, other_is_pair = isinstance(pair, tuple), isinstance(other_pair, tuple)
    value, other_value = pair[1] if is_pair else pair, other_pair[1] if other_is_pair else other_pair
    key = pair[0] if is_pair else _scalar("k")

    def put(new: Any, new_key: Any = key) -> None:
        node.value[i] = (new_key, new) if is_pair else new

    match random.randrange(12):
        case 0 | 1 | 2 | 3:
            put(_parsed(random.choice(VALUES)))
        case 4:
            put(value, _parsed(random.choice(VALUES)))
        case 5:
            put(value, other_pair[0] if other_is_pair else _scalar(str(random.randrange(9))))
        case 6:  # moved, or shared by an alias: an ancestor makes a loop
            put(other_value)
        case 7:
            put(copy.copy(other_value))
        case 8:
            del node.value[i]
        case 9:
            node.value.insert(random.randrange(len(node.value) + 1), pair)
        case 10:
            other_node.value.append((key, value) if isinstance(other_node, yaml.MappingNode) else value)
        case _:
            for _ in range(random.choice((1, 2, 20))):
                wrapped = [(_scalar(random.choice(("a", "name", "choice", "<<"))), value)]
                is_list = random.random() < 0.5
                value = (
                    yaml.SequenceNode("tag:yaml.org,2002:seq", [value], flow_style=True)
                    if is_list
                    else (yaml.MappingNode("tag:yaml.org,2002:map", wrapped, flow_style=True))
                )
            put(value)


def _scalar(text: str) -> Any:
    return yaml.ScalarNode("tag:yaml.org,2002:str", text)


def _parsed(text: str) -> Any:
    return yaml.compose(text, Loader=yaml.SafeLoader)
