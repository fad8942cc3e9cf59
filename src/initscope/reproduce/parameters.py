"""The chapters of the book, their parameters, and the profiles that give values to them.

A chapter is a notebook ``NN_name.ipynb``. Its code cell tagged ``parameters`` declares its
parameters and their defaults. A profile is a folder ``profiles/NAME`` beside the notebooks; its
file ``NN_name.yaml`` gives other values to the parameters of that chapter, as papermill reads them
(``papermill -f``)::

    profile: smoke
    seeds: 2
    learning_rates: [1.0e-2]

:func:`plan` reads both and checks every value, so that a mistake is found before anything runs.
"""

from __future__ import annotations

import ast
import importlib.util
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nbformat
from nbformat import NotebookNode

from initscope.errors import UsageError, unknown_name, yaml_hint
from initscope.yaml_files import described, read_yaml

PARAMETERS = "parameters"
"""Tag of the cell in which a chapter declares its parameters."""

_WORDS: dict[type, str] = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "text",
    list: "a list",
    dict: "a mapping",
    type(None): "null",
}


@dataclass(frozen=True)
class Parameter:
    """A parameter as a chapter declares it.

    Attributes
    ----------
    name
        Its name.
    types
        Types a value may have; empty if any will do.
    items
        Types the items of a list or the values of a mapping may have; empty if any will do.
    """

    name: str
    types: frozenset[type] = frozenset()
    items: frozenset[type] = frozenset()

    def check(self, value: object, where: str) -> None:
        """Raise `UsageError` unless `value` is of a declared type.

        A whole number will do where a number is declared; ``true`` is not a number.

        Parameters
        ----------
        value
            The value as YAML gives it.
        where
            Where the value was given, for the message.
        """
        if not _fits(value, self.types):
            what = " or ".join(sorted(_WORDS.get(kind, kind.__name__) for kind in self.types))
            raise UsageError(
                f"{where}: {self.name} must be {what}, not {described(value)}.{yaml_hint(value)}"
            )
        inner = value.values() if isinstance(value, dict) else value
        if isinstance(inner, str) or not isinstance(inner, Iterable):
            return
        for item in inner:
            if not _fits(item, self.items):
                what = " or ".join(sorted(_WORDS.get(kind, kind.__name__) for kind in self.items))
                raise UsageError(
                    f"{where}: each item of {self.name} must be {what}, not {described(item)}."
                    f"{yaml_hint(item)}"
                )


def _fits(value: object, types: frozenset[type]) -> bool:
    """Return whether `value` is of one of `types`; none means any."""
    kind = list if isinstance(value, tuple) else type(value)
    return not types or kind in types or (kind is int and float in types)


def declared_parameters(notebook: NotebookNode) -> dict[str, Parameter]:
    """Return the parameters that a notebook declares in its cell tagged ``parameters``.

    The type of a parameter is its annotation, else the type of its default. A default of
    ``None`` or one that is not a literal admits any value.
    """
    # papermill.inspect_notebook (2.7) sees neither `int | None` and `tuple[float, ...]` nor what
    # follows on a line with a second `=` in a comment.
    cell = next((cell for cell in notebook.cells if tagged(cell, PARAMETERS)), None)
    if cell is None:
        return {}
    found: dict[str, Parameter] = {}
    for statement in ast.parse(cell.source).body:
        if isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name):
            name = statement.target.id
            found[name] = Parameter(name, *_annotated(statement.annotation))
        elif isinstance(statement, ast.Assign):
            for target in statement.targets:
                if isinstance(target, ast.Name):
                    found[target.id] = Parameter(target.id, *_types_of(statement.value))
    return found


_Types = tuple[frozenset[type], frozenset[type]]
_ANY: _Types = (frozenset(), frozenset())


def _types_of(default: ast.expr) -> _Types:
    """Return the types that the default of a parameter admits, and those of its items."""
    try:
        value = ast.literal_eval(default)
    except ValueError:
        return _ANY
    if value is None:
        return _ANY
    if isinstance(value, list | tuple):
        return frozenset({list}), frozenset(map(type, value))
    if isinstance(value, dict):
        return frozenset({dict}), frozenset(map(type, value.values()))
    return frozenset({type(value)}), frozenset()


