"""Import the user's own code by an import path, `package.module:name`, from a folder or an installed package.

A process looks for the user's modules in the folders given to `look_for_code_in`, then wherever Python looks.
"""

import ast
import importlib
import importlib.machinery
import inspect
import re
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from mdr_tune.util.errors import UserError
from mdr_tune.util.nearest_name import did_you_mean

_FORM = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*")
_folders: tuple[Path, ...] = ()
_added: list[str] = []
"""Entries of `sys.path` that were added for the folders."""

_tops: set[str] = set()
"""Top-level names of the user's modules: those that import paths name, and those that such modules import.

Imports inside of functions count, too. The folders may hold other modules that are in use, such as this package itself.
"""

_scanned: set[str] = set()
"""Names of the user's modules whose files were searched for imports."""


FAILURES = (Exception, SystemExit)
"""Exceptions of the user's code that become messages to the user."""


class CodeError(UserError, ValueError):  # a ValueError, which pydantic takes from a validator
    """The user's own code cannot be imported or used. The text has the file and line of that code where it is known."""


def is_import_path(name: str) -> bool:
    """Return whether the `name` of a component is an import path: whether it has a colon, unlike built-in names."""
    return ":" in name


def short_name(name: str) -> str:
    """Return the last part of the import path `name`: `SoftTriple` for `my_losses:SoftTriple`. Other names stay."""
    return name.rpartition(":")[2]


def look_for_code_in(folders: Sequence[Path]) -> None:
    """From now on, look for the user's modules in `folders`, in this order, instead of the folders set before.

    Modules that were imported from the former folders are forgotten, so that modules of the same name are found in the
    new folders.
    """
    global _folders
    wanted = tuple(dict.fromkeys(folder.resolve() for folder in folders))
    if wanted == _folders:
        return
    for name in [name for name, _ in own_modules()]:
        del sys.modules[name]
    for entry in _added:
        if entry in sys.path:
            sys.path.remove(entry)
    _added.clear()
    _tops.clear()
    _scanned.clear()
    _folders = wanted


def code_folders() -> tuple[Path, ...]:
    """Return the folders that `look_for_code_in` was given."""
    return _folders


def _extend_path() -> None:
    """Append the folders to `sys.path`, at its end, so that the user's files hide no installed package.

    This is done when the first import path is followed. A sweep without import paths leaves `sys.path` as it is.
    """
    new = [str(folder) for folder in _folders if str(folder) not in sys.path]
    if new:
        _added.extend(new)
        sys.path.extend(new)
        importlib.invalidate_caches()


def own_modules() -> Iterator[tuple[str, Path]]:
    """Yield (name, file) of each loaded module of the user: those that import paths name, and those that they import.

    For a package without an `__init__.py`, the folder is yielded in place of the file.
    """
    for name, module in list(sys.modules.items()):
        top = name.partition(".")[0]
        if top not in _tops:
            continue
        file = getattr(module, "__file__", None) or next(iter(getattr(module, "__path__", ())), None)
        if file and (place := own_place(top)) is not None and Path(file).resolve().is_relative_to(place):
            yield name, Path(file).resolve()


def own_places() -> list[Path]:
    """Return the files and folders of the user's modules that are in use, or that may come into use, sorted."""
    return sorted({place for top in _tops if (place := own_place(top)) is not None})


def own_place(top: str) -> Path | None:
    """Return the file or folder of the user's module `top`, a name without dots; None if no folder has it."""
    for folder in _folders if top != "mdr_tune" else ():
        if (file := folder / f"{top}.py").is_file():
            return file
        if (package := folder / top).is_dir() and next(package.glob("*.py"), None) is not None:
            return package
    return None


