"""YAML is read by YAML 1.2's core schema, merge keys as PyYAML reads them, and what is no document is one line."""

import math
from pathlib import Path

import pytest
import yaml

from mdr_tune.config.yaml_lines import MOST_NESTED, RayLoader, parse_flag, parse_yaml, read_mapping
from mdr_tune.util.errors import UserError


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        *[
            ("010", 10),
            ("0224", 224),
            ("+5", 5),
            ("-0", 0),
            ("0x1F", 31),
            ("0o17", 15),
            ("9007199254740993", 2**53 + 1),
        ],
        *[("1e-3", 1e-3), ("5E4", 5e4), ("-2.", -2.0), (".5", 0.5), ("1.5e-2", 0.015), ("01.50", 1.5)],
        *[
            (".inf", math.inf),
            ("-.INF", -math.inf),
            ("true", True),
            ("FALSE", False),
            ("null", None),
            ("~", None),
            ("", None),
        ],
        *[
            (text, text)
            for text in ("yes", "No", "on", "OFF", "y", "1:30", "1_000", "2024-06-01", "2024_06_01", "0b11", "0o9")
        ],
        *[(text, text) for text in ("1e", ".", "+", "<<", "tRue", "NULL0", "1.2.3", "٣", "1e3.5")],
        *[
            ("'010'", "010"),
            ('"true"', "true"),
            ("!!str 010", "010"),
            ("!!float 1", 1.0),
            ("[010, [no]]", [10, ["no"]]),
        ],
        *[("{no: 1, 010: 2, null: 3}", {"no": 1, "010": 2, "null": 3})],
    ],
)
def test_values_are_read_by_the_core_schema_of_yaml_1_2(written: str, expected: object) -> None:
    for found in (parse_yaml(f"- {written}")[0], parse_yaml(f"{{a: {written}}}")["a"]):
        assert found == expected
        assert type(found) is type(expected)


MERGED = """\
base: &base {weight: 0.1, levels: [-3, 0, 3]}
strong: &strong
  <<: *base
  weight: 0.5
both: {<<: [*strong, {weight: 9, momentum: 0.8}], levels: [0]}
list:
  - null
  - <<: *strong
    momentum: 0.7
  - [{<<: *strong}, *strong]
  - {<<: {<<: *base}}
late: {a: 1, <<: *strong, b: 2}
"""


def test_merge_keys_are_read_as_pyyaml_reads_them(tmp_path: Path) -> None:
    file = tmp_path / "merged.yaml"
    file.write_text(MERGED)
    document = read_mapping(file, [])
    assert document.tree == yaml.safe_load(MERGED)
    assert document.tree["both"] == {"weight": 0.5, "levels": [0], "momentum": 0.8}
    assert list(document.tree["late"]) == list(yaml.safe_load(MERGED)["late"])
    lines = {".".join(path): line for path, line in document.lines.items()}
    assert lines["strong.weight"] == lines["list.1.weight"] == lines["list.2.0.weight"] == lines["both.weight"] == 4
    assert lines["list.1.levels"] == lines["strong.levels"] == lines["list.3.weight"] == 1
    assert lines["list.1.momentum"] == 9
    assert lines["both.levels"] == lines["both"] == lines["both.momentum"] == 5


def test_nothing_behind_an_alias_is_shared() -> None:
    tree = parse_yaml("a: &a {b: [1]}\nc: *a\nd: {<<: *a}\n")
    tree["a"]["b"].append(2)
    assert tree == {"a": {"b": [1, 2]}, "c": {"b": [1]}, "d": {"b": [1]}}


