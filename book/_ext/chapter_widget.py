"""A widget of a chapter on a page of prose: ``{widget} ../notebooks/01_x.ipynb SignalPropagation``.

The first widget of that class in the notebook is shown, with its still picture; its state and its
module come from the notebook, as they do in the chapter itself.
"""

import html
import json
from pathlib import Path
from typing import Any
from urllib.parse import quote

from docutils import nodes
from docutils.parsers.rst import directives
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

VIEW = "application/vnd.jupyter.widget-view+json"
STATE = "application/vnd.jupyter.widget-state+json"


class ChapterWidget(SphinxDirective):
    """The directive."""

    required_arguments = 2
    option_spec = {"alt": directives.unchanged_required}  # noqa: RUF012

    def run(self) -> list[nodes.Node]:
        """Raw HTML: the picture, the stored state, and the mark where the widget goes."""
        _, path = self.env.relfn2path(self.arguments[0])
        self.env.note_dependency(path)
        notebook = json.loads(Path(path).read_text(encoding="utf8"))
        found = find_widget(notebook, self.arguments[1])
        if found is None:
            raise self.error(f"{self.arguments[0]} shows no widget {self.arguments[1]}")
        model_id, state, picture = found
        alt = html.escape(self.options.get("alt", ""))
        source = "data:image/svg+xml," + quote(picture, safe=" =:/;,()!*-_.~")
        stored = {"version_major": 2, "version_minor": 0, "state": {model_id: state}}
        text = (
            '<div class="cell_output">'
            f'<img src="{source}" alt="{alt}">'
            f'<script type="{STATE}">{_script(stored)}</script>'
            f'<script type="{VIEW}">{_script({"model_id": model_id})}</script>'
            "</div>"
        )
        return [nodes.raw(text=text, format="html")]


def find_widget(notebook: dict[str, Any], name: str) -> tuple[str, dict[str, Any], str] | None:
    """Model id, stored model and SVG of the first widget of the class `name`."""
    models = notebook["metadata"].get("widgets", {}).get(STATE, {}).get("state", {})
    for cell in notebook["cells"]:
        outputs = [output.get("data", {}) for output in cell.get("outputs", [])]
        pictures = ["".join(d["image/svg+xml"]) for d in outputs if "image/svg+xml" in d]
        for data in outputs:
            model_id = data.get(VIEW, {}).get("model_id")
            model = models.get(model_id, {})
            if model.get("state", {}).get("_anywidget_id", "").endswith(f".{name}") and pictures:
                return model_id, model, pictures[0]
    return None


def _script(value: object) -> str:
    """JSON that may stand in a script element."""
    return json.dumps(value).replace("</", "<\\/")


def setup(app: Sphinx) -> dict[str, bool]:
    """Register with Sphinx."""
    app.add_directive("widget", ChapterWidget)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
