"""A Content-Security-Policy in every page: what the pages need is allowed, and nothing else.

The policy stands in the page, so that it also holds where the book is opened from a folder. It
names the inline scripts of a page, which the theme and its extensions write, by their hashes. So it
is made when the page is finished.
"""

import base64
import hashlib
import re
from html import unescape
from pathlib import Path

from sphinx.application import Sphinx
from sphinx.errors import ExtensionError

NAME = "Content-Security-Policy"

# Formulas and tables set styles in elements. The module of a widget is stored in the page and
# imported from a blob, as are the workers that it starts.
POLICY = {
    "default-src": "'none'",
    "script-src": "'self' blob:",
    "worker-src": "blob:",
    "style-src": "'self' 'unsafe-inline'",
    "img-src": "'self' data:",
    "font-src": "'self' data:",
    "connect-src": "'self'",
    "form-action": "'self'",
    "base-uri": "'none'",
}

_SCRIPT = re.compile(r"<script\b([^>]*)>(.*?)</script>", re.DOTALL)
_HANDLER = re.compile(r"""<[^<>]*?\son\w+="([^"]*)\"""")
_CHARSET = re.compile(r"<meta charset=[^>]*>")


def hashed(text: str) -> str:
    """Name a script by what it is, as a policy does."""
    digest = hashlib.sha256(text.encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"


def policy(page: str) -> str:
    """Write the policy of a page, with the scripts that stand in it."""
    inline = [
        text
        for attributes, text in _SCRIPT.findall(page)
        if "src=" not in attributes and ("type=" not in attributes or "javascript" in attributes)
    ]
    # Without the scripts, which may hold tags as text.
    handlers = [unescape(text) for text in _HANDLER.findall(_SCRIPT.sub("", page))]
    names = dict.fromkeys(map(hashed, [*inline, *handlers]))
    if handlers:
        names = {"'unsafe-hashes'": None, **names}
    allowed = POLICY | {"script-src": " ".join([POLICY["script-src"], *names])}
    return "; ".join(f"{what} {where}" for what, where in allowed.items())


def add_policies(app: Sphinx, error: Exception | None) -> None:
    """Add to each page its policy, before anything that it is about."""
    if error is not None or app.builder.format != "html":
        return
    outdir = Path(app.outdir)
    for path in sorted(outdir.rglob("*.html")):
        if path.relative_to(outdir).parts[0].startswith("_"):
            continue  # templates of the theme
        page = path.read_text(encoding="utf8")
        if "<script" not in page or NAME in page:
            continue  # the first page, which leads to another; one that was not written again
        element = f'<meta http-equiv="{NAME}" content="{policy(page)}" />'
        page, added = _CHARSET.subn(rf"\g<0>\n    {element}", page, count=1)
        if not added:
            raise ExtensionError(f"{path} has no <meta charset>, after which its policy would go.")
        path.write_text(page, encoding="utf8")


def setup(app: Sphinx) -> dict[str, bool]:
    """Register with Sphinx."""
    app.connect("build-finished", add_policies)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
