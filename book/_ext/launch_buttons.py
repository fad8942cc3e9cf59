"""Show the buttons for Colab and Binder only when the repository's address is known.

A page may hang on that, too, by the tag ``has_repository``, and shows by ``install-cell`` how the
package is installed there.
"""

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.config import Config
from sphinx.util.docutils import SphinxDirective


def hide_without_repository(app: Sphinx, config: Config) -> None:
    """Without `repository: url:` in _config.yml, drop every button that would lead nowhere."""
    options = config.html_theme_options
    if options.get("repository_url"):
        options["use_repository_button"] = True
        app.tags.add("has_repository")
    else:
        options.pop("launch_buttons", None)
        options.pop("repository_url", None)


class InstallCell(SphinxDirective):
    """The cell that installs the package: from its address or, without one, from its folder."""

    def run(self) -> list[nodes.Node]:
        """A block of code."""
        url = self.config.html_theme_options.get("repository_url")
        text = f"%pip install git+{url}" if url else "%pip install ."
        return [nodes.literal_block(text, text, language="text")]


def setup(app: Sphinx) -> dict[str, bool]:
    """Register with Sphinx."""
    app.add_directive("install-cell", InstallCell)
    app.connect("config-inited", hide_without_repository)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