def _annotated(annotation: ast.expr) -> _Types:
    """Return the types that an annotation admits, and those of its items."""
    simple: dict[str, type] = {kind.__name__: kind for kind in (bool, int, float, str, list, dict)}
    simple |= {"tuple": list, "None": type(None)}
    match annotation:
        case ast.Constant(value=None):
            return frozenset({type(None)}), frozenset()
        case ast.Constant(value=str(text)):
            return _annotated(ast.parse(text, mode="eval").body)
        case ast.Name(id=name) if name in simple:
            return frozenset({simple[name]}), frozenset()
        case ast.BinOp(left=left, op=ast.BitOr(), right=right):
            return _either(_annotated(left), _annotated(right))
        case ast.Subscript(value=ast.Name(id="list"), slice=item):
            return frozenset({list}), _annotated(item)[0]
        case ast.Subscript(value=ast.Name(id="tuple")):
            return frozenset({list}), frozenset()
        case ast.Subscript(value=ast.Name(id="dict"), slice=ast.Tuple(elts=[_, item])):
            return frozenset({dict}), _annotated(item)[0]
    return _ANY


def _either(left: _Types, right: _Types) -> _Types:
    """Return the types that one of two annotations admits."""
    if not left[0] or not right[0]:
        return _ANY
    return left[0] | right[0], left[1] | right[1]


def find_chapters(notebooks: Path) -> dict[str, Path]:
    """Find the chapters in a folder: stem, like ``05_std_sweep``, to path, in order."""
    if not os.path.isdir(notebooks):  # false also for what cannot be a name
        raise UsageError(
            f"there is no folder {notebooks}: run from the root of the project, or name the "
            "folder of the chapters with --notebooks."
        )
    found = {path.stem: path for path in sorted(notebooks.glob("[0-9][0-9]_*.ipynb"))}
    if not found:
        raise UsageError(f"{notebooks} holds no chapter NN_name.ipynb.")
    return found


def select_chapters(names: Sequence[str], notebooks: Path) -> dict[str, Path]:
    """Select chapters by number (``5``), stem (``05_std_sweep``) or path; none names all."""
    chapters = find_chapters(notebooks)
    if not names:
        return chapters
    chosen = set()
    for name in map(str, names):
        path = Path(name)
        if path.suffix == ".ipynb":
            if path.parent != Path() and not _is_same_folder(path.parent, notebooks):
                raise UsageError(
                    f"{name} lies outside {notebooks}: name its folder with --notebooks."
                )
            stems = [path.stem] if path.stem in chapters else []
        elif name.isdecimal() and len(name) < 10:
            stems = [stem for stem in chapters if int(stem[:2]) == int(name)]
        else:
            stems = [name] if name in chapters else []
        if not stems:
            raise unknown_name("chapter", name, chapters)
        chosen.update(stems)
    return {stem: path for stem, path in chapters.items() if stem in chosen}


def _is_same_folder(folder: Path, other: Path) -> bool:
    """Return whether two paths name one folder."""
    try:
        return folder.resolve() == other.resolve()
    except (OSError, RuntimeError, ValueError):  # a loop of links; what cannot be a name
        return False


def read_profile(profile: str, notebooks: Path) -> dict[str, dict[str, Any]]:
    """Read the parameters by chapter: the files ``profiles/{profile}/NN_name.yaml``."""
    folder = notebooks / "profiles"
    profiles = sorted(path.name for path in folder.glob("[!.]*") if path.is_dir())
    if profile not in profiles:
        if not profiles:
            raise UsageError(f"{folder} holds no profile, which is a folder of files NN_name.yaml.")
        raise unknown_name("profile", profile, profiles)
    chapters = find_chapters(notebooks)
    content = {path.stem: path for path in sorted((folder / profile).glob("*.yaml"))}
    for chapter, path in content.items():
        if chapter not in chapters:
            raise UsageError(f"{path}: {unknown_name('chapter', chapter, chapters)}")
    return {chapter: read_yaml(path) for chapter, path in content.items()}


