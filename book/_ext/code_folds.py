"""The code of chapters, each cell folded to one line, and a switch that shows all of it.

A cell stays open whose tags say so: `show-input`, for code that the reader would type. What is
folded opens without scripts, too, and on paper all of it is shown. code_folds.js works the switch.
"""

import re
from typing import Any

from docutils import nodes
from myst_nb.sphinx_ import HideCodeCellNode
from sphinx.application import Sphinx
from sphinx.transforms.post_transforms import SphinxPostTransform
from sphinx.writers.html5 import HTML5Translator

OPEN = "tag_show-input"
"""The class by which a cell is known that stays open."""

_OWN_NAME = re.compile(r"Show (?!code cell)(.+)")
"""What a cell calls its fold, as in "Show the table"."""

SWITCH = (
    '<div class="code-switch"><button type="button" role="switch" aria-checked="false">'
    "Show all code</button></div>\n"
)


class FoldCode(SphinxPostTransform):
    """Fold what is not folded yet, before myst-nb puts the folds into the page."""

    default_priority = 150
    formats = ("html",)

    def run(self, **kwargs: Any) -> None:
        """Mark each cell with code; put the switch under the title where there is one."""
        found = False
        for cell in self.document.findall(nodes.container):
            if cell.get("nb_element") != "cell_code" or not cell.children:
                continue
            if cell.children[0].get("nb_element") != "cell_code_source":  # its code is removed
                continue
            found = True
            mode = cell.get("hide_mode")
            if OPEN not in cell["classes"] and mode in (None, "output"):
                cell["hide_mode"] = "input" if mode is None else "input+output"
            cell.setdefault("prompt_show", "")
            cell.setdefault("prompt_hide", "")
        title = next(iter(self.document.findall(nodes.title)), None)
        if found and title is not None:
            title.parent.insert(title.parent.index(title) + 1, nodes.raw("", SWITCH, format="html"))


class NameFolds(SphinxPostTransform):
    """Say of each fold what is in it, after myst-nb has made them."""

    default_priority = 250
    formats = ("html",)

    def run(self, **kwargs: Any) -> None:
        """Name code, output and both, where a cell has no name of its own."""
        for fold in self.document.findall(HideCodeCellNode):
            inside = {child.get("nb_element") for child in fold.children}
            if own := _OWN_NAME.match(fold["prompt_show"]):
                fold["named"] = own[1].capitalize()
            elif "cell_code_source" not in inside:
                fold["named"] = "Output"
            else:
                fold["named"] = "Code" if len(inside) == 1 else "Code and output"


def open_fold(self: HTML5Translator, node: nodes.Element) -> None:
    """Begin a fold; its line says the same whether it is open or not, as its mark shows that."""
    classes = " ".join(["hide", *node["classes"]])
    self.body.append(f'<details class="{classes}">\n<summary>{node["named"]}</summary>\n')


def close_fold(self: HTML5Translator, node: nodes.Element) -> None:
    """End it."""
    self.body.append("</details>\n")


def setup(app: Sphinx) -> dict[str, bool]:
    """Register with Sphinx."""
    app.setup_extension("myst_nb")
    app.add_node(HideCodeCellNode, override=True, html=(open_fold, close_fold))
    app.add_post_transform(FoldCode)
    app.add_post_transform(NameFolds)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
