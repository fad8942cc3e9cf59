"""Room for what comes late, so that nothing on a page moves when it comes.

A page shows its text at once. Pictures come later, then MathJax sets the formulas and the widgets
start in place of their still pictures. Pictures say their size in their files. How large formulas
and widgets become only a browser can say: ``tests/measure_sizes.py`` asks one, and keeps what it
says in ``book/sizes.json``. What is not in there is shown as well, but moves the page.
"""

import html
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.images import get_image_size
from sphinx.writers.html5 import HTML5Translator

Visit = Callable[[HTML5Translator, nodes.Element], None]

SIZES = Path(__file__).parents[1] / "sizes.json"

_IMAGE = re.compile(r'<img (?=[^>]*?src="[./]*/_images/([^"]+)")(?![^>]*? (?:width|style)=)')


# TeX as it stands in a page: in a line, as a block, and numbered by TeX itself.
_TEX = re.compile(r"\\\(.*?\\\)|\\\[.*?\\\]|\\begin\{(\w+\*?)\}.*\\end\{\1\}", re.DOTALL)


def formula_key(markup: str) -> str:
    """Name a formula by its TeX, from the markup of its element.

    >>> formula_key(r'<span class="math">\\(a  &lt;\n b\\)</span>')
    '\\\\(a < b\\\\)'
    """
    found = _TEX.search(markup)
    return " ".join(html.unescape(found[0]).split()) if found else ""


def with_size(visit: Visit, formulas: dict[str, list[float]]) -> Visit:
    """Let `visit` write what a formula takes once it is set: see book.css."""

    def visit_formula(self: HTML5Translator, node: nodes.Element) -> None:
        start = len(self.body)
        try:
            visit(self, node)
        finally:  # it ends by skipping the node
            if size := formulas.get(formula_key("".join(self.body[start:]))):
                names = ("--width", "--height", "--below")
                style = " ".join(f"{name}: {em}em;" for name, em in zip(names, size, strict=False))
                tag = self.body[start]
                self.body[start] = re.sub(r"^<(\w+) ", rf'<\1 style="{style}" ', tag, count=1)

    return visit_formula


def room(key: str, heights: list[list[int]]) -> str:
    """CSS rules for the room of a widget, from ``[least width, height]`` in pixels, ascending."""
    rules = [
        f"@container (min-width: {width}px)"
        f" {{ #{key} > .widget-room {{ min-height: {height}px }} }}"
        for width, height in heights
    ]
    return "".join(rules)


def reserve(app: Sphinx, name: str, template: str, context: dict[str, Any], _: object) -> None:
    """Put the sizes of its pictures and the rooms of its widgets into a page."""
    if "body" not in context:
        return
    sources = {name: source for source, (_, name) in app.env.images.items()}

    def sized(match: re.Match[str]) -> str:
        size = get_image_size(str(Path(app.srcdir) / sources.get(match[1], "")))
        return match[0] + (f'width="{size[0]}" height="{size[1]}" ' if size else "")

    context["body"] = _IMAGE.sub(sized, context["body"])
    rooms = "".join(room(key, at) for key, at in _sizes()["widgets"].get(name, {}).items())
    if rooms:
        style = f"<style>@media screen and (scripting: enabled) {{ {rooms} }}</style>"
        context["metatags"] = context.get("metatags", "") + style


def _sizes() -> dict[str, Any]:
    sizes: dict[str, Any] = json.loads(SIZES.read_text(encoding="utf8"))
    return sizes


def size_formulas(app: Sphinx) -> None:
    """Take the place of what writes the formulas."""
    formulas = _sizes()["formulas"]
    for writers in (
        app.registry.html_inline_math_renderers,
        app.registry.html_block_math_renderers,
    ):
        visit, depart = writers["mathjax"]
        writers["mathjax"] = (with_size(visit, formulas), depart)


def setup(app: Sphinx) -> dict[str, bool]:
    """Register with Sphinx."""
    # After MyST, which has a writer of its own for blocks.
    app.connect("builder-inited", size_formulas, priority=950)
    app.connect("html-page-context", reserve)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
