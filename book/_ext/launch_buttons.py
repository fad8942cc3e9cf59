"""Show the buttons for Colab and Binder only where they lead to something that works."""

from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.config import Config

BINDER = ("notebooks/08_noise_and_drift",)
"""Chapters that run on what .binder/requirements.txt installs, which is no torch."""


def hide_without_repository(app: Sphinx, config: Config) -> None:
    """Without `repository: url:` in _config.yml, drop every button that would lead nowhere."""
    options = config.html_theme_options
    if options.get("repository_url"):
        options["use_repository_button"] = True
    else:
        options.pop("launch_buttons", None)
        options.pop("repository_url", None)


def hide_binder(
    app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: nodes.document | None
) -> None:
    """Drop the button for Binder on the chapters that need more than there is in Binder."""
    address = app.config.html_theme_options.get("launch_buttons", {}).get("binderhub_url")
    if not address or page in BINDER:
        return
    for group in context.get("header_buttons", []):
        if "buttons" in group:
            group["buttons"] = [
                button
                for button in group["buttons"]
                if not str(button.get("url", "")).startswith(address)
            ]


def setup(app: Sphinx) -> dict[str, bool]:
    """Register with Sphinx."""
    app.connect("config-inited", hide_without_repository)
    app.connect("html-page-context", hide_binder, priority=900)  # after the theme has put them
    return {"parallel_read_safe": True, "parallel_write_safe": True}
