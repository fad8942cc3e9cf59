"""Write a widget into one page of its own, which needs no kernel, no server and no network."""

from __future__ import annotations

import base64
import html
import json
from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from initscope import checks
from initscope.checks import require
from initscope.errors import shown
from initscope.widgets.base import BookWidget

__all__ = ["page"]

STORED_MODEL = Path(__file__).parent / "stored_model.js"
"""A plain script, which the book loads too: what stands for a model where no kernel is."""

_STYLE = """
:root { color-scheme: light dark; --pst-color-text-base: #1f2328; --pst-color-background: #fff;
  --pst-color-text-muted: #57606a; --pst-color-border: #c9ced6; }
@media (prefers-color-scheme: dark) { :root { --pst-color-text-base: #e6e6e6;
  --pst-color-background: #14181e; --pst-color-text-muted: #a2abb5; --pst-color-border: #48566b; } }
body { margin: 0 auto; max-width: 60rem; padding: 1rem; font: 16px/1.5 system-ui, sans-serif;
  color: var(--pst-color-text-base); background: var(--pst-color-background); }
.table { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: .9rem; }
th, td { padding: .2rem .7rem; text-align: right; border-bottom: 1px solid; }
th:first-child { text-align: left; }
"""

_START = """
const stored = JSON.parse(document.getElementById("state").textContent);
const values = stored.state;
for (const [name, data] of Object.entries(stored.bytes)) {
  values[name] = new DataView(Uint8Array.from(atob(data), (c) => c.charCodeAt(0)).buffer);
}
await widget.render({ model: storedModel(values), el: document.getElementById("widget") });
document.documentElement.dataset.widgets = "ready";
"""


def page(
    widget: BookWidget,
    title: str,
    tables: Mapping[str, pd.DataFrame] | None = None,
    *,
    reload_after: float | None = None,
) -> str:
    """Return a page, in HTML, with a widget at its present settings.

    Parameters
    ----------
    widget
        Any of the package.
    title
        Of the page.
    tables
        Heading -> table, shown under the widget.
    reload_after
        Seconds after which the page loads itself again; None for never.

    Raises
    ------
    UsageError
        If `widget` is no widget.

    Examples
    --------
    >>> from initscope.widgets import AdamWEquilibrium
    >>> text = page(AdamWEquilibrium(), "AdamW")
    >>> text.startswith("<!doctype html>"), "https:" in text.split("<script")[0]
    (True, False)
    """
    require(isinstance(widget, BookWidget), f"widget must be a widget, not {shown(widget)}.")
    checks.text("title", title)
    if tables is not None:
        for heading, table in checks.mapping("tables", tables, "tables by heading").items():
            checks.text("tables: each heading", heading)
            checks.frame("in tables", table, rows=False)
    if reload_after is not None:
        checks.number("reload_after", reload_after, 0.1)
    state, raw = {}, {}
    for name in widget.keys:  # those that a browser is told
        value = getattr(widget, name)
        if isinstance(value, bytes):
            raw[name] = base64.b64encode(value).decode()
        elif not name.startswith("_") and name not in ("layout", "tabbable", "tooltip"):
            state[name] = value
    stored = json.dumps({"state": state, "bytes": raw}).replace("<", "\\u003c")
    script = str(widget._esm).replace("export default ", "const widget = ")
    script = script.replace("</script", "<\\/script")
    parts = []
    for heading, table in (tables or {}).items():
        text = table.rename(columns=lambda name: str(name).replace("_", " ")).to_html(
            float_format=lambda number: f"{number:.3g}", border=0, na_rep="-", index_names=False
        )
        parts.append(f'<h2>{html.escape(heading)}</h2>\n<div class="table">{text}</div>')
    again = (
        "" if reload_after is None else f'<meta http-equiv="refresh" content="{reload_after:g}">'
    )
    policy = (
        "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data:"
    )
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="{policy}">
{again}
<title>{html.escape(title)}</title>
<style>{_STYLE}{widget._css}</style>
</head>
<body>
<h1>{html.escape(title)}</h1>
<div id="widget"></div>
{chr(10).join(parts)}
<script type="application/json" id="state">{stored}</script>
<script type="module">
{STORED_MODEL.read_text(encoding="utf8")}
{script}
{_START}
</script>
</body>
</html>
"""
