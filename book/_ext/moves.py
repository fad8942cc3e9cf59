"""Words in the text that set an instrument of the page.

In prose and in captions::

    with a std of {move}`0.02 <SignalPropagation std=0.02 depth=50>` nothing is left

is a button that sets the widget of this name as a link with these settings would: what is not named
is as the page has it. A value with a space stands between quotes. The second widget of its class
on a page is ``SignalPropagation-2``. Where no scripts run, and on paper, the words are words.
"""

import re
import shlex
from typing import Any
from urllib.parse import urlencode

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.transforms.post_transforms import SphinxPostTransform
from sphinx.util import logging
from sphinx.util.docutils import SphinxRole

logger = logging.getLogger(__name__)

ROLE = re.compile(
    r"(?P<words>.+?)\s*<(?P<widget>[A-Z]\w*(?:-\d+)?)"
    r"(?P<settings>(?:\s+\w+=(?:\"[^\"<>]+\"|[^\s\"]+))+)>",
    re.DOTALL,
)


class move(nodes.inline):
    """Words that set a widget."""


def parsed(text: str) -> tuple[str, str, dict[str, str]] | None:
    """Words, name of the widget and settings, from the text of the role.

    >>> parsed("0.02 <SignalPropagation std=0.02 depth=50>")
    ('0.02', 'SignalPropagation', {'std': '0.02', 'depth': '50'})
    >>> parsed('SGD <StabilityMap training="sgd 0.1" std=1>')[2]
    {'training': 'sgd 0.1', 'std': '1'}
    >>> parsed("0.02")
    """
    found = ROLE.fullmatch(text)
    if found is None:
        return None
    settings = dict(one.split("=", 1) for one in shlex.split(found["settings"]))
    return found["words"], found["widget"], settings


class Move(SphinxRole):
    """The role."""

    def run(self) -> tuple[list[nodes.Node], list[nodes.system_message]]:
        """The words, which may hold formulas, and what they set."""
        found = parsed(self.text)
        if found is None:
            message = self.inliner.reporter.error(
                f"write {{move}}`words <Widget setting=value>`, not {self.text!r}", line=self.lineno
            )
            return [self.inliner.problematic(self.rawtext, self.rawtext, message)], [message]
        words, widget, settings = found
        inside, messages = self.inliner.parse(words, self.lineno, self.inliner, self.inliner.parent)  # type: ignore[attr-defined]
        node = move("", "", *inside, classes=["move"], widget=widget, settings=urlencode(settings))
        self.set_source_info(node)
        return [node], messages


class FindWidget(SphinxPostTransform):
    """Hold that the page shows the widget that its words set."""

    default_priority = 4  # after the places of widgets have their names

    def run(self, **kwargs: Any) -> None:
        """Warn of words that would stay words."""
        if self.app.builder.format != "html":
            return
        there = {
            name
            for place in self.document.findall(nodes.container)
            if place.get("widget")
            for name in place["ids"]
        }
        for node in self.document.findall(move):
            if node["widget"] not in there:
                logger.warning("the page shows no widget %s", node["widget"], location=node)


def visit(self: Any, node: move) -> None:
    """Open an element that widgets.js makes a button of."""
    attributes = {"data-moves": node["widget"], "data-settings": node["settings"]}
    self.body.append(self.starttag(node, "span", "", **attributes))


def depart(self: Any, node: move) -> None:
    """Close it."""
    self.body.append("</span>")


def nothing(self: Any, node: move) -> None:
    """On paper the words are words."""


def setup(app: Sphinx) -> dict[str, bool]:
    """Register with Sphinx."""
    plain = (nothing, nothing)
    app.add_node(move, html=(visit, depart), latex=plain, text=plain, man=plain, texinfo=plain)
    app.add_role("move", Move())
    app.add_post_transform(FindWidget)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
