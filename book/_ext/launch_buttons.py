"""Show the buttons for Colab and Binder only when the repository's address is known."""

from sphinx.application import Sphinx
from sphinx.config import Config


def hide_without_repository(app: Sphinx, config: Config) -> None:
    """Without `repository: url:` in _config.yml, drop every button that would lead nowhere."""
    options = config.html_theme_options
    if options.get("repository_url"):
        options["use_repository_button"] = True
    else:
        options.pop("launch_buttons", None)
        options.pop("repository_url", None)


def setup(app: Sphinx) -> dict[str, bool]:
    """Register with Sphinx."""
    app.connect("config-inited", hide_without_repository)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
