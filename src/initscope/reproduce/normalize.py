"""Make an executed notebook depend on its sources and results alone.

Executing a notebook writes down more than its results: times, random identifiers, memory
addresses, folders of the machine. :func:`normalize` removes them or gives them fixed values, so
that executing a notebook again with the same results leaves the file as it was, byte for byte.
"""

from __future__ import annotations

import copy
import hashlib
import json
import re
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import nbformat
from nbformat import NotebookNode

from initscope.reproduce.small_svg import small_svg

WIDGET_VIEW = "application/vnd.jupyter.widget-view+json"
WIDGET_STATE = "application/vnd.jupyter.widget-state+json"
GLUED = "application/papermill.record/text/plain"

_KERNEL = {"display_name": "Python 3", "language": "python", "name": "python3"}
_LANGUAGE = {"file_extension": ".py", "name": "python", "pygments_lexer": "ipython3"}
_RUN_METADATA = ("papermill", "execution", "ExecuteTime", "collapsed", "scrolled")
_PROGRESS_MODELS = {"FloatProgressModel", "IntProgressModel"}

_ADDRESS = re.compile(r"\bat 0x[0-9a-fA-F]+")
_SVG_DATE = re.compile(r"[ \t]*<dc:date>[^<]*</dc:date>\n?")
_GLUED_FLOAT = re.compile(r"\A-?\d+\.\d+(e[+-]?\d+)?\Z|\A-?\d+e[+-]?\d+\Z")
_STYLER_ID = re.compile(r"(?<=[#\"])T_[0-9a-f]{5}(?=[_\" ])")
_OVERWRITTEN = re.compile(r"[^\n]*\r(?=[^\r\n])")
_TRAILING_SPACE = re.compile(r"[ \t\r]+$", re.MULTILINE)
_MODEL_ID = re.compile(r"[0-9a-f]{32}|widget-\d{4,}")
_ESCAPE_CODE = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
_PROGRESS_BAR = re.compile(
    r"[^\r\n]*?\d+%\|[^\r\n|]*\|[^\r\n\]]*\]?"  # 40%|████      | 2/5 [00:01<00:02, 1.9it/s]
    r"|[^\r\n]*?\d+\S*(?: \w+)? \[\d[\d:]*, [^\r\n\]]*\]"  # 12it [00:03, 4.1it/s]
)


def normalize(notebook: NotebookNode, root: Path | None = None) -> NotebookNode:
    """Return a copy of `notebook` without anything that changes from one execution to the next.

    - Times, papermill's records and folds are removed; the kernel's name and language are fixed.
    - Cells are numbered 1, 2, ... in the order of the notebook, and named by their source.
    - Standard error and progress bars are removed, pieces of standard output joined. Check
      :func:`stderr_text` first: a warning is not noise.
    - Memory addresses, dates in SVG figures and pandas' random table ids get fixed values;
      coordinates in SVG figures are rounded to a hundredth of a point, shapes named by what is
      left of them, and lines joined.
    - Folders of this machine are replaced: `root` by ``.``, the home folder by ``~``, temporary
      folders by ``$TMP``, the Python installation by ``$PYTHON``.
    - Widgets that are shown keep their state under names numbered in reading order; the others
      are removed.
    - Numbers of ``myst_nb.glue`` and in the state of widgets are rounded to twelve significant
      digits: in what order a processor adds up decides the ones after.

    Everything else is kept as it is. Normalizing twice changes nothing more.

    Parameters
    ----------
    notebook
        An executed notebook of format 4; not changed.
    root
        Folder of the project, written ``.`` where an output names it.

    Raises
    ------
    nbformat.ValidationError
        If the result is not a valid notebook.
    """
    result = nbformat.v4.upgrade(copy.deepcopy(notebook))
    result.metadata.pop("papermill", None)
    result.metadata["kernelspec"] = NotebookNode(_KERNEL)
    result.metadata["language_info"] = NotebookNode(_LANGUAGE)
    clean = _Cleaner(root)
    executed = 0
    for cell in result.cells:
        cell.source = cell.source.rstrip()
        for key in _RUN_METADATA:
            cell.metadata.pop(key, None)
        if not cell.metadata.get("tags", True):
            del cell.metadata["tags"]
        if cell.cell_type != "code":
            continue
        if cell.execution_count is not None:
            executed += 1
            cell.execution_count = executed
        cell.outputs = list(clean.outputs(cell.outputs, cell.execution_count))
    _name_cells(result.cells)
    _normalize_widgets(result)
    nbformat.validate(result)
    return result


