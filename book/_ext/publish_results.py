"""Put the recorded measurements into the book: the links under the figures lead to them."""

import shutil
from pathlib import Path

from sphinx.application import Sphinx

RESULTS = Path("notebooks") / "results"


def copy_results(app: Sphinx, error: Exception | None) -> None:
    """Copy them to where the pages of the chapters look; what is still under way stays out."""
    if error is None and app.builder.format == "html":
        shutil.copytree(
            app.srcdir / RESULTS,
            app.outdir / RESULTS,
            ignore=shutil.ignore_patterns(".*", "*.chunks"),
            dirs_exist_ok=True,
        )


def setup(app: Sphinx) -> dict[str, bool]:
    """Register with Sphinx."""
    app.connect("build-finished", copy_results)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
