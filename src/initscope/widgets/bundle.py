"""One ES module out of a widget's own and those it imports.

A published page and a notebook carry a widget as one text, so its modules, written as files that
import each other, are put together here. Each becomes a function that returns what it exports: no
name of one is seen by another, and no tool but Python is needed.
"""

from __future__ import annotations

import functools
import re
from pathlib import Path

__all__: list[str] = []  # for this package alone

SCRIPTS = Path(__file__).parent

_IMPORT = re.compile(
    r'^import\s*\{(?P<names>[^}]*)\}\s*from\s*"(?P<path>\.[^"]+)";\n', re.MULTILINE
)
_EXPORT = re.compile(
    r"^export (?=(?:async )?(?:const|let|function\*?|class) ([\w$]+))", re.MULTILINE
)
_DEFAULT = re.compile(r"^export default ", re.MULTILINE)
_COMMENT = re.compile(r"^[ \t]*(?://.*|/\*(?:(?!\*/)(?s:.))*\*/)\n", re.MULTILINE)


@functools.cache
def bundle(name: str) -> str:
    """Return the ES module `name`, a path below this package, with all that it imports.

    Modules are written in the one way that is understood: ``import { a, b } from "./lib/c.mjs";``
    on lines of their own, ``export`` before a declaration, and one ``export default`` in the
    widget's own module. Comments on lines of their own are left out: a page carries the text once
    for each copy of the widget.

    Raises
    ------
    ValueError
        If a module imports or exports in another way, or imports itself by way of others.
    """
    order: dict[Path, str] = {}
    _collect((SCRIPTS / name).resolve(), order, ())
    *needed, main = order.items()
    parts = [f"const {_variable(path)} = (() => {{\n{text}\n}})();" for path, text in needed]
    return "\n".join([*parts, main[1]]) + "\n"


def _variable(path: Path) -> str:
    return "$" + re.sub(r"\W", "_", path.relative_to(SCRIPTS.resolve()).with_suffix("").as_posix())


def _collect(path: Path, order: dict[Path, str], within: tuple[Path, ...]) -> None:
    """Add the modules that `path` imports to `order`, then `path`."""
    if path in within:
        raise ValueError(f"{path.name} imports itself: {' -> '.join(p.name for p in within)}")
    if path in order:
        return
    text = _COMMENT.sub("", path.read_text(encoding="utf8"))

    def resolve(match: re.Match[str]) -> str:
        imported = (path.parent / match["path"]).resolve()
        _collect(imported, order, (*within, path))
        names = ", ".join(
            n.strip().replace(" as ", ": ") for n in match["names"].split(",") if n.strip()
        )
        return f"const {{ {names} }} = {_variable(imported)};\n"

    text = _IMPORT.sub(resolve, text)
    if within:  # not the widget's own module
        exported = _EXPORT.findall(text)
        text = _EXPORT.sub("", text) + f"\nreturn {{ {', '.join(exported)} }};"
    else:
        text = _EXPORT.sub("", text)
    if re.search(r"^(?:import\b(?!\()|export\b(?! default ))", text, re.MULTILINE) or (
        within and _DEFAULT.search(text)
    ):
        raise ValueError(f"{path.name} imports or exports in a way that bundle does not understand")
    order[path] = text.strip("\n")
