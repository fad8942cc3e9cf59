"""Serve MathJax from the book's own files, so that a page with formulas asks no other host.

The installed package sphinx-mathjax-offline carries all of MathJax, 24 MB. One file of it holds
everything a page needs, fonts included; only that one goes into the book. It is the one with every
TeX extension: the smaller tex-svg.js asks for, say, boldsymbol in a second file, and where that is
missing no formula of the page is set.
"""

from importlib.metadata import distribution
from pathlib import Path

from sphinx.application import Sphinx
from sphinx.config import Config
from sphinx.errors import ConfigError

SCRIPT = "sphinx-mathjax-offline/static/mathjax/tex-svg-full.js"


def use_own_mathjax(app: Sphinx, config: Config) -> None:
    """Copy the script into the book's static files and let pages with formulas load it."""
    script = Path(distribution("sphinx-mathjax-offline").locate_file(SCRIPT))
    if not script.is_file():
        raise ConfigError(f"{script} is missing: install what requirements.txt names.")
    config.html_static_path.append(str(script))
    config.mathjax_path = script.name


def setup(app: Sphinx) -> dict[str, bool]:
    """Register with Sphinx."""
    app.connect("config-inited", use_own_mathjax)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
