"""Keep a formula in a line with the punctuation at it.

A browser may break a line between a formula and the period or the bracket at it, for it takes the
formula for a picture.
"""

import re

from docutils import nodes
from sphinx.application import Sphinx

BEFORE = re.compile(r"[(\[‘“]+$")
AFTER = re.compile(r"^[-.,;:!?)\]’”%–—…]+")


def split(text: str, pattern: re.Pattern[str]) -> tuple[str, str]:
    """Cut off of a text what the pattern finds at one of its ends: it, and the rest.

    >>> split(", and so on", AFTER)
    (',', ' and so on')
    >>> split("and so on", AFTER)
    ('', 'and so on')
    """
    found = pattern.search(text)
    return (found[0], text[: found.start()] + text[found.end() :]) if found else ("", text)


def keep_together(app: Sphinx, doctree: nodes.document, docname: str) -> None:
    """Put every formula and the punctuation at it into an element that is not broken."""
    for formula in list(doctree.findall(nodes.math)):
        whole: nodes.Element = formula  # or the emphasis that ends with it
        while isinstance(whole.parent, nodes.strong | nodes.emphasis) and len(whole.parent) == 1:
            whole = whole.parent
        parent = whole.parent
        index = parent.index(whole)
        kept: list[nodes.Node] = [whole]
        for place, pattern in ((index + 1, AFTER), (index - 1, BEFORE)):
            if not 0 <= place < len(parent) or not isinstance(parent[place], nodes.Text):
                continue
            sign, rest = split(parent[place].astext(), pattern)
            if sign:
                parent[place] = nodes.Text(rest)
                kept.insert(len(kept) if pattern is AFTER else 0, nodes.Text(sign))
        if len(kept) > 1:
            parent[index] = nodes.inline("", "", *kept, classes=["unbroken"])


def setup(app: Sphinx) -> dict[str, bool]:
    """Register with Sphinx."""
    app.connect("doctree-resolved", keep_together)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
