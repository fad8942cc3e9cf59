"""A widget of a chapter on a page of prose.

::

    ```{widget} ../notebooks/01_variance_propagation.ipynb SignalPropagation
    :name: fig-front
    :alt: What the still picture shows.

    The caption.
    ```

The first widget of that class in the notebook is shown, with the still picture that stands before
it in its cell. Its state and its module come from the notebook, as in the chapter itself.
"""

import json
from pathlib import Path
from typing import Any

from docutils import nodes
from docutils.parsers.rst import directives
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

VIEW = "application/vnd.jupyter.widget-view+json"
STATE = "application/vnd.jupyter.widget-state+json"
SVG = "image/svg+xml"


class ChapterWidget(SphinxDirective):
    """The directive; its content is the caption."""

    has_content = True
    required_arguments = 2
    option_spec = {  # noqa: RUF012
        "name": directives.unchanged_required,
        "alt": directives.unchanged_required,
    }

    def run(self) -> list[nodes.Node]:
        """A figure with the picture, then the stored state and the mark of the widget."""
        _, path = self.env.relfn2path(self.arguments[0])
        self.env.note_dependency(path)
        found = find_widget(json.loads(Path(path).read_text(encoding="utf8")), self.arguments[1])
        if found is None:
            raise self.error(f"{self.arguments[0]} shows no widget {self.arguments[1]}")
        model_id, model, svg = found

        # Where myst-nb, too, puts the pictures of a notebook.
        picture = Path(self.env.app.outdir).parent / "jupyter_execute" / f"{self.arguments[1]}.svg"
        picture.parent.mkdir(parents=True, exist_ok=True)
        picture.write_text(svg, encoding="utf8")
        uri = f"/{picture.relative_to(self.env.srcdir).as_posix()}"
        image = nodes.image(uri=uri, alt=self.options.get("alt", ""))
        caption = nodes.caption()
        caption += self.parse_inline(" ".join(self.content))[0]
        figure = nodes.figure("", image, caption)
        self.set_source_info(figure)
        self.add_name(figure)

        stored = {"version_major": 2, "version_minor": 0, "state": {model_id: model}}
        scripts = _script(STATE, stored) + _script(VIEW, {"model_id": model_id})
        output = nodes.container("", figure, nodes.raw(text=scripts, format="html"))
        output["classes"] = ["cell_output"]
        return [output]


def find_widget(notebook: dict[str, Any], name: str) -> tuple[str, dict[str, Any], str] | None:
    """Model id, stored model and still picture of the first widget of the class `name`."""
    models = notebook["metadata"].get("widgets", {}).get(STATE, {}).get("state", {})
    for cell in notebook["cells"]:
        picture = None
        for output in cell.get("outputs", []):
            data = output.get("data", {})
            picture = "".join(data[SVG]) if SVG in data else picture
            model_id = data.get(VIEW, {}).get("model_id")
            state = models.get(model_id, {}).get("state", {})
            if picture and state.get("_anywidget_id", "").endswith(f".{name}"):
                return model_id, models[model_id], picture
    return None


def _script(kind: str, value: object) -> str:
    text = json.dumps(value).replace("</", "<\\/")
    return f'<script type="{kind}">{text}</script>'


def setup(app: Sphinx) -> dict[str, bool]:
    """Register with Sphinx."""
    app.add_directive("widget", ChapterWidget)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
