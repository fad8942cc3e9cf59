"""Predict, then be told: parts of a chapter that wait for the reader's guesses.

A chapter asks with the widget `Prediction`. What would answer too early stands between two marks::

    ```{answer} The finding
    :guesses: 1 2
    ```

    ...

    ```{answer-end}
    ```

Without the second mark it reaches to the end of its section; without `guesses` it waits for all of
the chapter. The finding at the top of a chapter with guesses waits without a mark. guesses.js
folds these parts until the guesses are made or skipped; without scripts, on paper and elsewhere
than on a page they are shown. In a figure in which `initscope.plots.with_guess` has marked a panel
the page draws the guess, and at the end of the chapter it keeps the score.
"""

import html
import json
import re
from pathlib import Path
from typing import Any

from docutils import nodes
from docutils.parsers.rst import directives
from sphinx.application import Sphinx
from sphinx.errors import ExtensionError
from sphinx.transforms.post_transforms import SphinxPostTransform
from sphinx.util.docutils import SphinxDirective
from sphinx.writers.html5 import HTML5Translator

MOST = 6
"""Guesses of a chapter: so many rules there are in book.css."""

FINDING = "What comes out."
CALLED = "The finding"

_PANEL = re.compile(
    r'<g id="guess_([\d.]+)_([xy])_(log|linear)_([^_"]+)_([^_"]+)">\s*<path d="([^"]+)"'
)
_PICTURE = re.compile(
    r"""(<picture><source [^>]*srcset="[./]*(_images/[^"]+)"[^>]*>)?"""
    r"""<img (?=[^>]*?src="[./]*/_images/([^"]+\.svg)")[^>]*>(?(1)</picture>)"""
)
_VIEW = re.compile(r'viewBox="([^"]+)"')
_NUMBER = re.compile(r"-?\d+(?:\.\d+)?")


class AnswerBegin(nodes.Element, nodes.General):
    """Where an answer begins."""


class AnswerEnd(nodes.Element, nodes.General):
    """Where it ends."""


class Answer(nodes.Element, nodes.General):
    """An answer, all of it."""


class AnswerDirective(SphinxDirective):
    """Begin an answer; the argument says what it is."""

    required_arguments = 1
    final_argument_whitespace = True
    option_spec = {"guesses": directives.unchanged}  # noqa: RUF012

    def run(self) -> list[nodes.Node]:
        """Mark the place."""
        begin = AnswerBegin(called=self.arguments[0], guesses=self.options.get("guesses", ""))
        self.set_source_info(begin)
        return [begin]


class AnswerEndDirective(SphinxDirective):
    """End it."""

    def run(self) -> list[nodes.Node]:
        """Mark the place."""
        return [AnswerEnd()]


class WrapAnswers(SphinxPostTransform):
    """Put what stands between two marks into one element, and the score at the end."""

    default_priority = 20  # the widgets have their names by now

    def run(self, **kwargs: Any) -> None:
        """Wrap the answers; without guesses, or elsewhere than on a page, take out the marks."""
        asked = sum(
            node.get("widget") == "Prediction" for node in self.document.findall(nodes.container)
        )
        wanted = self.app.builder.name == "html" and asked > 0
        if asked > MOST:
            raise ExtensionError(f"{self.env.docname} asks for {asked} guesses, more than {MOST}")
        begins = list(self.document.findall(AnswerBegin))
        if wanted and not any(begin["called"] == CALLED for begin in begins):
            begins += self.finding()
        for begin in begins:
            self.wrap(begin, asked if wanted else 0)
        for end in list(self.document.findall(AnswerEnd)):
            end.parent.remove(end)
        if wanted:
            score = f'<div class="guess-score" data-guesses="{asked}">{none_made(asked)}</div>'
            next(iter(self.document.findall(nodes.section))).append(
                nodes.raw("", score, format="html")
            )

    def finding(self) -> list[AnswerBegin]:
        """Mark the finding at the top of a chapter that has no marks."""
        for paragraph in self.document.findall(nodes.paragraph):
            first = next((child for child in paragraph.children if child.astext().strip()), None)
            if isinstance(first, nodes.strong) and first.astext() == FINDING:
                begin, parent = AnswerBegin(called=CALLED, guesses=""), paragraph.parent
                place = parent.index(paragraph)
                parent.insert(place, begin)
                parent.insert(place + 2, AnswerEnd())
                return [begin]
        return []

    def wrap(self, begin: AnswerBegin, asked: int) -> None:
        """Put what follows a mark, up to the next mark or the section's end, into one element."""
        parent = begin.parent
        place = parent.index(begin)
        inside: list[nodes.Node] = []
        for node in parent.children[place + 1 :]:
            if isinstance(node, AnswerEnd):
                break
            inside.append(node)
        parent.remove(begin)
        if not asked:
            return
        after = begin["guesses"].split() or [str(k) for k in range(1, asked + 1)]
        if not all(k.isdigit() and int(k) >= 1 for k in after):
            raise ExtensionError(
                f"{self.env.docname}: {begin['called']!r} waits for the guesses {' '.join(after)}: "
                f"they are numbered from 1"
            )
        if max(map(int, after)) > asked:  # a short run had less to ask: wait for all that there are
            after = [str(k) for k in range(1, asked + 1)]
        whole = Answer("", called=begin["called"], after=after)
        for node in inside:
            parent.remove(node)
        whole.extend(inside)
        parent.insert(place, whole)