def dumps(notebook: NotebookNode) -> str:
    """Return the text of the notebook file: keys sorted, indented by one, a newline at the end."""
    return nbformat.writes(notebook, version=nbformat.NO_CONVERT).rstrip("\n") + "\n"


def stderr_text(cell: NotebookNode) -> str:
    """Return what a cell wrote to standard error other than progress bars of ``tqdm``.

    An empty string if it wrote nothing else.
    """
    streams = (out.text for out in cell.get("outputs", []) if out.get("name") == "stderr")
    text = _ESCAPE_CODE.sub("", "".join(streams))
    lines = re.split(r"[\r\n]", _PROGRESS_BAR.sub("", text))
    return "\n".join(line for line in lines if line.strip())


class _Cleaner:
    """State of rewriting the outputs of one notebook."""

    def __init__(self, root: Path | None) -> None:
        self.styler_ids: dict[str, str] = {}
        folders = {Path(sys.base_prefix): "$PYTHON", Path(sys.prefix): "$PYTHON"}
        folders = {path: name for path, name in folders.items() if len(path.parts) > 2}  # not /usr
        folders[Path.home()] = "~"
        if root is not None:
            folders[root] = "."
        folders |= {path.resolve(): name for path, name in folders.items()}
        self.folders = [
            (_folder_pattern(path), folders[path])
            for path in sorted(folders, key=lambda path: len(str(path)), reverse=True)
            if path != Path(path.anchor)
        ]
        temporary = Path(tempfile.gettempdir())
        for path in {temporary, temporary.resolve()}:
            self.folders.append((_folder_pattern(path, r"(/[\w.-]+)?"), "$TMP"))

    def outputs(self, outputs: list[NotebookNode], count: int | None) -> Iterable[NotebookNode]:
        """Yield the outputs of one cell, cleaned; `count` is the number of its execution."""
        stdout: NotebookNode | None = None
        kept = []
        for output in outputs:
            if output.output_type == "stream" and output.name == "stderr":
                continue
            if output.output_type == "stream" and stdout is not None:
                stdout.text += output.text
                continue
            stdout = output if output.output_type == "stream" else None
            kept.append(output)
        for output in kept:
            if output.output_type == "stream":
                output.text = self.plain(_OVERWRITTEN.sub("", output.text))
                if not output.text:
                    continue
            for mime, data in output.get("data", {}).items():
                if mime == "image/svg+xml":
                    # On one line: a notebook stores every line apart, at twenty bytes each.
                    output.data[mime] = small_svg(_SVG_DATE.sub("", data))
                elif mime == "text/plain":
                    output.data[mime] = self.plain(data)
                elif mime == GLUED:
                    output.data[mime] = _GLUED_FLOAT.sub(_twelve_digits, data)
                elif mime.startswith("text/"):
                    output.data[mime] = self.text(_STYLER_ID.sub(self._styler_id, data))
            if output.output_type == "execute_result":
                output.execution_count = count
            yield output

    def plain(self, text: str) -> str:
        """Return `text` without addresses, folders and space at the end of lines."""
        return _TRAILING_SPACE.sub("", self.text(text))

    def text(self, text: str) -> str:
        """Return `text` without addresses and folders."""
        text = _ADDRESS.sub("at 0x0", text)
        for folder, replacement in self.folders:
            text = folder.sub(replacement, text)
        return text

    def _styler_id(self, match: re.Match[str]) -> str:
        """Return an identifier of pandas' styler by the order of appearance."""
        return self.styler_ids.setdefault(match[0], f"T_{len(self.styler_ids):05x}")


