"""Room for what comes late, so that nothing on a page moves when it comes.

A page shows its text at once. Pictures come later, then the widgets start in place of their still
pictures. Pictures say their size in their files. How high widgets become only a browser can say:
``tests/measure_sizes.py`` asks one, and keeps what it says in ``book/sizes.json``. A widget that is
not in there is shown as well, but moves the page.
"""

import json
import re
from pathlib import Path
from typing import Any

from sphinx.application import Sphinx
from sphinx.util.images import get_image_size

SIZES = Path(__file__).parents[1] / "sizes.json"

_IMAGE = re.compile(r'<img (?=[^>]*?src="[./]*/_images/([^"]+)")(?![^>]*? (?:width|style)=)')


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


def setup(app: Sphinx) -> dict[str, bool]:
    """Register with Sphinx."""
    app.connect("html-page-context", reserve)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