def none_made(asked: int) -> str:
    """Say at the end of a chapter what guesses.js says before a guess: it takes the room."""
    names = ["Guess " + str(k) for k in range(1, asked + 1)] if asked > 1 else ["The guess"]
    links = " ".join(
        f'<a href="#Prediction{f"-{k}" if k > 1 else ""}">{name}</a>: open.'
        for k, name in enumerate(names, 1)
    )
    return f"<p><strong>Your guesses. </strong>None of {asked} made yet. {links}</p>"


def lay_marks(app: Sphinx, name: str, template: str, context: dict[str, Any], _: object) -> None:
    """Lay over each figure with marked panels what the page can draw a guess in."""
    if "guess-score" not in context.get("body", ""):
        return
    sources = {name: source for source, (_, name) in app.env.images.items()}

    def marked(match: re.Match[str]) -> str:
        pictures = {"guess-marks": Path(app.srcdir) / sources[match[3]]}
        if match[2]:  # it has a narrow variant: see readable_figures.py
            pictures["guess-marks of-narrow"] = Path(app.outdir) / match[2]
        marks = ""
        for kind, path in pictures.items():
            panels = panels_of(path.read_text(encoding="utf8"))
            if not panels:
                return match[0]
            data = html.escape(json.dumps(panels))
            marks += f'<span class="{kind}" data-panels="{data}"></span>'
        return f'<span class="guess-figure">{match[0]}{marks}</span>'

    context["body"] = _PICTURE.sub(marked, context["body"])


def panels_of(svg: str) -> list[dict[str, Any]]:
    """Return the panels of a picture in which a guess is drawn, their places as shares of it.

    >>> (panel,) = panels_of(
    ...     '<svg viewBox="0 0 200 100"><g id="guess_1.2_x_log_0.001_10"> '
    ...     '<path d="M 20 90 L 120 90 L 120 10 L 20 10 z"/></g></svg>'
    ... )
    >>> panel["guesses"], panel["ends"], panel["box"]
    ([1, 2], [0.001, 10.0], [0.1, 0.1, 0.5, 0.8])
    """
    found = []
    for guesses, along, scale, low, high, path in _PANEL.findall(svg):
        view = _VIEW.search(svg)
        if view is None:
            return []
        left, top, width, height = map(float, view[1].split())
        numbers = [float(number) for number in _NUMBER.findall(path)]
        xs, ys = sorted(numbers[::2]), sorted(numbers[1::2])
        box = [(xs[0] - left) / width, (ys[0] - top) / height]
        box += [(xs[-1] - xs[0]) / width, (ys[-1] - ys[0]) / height]
        found.append(
            {
                "guesses": [int(guess) for guess in guesses.split(".")],
                "along": along,
                "log": scale == "log",
                "ends": [float(low), float(high)],
                "box": [round(share, 5) for share in box],
            }
        )
    return found


def open_answer(self: HTML5Translator, node: nodes.Element) -> None:
    """Begin an answer: the line that stands for it while it waits, then what it holds."""
    links = [
        f'<a href="#Prediction{f"-{k}" if k != "1" else ""}">'
        f"{'your guess' if len(node['after']) == 1 else f'guess {k}'}</a>"
        for k in node["after"]
    ]
    listed = ", ".join(links[:-1]) + " and " * (len(links) > 1) + links[-1]
    count = "your guess" if len(links) == 1 else "your guesses"
    called = html.escape(node["called"])
    self.body.append(
        f'<div class="after-guess" data-after="{" ".join(node["after"])}">\n'
        f'<p class="guess-bar"><strong>{called}, after {count}.</strong> '
        f'Make {listed} first, or <button type="button">skip all guesses</button>.</p>\n'
        '<div class="answer" tabindex="-1">\n'
    )


def close_answer(self: HTML5Translator, node: nodes.Element) -> None:
    """End it."""
    self.body.append("</div>\n</div>\n")


def setup(app: Sphinx) -> dict[str, bool]:
    """Register with Sphinx."""
    app.add_directive("answer", AnswerDirective)
    app.add_directive("answer-end", AnswerEndDirective)
    for mark in (AnswerBegin, AnswerEnd):
        app.add_node(mark)
    app.add_node(Answer, html=(open_answer, close_answer))
    app.add_post_transform(WrapAnswers)
    # When the figures stand in boxes of their own: see readable_figures.py.
    app.connect("html-page-context", lay_marks, priority=650)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