def _twelve_digits(match: re.Match[str]) -> str:
    """Round a float to twelve significant digits."""
    return repr(_rounded(float(match[0])))


def _rounded(value: Any) -> Any:
    """Round floats to twelve significant digits, wherever they are in lists and dictionaries."""
    if isinstance(value, dict):
        return {key: _rounded(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_rounded(each) for each in value]
    return float(f"{value:.12g}") if isinstance(value, float) else value


def _folder_pattern(folder: Path, below: str = "") -> re.Pattern[str]:
    """Return a pattern of a folder's path, followed by the pattern `below`."""
    return re.compile(rf"(?<![\w/.~-]){re.escape(str(folder))}{below}(?![\w.-])")


def _name_cells(cells: list[NotebookNode]) -> None:
    """Give every cell an id made from its type and source; equal cells are told apart by order."""
    seen: dict[str, int] = {}
    for cell in cells:
        digest = hashlib.sha256(f"{cell.cell_type}\n{cell.source}".encode()).hexdigest()[:12]
        seen[digest] = seen.get(digest, 0) + 1
        cell.id = digest if seen[digest] == 1 else f"{digest}-{seen[digest]}"


def _normalize_widgets(notebook: NotebookNode) -> None:
    """Keep the state of the widgets that are shown, under names numbered in reading order."""
    stored = notebook.metadata.pop("widgets", {}).get(WIDGET_STATE, {})
    models: dict[str, Any] = stored.get("state", {})
    mentioned = {name: _mentions(model, models) for name, model in models.items()}

    shown: list[str] = []
    for cell in notebook.cells:
        kept = []
        for output in cell.get("outputs", []):
            view = output.get("data", {}).get(WIDGET_VIEW)
            if view is not None and view["model_id"] in models:
                tree = _reach([view["model_id"]], mentioned)
                if any(models[name]["model_name"] in _PROGRESS_MODELS for name in tree):
                    continue
                shown.append(view["model_id"])
            kept.append(output)
        if cell.cell_type == "code":
            cell.outputs = kept

    order = _reach(shown, mentioned)
    # A link between two widgets mentions them; they do not mention the link.
    while linking := [
        name for name in models if name not in order and set(mentioned[name]) & set(order)
    ]:
        number = {name: str(order.index(name)) for name in order}
        linking.sort(key=lambda name: _rename(models[name], number, unknown="?"))
        order = _reach([*order, *linking], mentioned)
    if not order:
        return

    names = {old: f"widget-{number:04d}" for number, old in enumerate(order)}
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            if WIDGET_VIEW in output.get("data", {}):
                output.data[WIDGET_VIEW] = json.loads(_rename(output.data[WIDGET_VIEW], names))
    state = {names[name]: _rounded(json.loads(_rename(models[name], names))) for name in order}
    for model in state.values():
        if model["model_name"] == "OutputModel":
            model["state"]["msg_id"] = ""
    notebook.metadata["widgets"] = nbformat.from_dict({WIDGET_STATE: {**stored, "state": state}})


def _mentions(model: Any, models: dict[str, Any]) -> list[str]:
    """Return the models that `model` mentions, in the order of its sorted keys."""
    found = _MODEL_ID.findall(json.dumps(model, sort_keys=True))
    return [name for name in dict.fromkeys(found) if name in models]


def _rename(data: Any, names: dict[str, str], unknown: str | None = None) -> str:
    """Return JSON text of `data` with the models' names replaced."""
    text = json.dumps(data, sort_keys=True)
    return _MODEL_ID.sub(lambda match: names.get(match[0], unknown or match[0]), text)


def _reach(start: list[str], mentioned: dict[str, list[str]]) -> list[str]:
    """Return `start` and all that it mentions, even indirectly, each once, in reading order."""
    order: dict[str, None] = {}
    pending = list(reversed(start))
    while pending:
        name = pending.pop()
        if name not in order:
            order[name] = None
            pending.extend(reversed(mentioned[name]))
    return list(order)
