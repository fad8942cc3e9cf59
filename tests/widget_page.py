"""A bare page with widgets on it, stored and brought to life as in the book."""

import gzip
import json
from pathlib import Path

from ipywidgets.embed import dependency_state, embed_data

ROOT = Path(__file__).resolve().parent.parent
STATE = "application/vnd.jupyter.widget-state+json"
VIEW = "application/vnd.jupyter.widget-view+json"

SENTENCES: dict[str, list[str]] = json.loads(
    (Path(__file__).parent / "widgets" / "sentences.json").read_text(encoding="utf8")
)
"""What each widget is to say of the settings that its tests list, to the letter."""


def script(kind: str, value: object) -> str:
    """A script element that holds JSON, as myst-nb writes it."""
    text = json.dumps(value).replace("</", "<\\/")
    return f'<script type="{kind}">{text}</script>'


def added_to_a_page(widgets: list) -> int:
    """Bytes that `widgets` add to a page, compressed; all pages share one file of the font."""
    font = (ROOT / "book" / "_static" / "inter.css").read_text()
    return len(gzip.compress(widget_page(widgets).replace(font, "").encode(), 9))


def widget_page(widgets: list, dark: bool = False) -> str:
    """HTML of a page that shows `widgets`, as the book does, in its style and font."""
    # The state of these widgets alone, not of all that other tests have made.
    data = embed_data(views=widgets, state=dependency_state(widgets, drop_defaults=False))
    static = ROOT / "book" / "_static"
    ground = "--pst-color-background: #14181e; --pst-color-text-base: #ced6dd;" if dark else ""
    ground += "--pst-color-text-muted: #9ca4af; --pst-color-border: #48566b;" if dark else ""
    shown = "".join(
        f'<div class="cell_output" id="cell-{k}">{script(VIEW, view)}</div>'
        for k, view in enumerate(data["view_specs"])
    )
    return f"""<!DOCTYPE html>
<html lang="en" data-theme="{"dark" if dark else "light"}"><head><meta charset="utf-8">
<title>Widgets</title><meta name="viewport" content="width=device-width">
<link rel="icon" href="data:,">
<style>:root {{ {ground} }} body {{ font-family: Inter; max-width: 52rem; margin: 1rem auto;
padding: 0 0.8rem; background: {"#14181e" if dark else "#fff"};
color: {"#ced6dd" if dark else "#222"}; }}</style>
<style>{(static / "inter.css").read_text()}{(static / "book.css").read_text()}</style></head>
<body><main><h1>Widgets</h1>{shown}</main>{script(STATE, data["manager_state"])}
<script>{(static / "widgets.js").read_text()}</script></body></html>"""