def chain(link: str) -> str:
    return "a0: &a0 {x: [1]}\n" + "".join(f"a{i}: &a{i} {link.format(f'*a{i - 1}')}\n" for i in range(1, 60))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "\n{<<: {a: 1}, <<: {b: 1}}",
            "2: the key '<<' stands twice: merge several mappings",
        ),
        ("{<<: {}, <<: {}}", "with <<: [*a, *b]"),
        ("a: 1\n<<: 5\n", "2: << takes a mapping, such as <<: *defaults"),
        ("<<: [{a: 1}, [1]]", "1: << takes a mapping"),
        ("x: 1\n'010': 1\n010: 2\n", "3: the key '010' stands twice"),
        ("a: &a {b: *a}", "an alias (*name) refers to the mapping or list that contains it"),
        ("a: &a {<<: *a}", "an alias (*name) refers to the mapping or list that contains it"),
        ("a: &a\n  b: &b [*a]\n", "1: an alias (*name) refers to"),
        ("[" * 5000, f"nested more than {MOST_NESTED} deep"),
        ("{a: " * 5000, f"nested more than {MOST_NESTED} deep"),
        ("- " * 5000 + "1", f"nested more than {MOST_NESTED} deep"),
        (chain("[{}]"), "with its aliases (*name) the file is nested more than"),
        (chain("[{0}, {0}, {0}]"), "with its aliases (*name) the file"),
        (chain("{{<<: [{0}, {0}, {0}]}}"), "with its aliases (*name) the file"),
        ("a: !!set {b}", "the tag tag:yaml.org,2002:set has no meaning here: leave it out"),
        ("a: !!timestamp 2024-06-01", "the tag tag:yaml.org,2002:timestamp has no meaning here"),
        ("a: !!int x", "1: 'x' cannot be read as int"),
        ("a: !!bool x", "1: 'x' cannot be read as bool"),
        ("a:\n  " + "9" * 5000, "2: '9999999999999999999999999999999999999999' cannot be read as int"),
        ("a: 18446744073709551616", "1: 18446744073709551616 is larger than any number can be here"),
        ("a: 1\nb: \0", "2: not valid YAML: it holds the character U+0000"),
        ('a: "\\0"', "holds a character that is none of any text"),
        ('a: "\\ud800"', "holds a character that is none of any text"),
        ('a: "\\UFFFFFFFF"', "1: not valid YAML"),
        ("a: b: c", "1: not valid YAML: mapping values are not allowed here"),
        ("\ta: 1", "1: not valid YAML"),
        ("a: 1\n---\nb: 1\n", "2: not valid YAML"),
    ],
)
def test_what_is_no_document_is_named_with_its_line(text: str, expected: str) -> None:
    with pytest.raises(UserError) as caught:
        parse_yaml(text)
    assert expected in str(caught.value)


@pytest.mark.parametrize(
    ("encoding", "expected"),
    [("utf-8-sig", None), ("utf-16", "it is not UTF-8: save it as UTF-8"), ("latin-1", "save it as UTF-8")],
)
def test_other_encodings_are_named(tmp_path: Path, encoding: str, expected: str | None) -> None:
    file = tmp_path / "sweep.yaml"
    file.write_bytes("näme: x\n".encode(encoding))
    if expected is None:
        assert read_mapping(file, []).tree == {"näme": "x"}
        return
    with pytest.raises(UserError, match=rf"sweep\.yaml: cannot be read: .*{expected}"):
        read_mapping(file, [])


def test_a_file_that_ray_reads_too_is_read_as_ray_reads_it(tmp_path: Path) -> None:
    text = "a: 010\nb: no\nc: 1e-3\nd: 1:30\n7: 2\non: 3\ne: &e {x: 1}\nf: {<<: *e, y: 2}\n"
    file = tmp_path / "cluster.yaml"
    file.write_text(text)
    assert read_mapping(file, [], RayLoader).tree == yaml.safe_load(text)


TEXTS = [
    *(
        "/data/run #2",
        "#id",
        "/a: b",
        "*x",
        "&y",
        "@eaDir",
        "%20",
        "!x",
        "!!str 5",
        "a ",
        " a",
        "- a",
        "a\nb",
        "|",
        "? a",
        "`",
    ),
    *(
        "name: x",
        "<<",
        "yes",
        "1:30",
        "1_000",
        "2024-06-01",
        "C:\\x",
        "'",
        '"a" b',
        '"a": b',
        "it's",
        "a,b",
        "a]",
        "\udce9",
        ",",
    ),
]


@pytest.mark.parametrize("text", TEXTS)
def test_text_in_a_flag_is_taken_as_it_was_given(text: str) -> None:
    assert parse_flag(text) == text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        *[
            ("010", 10),
            ("1e-3", 1e-3),
            (" 3 ", 3),
            ("true", True),
            ("null", None),
            ("~", None),
            ("", None),
            (" ", None),
        ],
        *[("[a, 'b #c', 010]", ["a", "b #c", 10]), ("{uniform: [0.1, 1]}", {"uniform": [0.1, 1]}), ("[]", [])],
        *[('"2024"', "2024"), ("'it''s'", "it's"), ('"a\\tb"', "a\tb"), ("{a: &a [1], b: *a}", {"a": [1], "b": [1]})],
    ],
)
def test_anything_else_in_a_flag_is_yaml(text: str, expected: object) -> None:
    assert parse_flag(text) == expected


@pytest.mark.parametrize(
    "text", ["[a, b] # c", "[backup] photos", "{a: 1", "[1, 2", "{a: 1, a: 2}", "[*a]", "[" * 5000]
)
def test_a_flag_that_begins_a_list_or_mapping_has_to_be_one(text: str) -> None:
    with pytest.raises(UserError):
        parse_flag(text)
