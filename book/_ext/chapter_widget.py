"""Widgets with their still pictures: in the chapters, and on pages of prose.

The output of a widget in a notebook holds the widget and a still picture of it. A page shows both,
the widget in place of the picture as soon as it is alive (see widgets.js). On a page of prose::

    ```{widget} ../notebooks/01_variance_propagation.ipynb SignalPropagation
    :name: fig-front
    :alt: What the still picture shows.

    The caption.

    1. A step of a story, with {move}`words <SignalPropagation std=0.02>` that set the widget.
    ```

shows the first widget of that class in the notebook, with the state it has there. What follows the
caption stands with the picture, and in the widget once it is alive, where it has a place for it.
"""

import json
import re
from pathlib import Path
from typing import Any

from docutils import nodes
from docutils.parsers.rst import directives
from sphinx.application import Sphinx
from sphinx.transforms.post_transforms import SphinxPostTransform
from sphinx.util.docutils import SphinxDirective

VIEW = "application/vnd.jupyter.widget-view+json"
STATE = "application/vnd.jupyter.widget-state+json"
SVG = "image/svg+xml"

STILL = (
    '<noscript><p class="still-note">This is a still picture of an instrument that moves where '
    "JavaScript is allowed.</p></noscript>"
)
"""What stands beside a widget that cannot come to life."""


class ChapterWidget(SphinxDirective):
    """The directive; its content is the caption, and what stands with the picture."""

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
        lines = list(self.content)
        end = lines.index("") if "" in lines else len(lines)
        caption += self.parse_inline(" ".join(lines[:end]))[0]
        figure = nodes.figure("", place(image, self.arguments[1]), caption)
        self.set_source_info(figure)
        self.add_name(figure)

        stored = {"version_major": 2, "version_minor": 0, "state": {model_id: model}}
        scripts = _script(STATE, stored) + _script(VIEW, {"model_id": model_id})
        output = nodes.container("", figure, nodes.raw(text=STILL + scripts, format="html"))
        output["classes"] = ["cell_output"]
        if end < len(lines):
            steps = nodes.container(classes=["steps"])
            self.state.nested_parse(self.content[end:], self.content_offset + end, steps)
            output += steps
        return [output]


def find_widget(notebook: dict[str, Any], name: str) -> tuple[str, dict[str, Any], str] | None:
    """Model id, stored model and still picture of the first widget of the class `name`."""
    models = notebook["metadata"].get("widgets", {}).get(STATE, {}).get("state", {})
    for cell in notebook["cells"]:
        for output in cell.get("outputs", []):
            data = output.get("data", {})
            model_id = data.get(VIEW, {}).get("model_id")
            state = models.get(model_id, {}).get("state", {})
            if SVG in data and state.get("_anywidget_id", "").endswith(f".{name}"):
                return model_id, models[model_id], "".join(data[SVG])
    return None


def place(picture: nodes.Node, name: str) -> nodes.container:
    """Stand `picture` where the widget of the class `name` will be: room, and a goal for links."""
    room = nodes.container("", picture, classes=["widget-room"])
    return nodes.container("", room, classes=["widget-place"], widget=name)


class KeepPicture(SphinxPostTransform):
    """Keep the still picture of a widget beside the widget.

    myst-nb takes one of the forms of an output; this runs before it does, and takes two.
    """

    default_priority = 3

    def run(self, **kwargs: Any) -> None:
        """Replace the forms of each output that has both, and name the places of the widgets."""
        html = self.app.builder.format == "html"
        for bundle in list(self.document.findall(nodes.container)):
            if bundle.get("nb_element") != "mime_bundle":
                continue
            forms = {form["mime_type"]: form.children for form in bundle.children}
            if SVG in forms and VIEW in forms:
                views = [nodes.raw(text=STILL, format="html"), *forms[VIEW]] if html else []
                bundle.replace_self([*forms[SVG], *views])
                for image in forms[SVG][0].findall(nodes.image) if html else ():
                    image.replace_self(place(image.deepcopy(), self.shown(forms[VIEW])))
        for steps in list(self.document.findall(nodes.container)) if html else ():
            if "steps" in steps["classes"]:  # with the picture: the room of the widget has both
                (room,) = (
                    n
                    for n in steps.parent.findall(nodes.container)
                    if "widget-room" in n["classes"]
                )
                steps.parent.remove(steps)
                room += steps
        copies: dict[str, int] = {}
        for room in self.document.findall(nodes.container):
            if name := room.get("widget"):  # the names that widgets.js, too, gives them
                copies[name] = copies.get(name, 0) + 1
                room["ids"] = [name if copies[name] == 1 else f"{name}-{copies[name]}"]

    def shown(self, view: list[nodes.Node]) -> str:
        """Name the class of the widget that `view` shows."""
        path = self.env.doc2path(self.env.docname)
        models = json.loads(Path(path).read_text(encoding="utf8"))["metadata"]["widgets"][STATE]
        (model_id,) = re.findall(r'"model_id": *"(\w[\w-]*)"', view[0].astext())
        return str(models["state"][model_id]["state"]["_anywidget_id"]).split(".")[-1]


def _script(kind: str, value: object) -> str:
    text = json.dumps(value).replace("</", "<\\/")
    return f'<script type="{kind}">{text}</script>'


def share_texts(app: Sphinx, name: str, template: str, context: dict[str, Any], _: object) -> None:
    """Put the module and the style sheet of widgets of one kind into a page once.

    Every widget stores both. All but the first become ``{"same_as": model}``, which widgets.js
    follows.
    """
    for script in context.get("script_files", ()):
        attributes = getattr(script, "attributes", {})
        if attributes.get("type") == STATE:
            attributes["body"] = _shared(attributes["body"])


def _shared(text: str) -> str:
    stored = json.loads(text)
    first: dict[str, str] = {}
    for model_id, model in stored["state"].items():
        for trait in ("_esm", "_css"):
            content = model["state"].get(trait)
            if content and first.setdefault(content, model_id) != model_id:
                model["state"][trait] = {"same_as": first[content]}
    return json.dumps(stored).replace("</", "<\\/")


def setup(app: Sphinx) -> dict[str, bool]:
    """Register with Sphinx."""
    app.add_directive("widget", ChapterWidget)
    app.add_post_transform(KeepPicture)
    # After myst-nb has added its script.
    app.connect("html-page-context", share_texts, priority=900)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
