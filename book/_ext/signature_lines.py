"""Let each parameter of a long signature stand on a line that is no item of a list.

Sphinx writes them as a list of definitions without terms, inside of a term: a barrier to readers
who have the page read to them.
"""

from __future__ import annotations

import re
from typing import Any

from sphinx.application import Sphinx

_PARAMETERS = re.compile(
    r'(<span class="sig-paren">\(</span>)\s*<dl>\s*((?:<dd>.*?</dd>\s*)+)</dl>\s*'
    r'(?=<span class="sig-paren">\)</span>)',
    re.DOTALL,
)

LONGEST = 70
"""Characters of parameters that stay on one line; Sphinx counts those of full names, not shown."""


def in_lines(body: str) -> str:
    """Return a page whose signatures have no lists.

    >>> opened, closed = '<span class="sig-paren">(</span>', '<span class="sig-paren">)</span>'
    >>> in_lines(f"{opened}<dl><dd>a,</dd><dd>b,</dd></dl>{closed}") == f"{opened}a, b{closed}"
    True
    >>> in_lines(f"{opened}<dl><dd>{100 * 'a'},</dd></dl>{closed}").count('<span class="sig-line">')
    1
    """

    def lines(match: re.Match[str]) -> str:
        opened, listed = match.groups()
        parameters = re.findall(r"<dd>(.*?)</dd>", listed, re.DOTALL)
        if len(re.sub(r"<[^>]*>", "", " ".join(parameters))) <= LONGEST:
            return opened + " ".join(parameters).removesuffix(",")
        return opened + "\n".join(f'<span class="sig-line">{one}</span>' for one in parameters)

    return _PARAMETERS.sub(lines, body)


def write_lines(
    app: Sphinx, name: str, template: str, context: dict[str, Any], doctree: object
) -> None:
    """Change the signatures of a page."""
    if "sig-paren" in context.get("body", ""):
        context["body"] = in_lines(context["body"])


def setup(app: Sphinx) -> dict[str, bool]:
    """Register with Sphinx."""
    app.connect("html-page-context", write_lines)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