def import_named(path: str) -> Callable[..., Any]:
    """Return the class or function that the import path `path` names.

    Example:
        >>> import_named("collections:Counter")
        <class 'collections.Counter'>

    Raises:
        CodeError: There is no such module or name, importing the module raises an error, the object cannot be called,
            or an installed module has the same name. The message says what to change.
    """
    if _FORM.fullmatch(path) is None:
        raise CodeError(f"{path!r} is no import path: {instead_of(path)}")
    module_name, _, name = path.partition(":")
    top = module_name.partition(".")[0]
    place = own_place(top)
    if place is not None and (other := _elsewhere(top, place)) is not None:
        raise CodeError(
            f"{path}: {place} has the name of {other}, so that Python may import the one or the other: rename your file"
        )
    _extend_path()
    before = set(sys.modules)
    try:
        module = _import(path, module_name)
    finally:  # a module that fails may have imported others
        new = {top, *(imported.partition(".")[0] for imported in set(sys.modules) - before)}
        _tops.update(filter(_is_the_users, new))
        _scan([name for name, _ in own_modules()])
    found = getattr(module, name, None)
    if not hasattr(module, name):
        public = [known for known in vars(module) if not known.startswith("_")]
        defined = [known for known in public if getattr(vars(module)[known], "__module__", None) == module_name]
        there = did_you_mean(name, public) or (f" It defines {', '.join(defined)}." if defined else "")
        raise CodeError(f"{path}: {_file_of(module)} has no {name!r}.{there}")
    if not callable(found):
        raise CodeError(
            f"{path}: {name} in {_file_of(module)} is of type {type(found).__name__}: name a class or a function"
        )
    return found  # type: ignore[no-any-return]


def _elsewhere(top: str, place: Path) -> str | None:
    """Return words for a module `top` other than the user's at `place`: a standard or installed one; else None."""
    if top in sys.stdlib_module_names:
        return f"Python's own module {top}"
    elsewhere = [entry for entry in sys.path if Path(entry).resolve() not in _folders]
    for finder in sys.meta_path:
        of_files = finder is importlib.machinery.PathFinder
        spec = finder.find_spec(top, elsewhere if of_files else None) if hasattr(finder, "find_spec") else None
        origin = None if spec is None else spec.origin or next(iter(spec.submodule_search_locations or ()), None)
        if origin is not None and not Path(origin).resolve().is_relative_to(place):
            return f"the installed package {top} ({origin})"
    return None


def _is_the_users(top: str) -> bool:
    """Return whether an import of `top`, a name without dots, finds a module in the user's folders."""
    return (place := own_place(top)) is not None and _elsewhere(top, place) is None


def _scan(modules: Sequence[str]) -> None:
    """Add to `_tops` those of `modules` that are the user's, and all user's modules that they import, also indirectly.

    Imports inside of functions count, too.
    """
    to_do = list(modules)
    while to_do:
        module = to_do.pop()
        top = module.partition(".")[0]
        if module in _scanned or not (top in _tops or _is_the_users(top)):
            continue
        _scanned.add(module)
        _tops.add(top)
        if (file := _file_in_folders(module)) is not None:
            to_do += _imports_in(module, file)


def _file_in_folders(module: str) -> Path | None:
    place, others = own_place(module.partition(".")[0]), module.split(".")[1:]
    if place is None or place.is_file():
        return place if not others else None
    path = place.joinpath(*others)
    return next((file for file in (path.with_suffix(".py"), path / "__init__.py") if file.is_file()), None)


