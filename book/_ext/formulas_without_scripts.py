"""Formulas for readers without JavaScript: MathML beside the TeX that MathJax sets.

Where scripts run, a page holds the MathML as text that nothing looks at. Where they do not, the
browser sets it, and the TeX is hidden. docutils translates the one into the other.
"""

import re
from collections.abc import Callable

from docutils import nodes
from docutils.utils.math import MathError
from docutils.utils.math.latex2mathml import tex2mathml
from sphinx.application import Sphinx
from sphinx.util import logging
from sphinx.util.math import get_node_equation_number
from sphinx.writers.html5 import HTML5Translator

logger = logging.getLogger(__name__)

Visit = Callable[[HTML5Translator, nodes.Element], None]

# What docutils does not read as TeX does: fractions of two characters without braces, and commands
# that it does not know.
_REWRITTEN = (
    (re.compile(r"(\\[td]?frac)\s*(\d)\s*(\w)"), r"\1{\2}{\3}"),
    (re.compile(r"\\dots(?![a-zA-Z])"), r"\\ldots"),
    (re.compile(r"\\(?:text|display)style(?![a-zA-Z])"), ""),
)


def mathml(tex: str, as_block: bool = False) -> str:
    """Translate a formula; a `MathError` says what in it is not understood.

    >>> mathml("x^2").count("<msup>")
    1
    """
    for pattern, replacement in _REWRITTEN:
        tex = pattern.sub(replacement, tex)
    return str(tex2mathml(tex, as_block=as_block))


def beside(visit: Visit, as_block: bool) -> Visit:
    """Add the MathML of a formula to what `visit` writes for it."""

    def visit_both(self: HTML5Translator, node: nodes.Element) -> None:
        try:
            visit(self, node)
        finally:  # it ends by skipping the node
            try:
                formula = mathml(node.astext().strip(), as_block)
            except MathError as error:
                logger.warning("no MathML for %r: %s", node.astext(), error, location=node)
            else:
                # An element of its own, for the one with the TeX is hidden (see book.css).
                element = "div" if as_block else "span"
                number = ""
                if as_block and node["number"]:
                    number = f"<span>({get_node_equation_number(self, node)})</span>"
                self.body.append(
                    f'<noscript><{element} class="formula">{formula}{number}</{element}></noscript>'
                )

    return visit_both


def add_mathml(app: Sphinx) -> None:
    """Take the place of MathJax's two writers."""
    name = "mathjax"
    for writers, as_block in (
        (app.registry.html_inline_math_renderers, False),
        (app.registry.html_block_math_renderers, True),
    ):
        visit, depart = writers[name]
        writers[name] = (beside(visit, as_block), depart)


def setup(app: Sphinx) -> dict[str, bool]:
    """Register with Sphinx."""
    # After MyST has put its own writer in the place of Sphinx's.
    app.connect("builder-inited", add_mathml, priority=900)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