@dataclass(frozen=True)
class Run:
    """A chapter about to be executed: the notebook as published, and its parameters."""

    chapter: str
    path: Path
    notebook: NotebookNode
    parameters: dict[str, Any]


def plan(
    chapters: Sequence[str],
    profile: str,
    notebooks: Path,
    parameters: Mapping[str, Any],
) -> list[Run]:
    """Read the chapters and their parameters, and check every value; nothing is executed.

    Parameters
    ----------
    chapters, profile, notebooks, parameters
        As for :func:`initscope.reproduce.reproduce`.

    Raises
    ------
    UsageError
        For an unknown chapter, profile or parameter, or a value of the wrong type.
    """
    selected = select_chapters(chapters, notebooks)
    given = read_profile(profile, notebooks)
    runs = []
    declared_anywhere: set[str] = set()
    for chapter, path in selected.items():
        notebook = _read_notebook(path)
        try:
            declared = declared_parameters(notebook)
        except SyntaxError as error:
            raise UsageError(f"{path}: the parameters cell is not Python: {error}.") from error
        declared_anywhere.update(declared)
        values = {"profile": profile} if "profile" in declared else {}
        where = str(notebooks / "profiles" / profile / f"{chapter}.yaml")
        for name, value in given.get(chapter, {}).items():
            if (name, value) == ("profile", profile) and name in declared:
                continue  # it stands there for papermill alone
            _check(name, value, declared, where, chapter)
            values[name] = value
        for name, value in parameters.items():
            if name in declared or len(selected) == 1:
                _check(name, value, declared, f"-p {name}", chapter)
                values[name] = value
        runs.append(Run(chapter, path, notebook, values))
    for name in parameters:
        if name not in declared_anywhere:
            raise unknown_name("parameter", name, declared_anywhere)
    return runs


def _check(
    name: str, value: object, declared: dict[str, Parameter], where: str, chapter: str
) -> None:
    """Raise `UsageError` unless a chapter declares a parameter that can have this value."""
    if name == "profile":
        raise UsageError(
            f"{where}: the parameter profile is set by --profile; a file of a profile may only "
            "repeat the name of its folder."
        )
    if not declared:
        raise UsageError(f"{where}: {chapter} declares no parameters, so not {name!r}.")
    if name not in declared:
        raise UsageError(f"{where}: {unknown_name(f'parameter of {chapter}', name, declared)}")
    declared[name].check(value, where)


def _read_notebook(path: Path) -> NotebookNode:
    """Read a notebook; `UsageError` if it is none."""
    try:
        notebook = nbformat.read(path, as_version=4)
        return nbformat.v4.upgrade(notebook)
    except (
        nbformat.ValidationError,
        OSError,
        AttributeError,
        KeyError,
        RecursionError,
        TypeError,
        ValueError,
    ) as error:
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise UsageError(f"{path} is not a notebook: {reason}") from error


def require_modules(run: Run) -> None:
    """Raise `UsageError` if a chapter imports, outside of functions, what is not installed."""
    for cell in run.notebook.cells:
        for module in _imports(cell.source) if cell.cell_type == "code" else ():
            if importlib.util.find_spec(module) is None:
                package = module.replace("_", "-")
                raise UsageError(
                    f"{run.chapter} needs the module {module}, which is not installed: "
                    f"pip install {package}."
                )


def _imports(source: str) -> list[str]:
    """Return the top-level modules that a cell imports on its outermost level."""
    try:
        body = ast.parse(source).body
    except SyntaxError:  # a magic of IPython
        return []
    names = [alias.name for node in body if isinstance(node, ast.Import) for alias in node.names]
    names += [node.module or "" for node in body if isinstance(node, ast.ImportFrom)]
    return [name.partition(".")[0] for name in names]


def tagged(cell: NotebookNode, tag: str) -> bool:
    """Return whether a cell has a tag."""
    return tag in cell.metadata.get("tags", [])