def _imports_in(module: str, file: Path) -> Iterator[str]:
    """Yield the names of the modules that the `file` of `module` imports, and of the packages that they are in."""
    package = module if file.name == "__init__.py" else module.rpartition(".")[0]
    try:
        nodes = list(ast.walk(ast.parse(file.read_bytes())))
    except (SyntaxError, ValueError):  # its import says so
        return
    for node in nodes:
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            parents = package.split(".")[: 1 - node.level or None] if node.level else []
            base = ".".join([*parents, *([node.module] if node.module else [])])
            names = [f"{base}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Call) and ast.unparse(node.func) in ("importlib.import_module", "import_module"):
            names = [arg.value for arg in node.args[:1] if isinstance(arg, ast.Constant) and isinstance(arg.value, str)]
        for name in names:
            parts = name.split(".")
            yield from (".".join(parts[:end]) for end in range(1, len(parts) + 1))


def _import(path: str, module_name: str) -> Any:
    try:
        return importlib.import_module(module_name)
    except FAILURES as error:
        if isinstance(error, ModuleNotFoundError) and _names(module_name, error.name):
            raise CodeError(f"{path}: {_not_found(module_name, str(error.name))}") from None
        missing = isinstance(error, ModuleNotFoundError)
        fix = ": install it, on all nodes of a cluster" if missing else ""
        raise CodeError(f"{path}: {module_name} cannot be imported: {said(error)}{fix}") from None


def instead_of(text: str) -> str:
    """Return advice on what to write instead of `text`, which is no import path but, for example, a file or `a.b.c`.

    Example:
        >>> instead_of("code/mine.py:Encoder")
        'write mine:Encoder, and name its folder: code: code, or --code code'
    """
    file, colon, name = text.partition(":")
    path = Path(file)
    if path.suffix == ".py" or "/" in file:
        place = path.parent
        folder = "" if place == Path() else f", and name its folder: code: {place}, or --code {place}"
        return f"write {path.stem}:{name or 'NAME'}{folder}"
    module, _, last = text.rpartition(".")
    if not colon and _FORM.fullmatch(f"{module}:{last}"):
        return f"write {module}:{last}"
    return "write package.module:name, such as my_losses:SoftTriple"


def _names(module_name: str, missing: str | None) -> bool:
    return missing is not None and f"{module_name}.".startswith(f"{missing}.")


def _not_found(module_name: str, missing: str) -> str:
    """Return a message that there is no module `missing`, which is `module_name` or a package that contains it."""
    package, _, last = missing.rpartition(".")
    if package:
        places = [Path(entry) for entry in getattr(sys.modules.get(package), "__path__", ())]
        where = f"in {', '.join(map(str, places))}" if places else f": {package} is a module, not a package"
    else:
        places = list(_folders)
        where = f"in {', '.join(map(str, places))}, nor is one installed" if places else "installed"
        where += ", or on PYTHONPATH"
    near = did_you_mean(last, sorted({name for place in places for name in _modules_in(place)}))
    fix = near or ("" if package else " Name its folder: code: DIR, or --code DIR.")
    text = f"there is no module {missing!r} {where}.{fix}"
    return text.replace(" :", ":")


def _modules_in(folder: Path) -> Iterator[str]:
    if not folder.is_dir():
        return
    for entry in folder.iterdir():
        if entry.suffix == ".py" and entry.stem.isidentifier() and entry.stem != "__init__":
            yield entry.stem
        elif entry.name.isidentifier() and (entry / "__init__.py").is_file():
            yield entry.name


def _file_of(module: Any) -> str:
    return str(getattr(module, "__file__", None) or module.__name__)


def said(error: BaseException) -> str:
    """Return a text on `error`: file and line in the user's own code, type and message.

    The line is the last one in the traceback that is in a folder of the user's code; there may be none.
    """
    if isinstance(error, SyntaxError) and error.filename:
        return f"{error.filename}:{error.lineno}: {type(error).__name__}: {error.msg}"
    text = " ".join(str(error).split())
    what = (
        f"it calls exit({text})"
        if isinstance(error, SystemExit)
        else f"{type(error).__name__}: {text}"
        if text
        else type(error).__name__
    )
    places = [(Path(frame.filename), frame.lineno) for frame in traceback.extract_tb(error.__traceback__)]
    own = [
        place for place in places if any(place[0].is_relative_to(folder) for folder in _folders) and _is_own(place[0])
    ]
    return f"{own[-1][0]}:{own[-1][1]}: {what}" if own else what


def _is_own(file: Path) -> bool:
    return not {"site-packages", "mdr_tune"} & set(file.parts) and not str(file).startswith("<")


def defined_at(function: Any) -> str:
    """Return the place ` (file:line)` where the class or function is defined; "" if Python does not know it."""
    try:
        return f" ({inspect.getsourcefile(function)}:{inspect.getsourcelines(function)[1]})"
    except (OSError, TypeError):
        return ""
