"""Import paths of the user's own code: what is found, and what the user is told."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mdr_tune.util.call_arguments import ArgumentProblem, call_arguments
from mdr_tune.util.import_path import CodeError, import_named, look_for_code_in
from mdr_tune.util.user_code import changed_files, imported_code, imported_hashes, use_code

LOSSES = """\
from typing import Iterator, Literal, Optional

from helper import HALF


class SoftTriple:
    def __init__(self, num_classes: int, centers: int, tau: float = HALF, kind: Literal["a", "b"] = "a",
                 sizes: tuple[int, ...] = (1,), name: Optional[str] = None, plain=3,
                 object: "type[Exception] | Iterator" = None):
        self.given = centers, tau, kind, sizes, name


NUMBER = 3
"""
FILES = {
    "my_losses.py": LOSSES,
    "helper.py": "HALF = 0.5\n",
    "broken.py": "x = 1\n\n\ndef f():\n    return 1 / 0\n\n\nf()\n",
    "wrong.py": "import os\n\n\ndef f(:\n",
    "needs.py": "import nothing_of_that_name\n",
    "exits.py": "raise SystemExit(3)\n",
    "yaml.py": "",
    "random.py": "",
    "pack/__init__.py": "",
    "pack/models.py": "def make():\n    pass\n",
    "pack/data.txt": "numbers",
}


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    write(tmp_path, FILES)
    look_for_code_in([tmp_path])
    yield tmp_path
    look_for_code_in([])


def write(folder: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)


def test_what_is_there_is_imported(folder: Path) -> None:
    assert import_named("my_losses:SoftTriple").__name__ == "SoftTriple"
    assert import_named("pack.models:make").__module__ == "pack.models"
    assert import_named("torch.nn:Identity").__name__ == "Identity"


@pytest.mark.parametrize(
    ("path", "told"),
    [
        (
            "my_loses:SoftTriple",
            r"there is no module 'my_loses' in .*, nor is one installed, or on PYTHONPATH\. Did you mean 'my_losses'",
        ),
        ("pack.model:make", r"there is no module 'pack\.model' in .*pack\. Did you mean 'models'\?"),
        ("zzz:make", r"there is no module 'zzz' .* Name its folder: code: DIR, or --code DIR"),
        ("my_losses:SoftTripel", r"my_losses\.py has no 'SoftTripel'\. Did you mean 'SoftTriple'\?"),
        ("my_losses:Zzz", r"my_losses\.py has no 'Zzz'\. It defines SoftTriple\."),
        ("my_losses:NUMBER", r"NUMBER in .*my_losses\.py is of type int: name a class or a function"),
        ("broken:f", r"broken cannot be imported: .*/broken\.py:5: ZeroDivisionError: division by zero$"),
        ("wrong:f", r"wrong cannot be imported: .*/wrong\.py:4: SyntaxError: invalid syntax"),
        ("needs:f", r"needs\.py:1: ModuleNotFoundError: No module named 'nothing_of_that_name': install it"),
        ("exits:f", r"exits cannot be imported: .*exits\.py:1: it calls exit\(3\)"),
        ("yaml:f", r"yaml\.py has the name of the installed package yaml .*: rename your file"),
        ("random:f", r"random\.py has the name of Python's own module random"),
        ("a b:f", r"is no import path: write package\.module:name"),
    ],
)
def test_a_mistake_is_told_in_one_line(folder: Path, path: str, told: str) -> None:
    with pytest.raises(CodeError, match=told) as error:
        import_named(path)
    assert "\n" not in str(error.value)


def test_arguments_are_read_by_the_signature(folder: Path) -> None:
    function = import_named("my_losses:SoftTriple")
    taken = call_arguments(function, ("num_classes", "embedding_size"))
    assert taken.filled == ("num_classes",)
    given = taken.check("my_losses:SoftTriple", {"centers": 2, "tau": 1, "sizes": [1, 2], "name": None, "plain": 0.5})
    assert given == {"centers": 2, "tau": 1.0, "sizes": (1, 2), "name": None, "plain": 0.5}
    assert function(num_classes=3, **given).given == (2, 1.0, "a", (1, 2), None)


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("centers", 2.5, "expected int"),
        ("centers", True, "expected int"),
        ("tau", "0.5", "expected float"),
        ("kind", "c", r"expected Literal\['a', 'b'\] \(.*my_losses\.py:6\), got 'c' \(text\)"),
        ("sizes", [1, "x"], r"expected tuple\[int, \.\.\.\]"),
        ("plain", "3", "expected int | float"),
        ("object", 1, "a sweep file cannot give a "),
    ],
)
def test_a_value_of_another_type_is_refused(folder: Path, key: str, value: Any, expected: str) -> None:
    taken = call_arguments(import_named("my_losses:SoftTriple"), ("num_classes",))
    with pytest.raises((ArgumentProblem, CodeError), match=expected) as error:
        taken.check("my_losses:SoftTriple", {"centers": 2, key: value})
    assert isinstance(error.value, ArgumentProblem)
    assert error.value.key == key


def test_a_missing_argument_is_named(folder: Path) -> None:
    taken = call_arguments(import_named("my_losses:SoftTriple"), ("num_classes",))
    with pytest.raises(CodeError, match=r"needs a value for centers: write \{name: my_losses:SoftTriple, centers: "):
        taken.check("my_losses:SoftTriple", {})


def test_another_folder_has_other_modules_of_the_same_name(folder: Path, tmp_path: Path) -> None:
    first = import_named("pack.models:make")
    other = tmp_path / "other"
    write(other, {"pack/models.py": "def make(depth):\n    pass\n"})
    look_for_code_in([other])
    assert list(call_arguments(import_named("pack.models:make")).defaults) == ["depth"]
    look_for_code_in([folder])
    assert import_named("pack.models:make") is not first
    assert not any(str(other) == entry for entry in sys.path)


def test_other_modules_of_the_folder_are_left_alone() -> None:
    """The working folder may be that of this package, and the tests lie in it."""
    here = sys.modules[__name__]
    look_for_code_in([Path(__file__).parents[2], Path(__file__).parents[2] / "search_spaces"])
    import_named("own_model:SoftTriple")
    code = imported_code()
    assert code is not None
    assert list(code.files) == ["own_model.py"]
    look_for_code_in([])
    assert sys.modules[__name__] is here
    assert "mdr_tune.util.import_path" in sys.modules
    assert "own_model" not in sys.modules


def test_what_functions_import_travels_too(folder: Path) -> None:
    lazy = {
        "lazy.py": "def make():\n    from nets import tower\n    return tower.depth()\n",
        "nets/__init__.py": "",
        "nets/tower.py": "def depth():\n    from .inner import width\n    return width()\n",
        "nets/inner.py": "import importlib\n\n\ndef width():\n    import yaml\n"
        "    return importlib.import_module('helper').HALF\n",
        "unused.py": "",
    }
    write(folder, lazy)
    make = import_named("lazy:make")
    code = imported_code()
    assert code is not None
    assert list(code.files) == ["helper.py", "lazy.py", "nets/__init__.py", "nets/inner.py", "nets/tower.py"]
    assert make() == 0.5
    assert imported_hashes() == code.files
    write(folder, {"helper.py": "HALF = 0.25\n"})
    look_for_code_in([])
    look_for_code_in([folder])
    assert import_named("lazy:make")() == 0.25  # what was imported inside of functions is forgotten


def test_the_code_that_was_imported_travels(folder: Path) -> None:
    import_named("my_losses:SoftTriple")
    import_named("pack.models:make")
    code = imported_code()
    assert code is not None
    names = ["helper.py", "my_losses.py", "pack/__init__.py", "pack/data.txt", "pack/models.py"]
    assert list(code.files) == names  # a package whole, and what a module imports
    assert imported_hashes() == code.files
    use_code(code)
    assert Path(sys.modules["my_losses"].__file__ or "").parent == folder  # unchanged: as the user has it
    write(folder, {"helper.py": "HALF = 0.25\n"})
    use_code(code)
    loss = import_named("my_losses:SoftTriple")
    assert loss(num_classes=1, centers=1).given[1] == 0.5  # as it was when the launch began
    look_for_code_in([folder])
    assert import_named("my_losses:SoftTriple")(num_classes=1, centers=1).given[1] == 0.25
    now = imported_code()
    assert now is not None
    assert now.content != code.content
    assert changed_files(code.files, now.files) == ["helper.py", *(name for name in names if name.startswith("pack"))]
