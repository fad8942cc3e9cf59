"""What became of the claims, from the records of the chapters: cards, and a table.

On a page of prose::

    ```{findings} claims
    ```

shows a card for every claim of the paper and, folded, the table of all claims; with ``predictions``
the table of this book's own. A claim without a record, a record of what the claim said before or of
files that are others now, and one that contradicts itself fail the build.
"""

import json
import re
import sys
from html import escape
from pathlib import Path
from typing import Any

from docutils import nodes
from docutils.statemachine import StringList
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

ROOT = Path(__file__).resolve().parents[2]
# The package is not installed where only the book is built; this part of it needs nothing but YAML.
sys.path.append(str(ROOT / "src"))

from initscope.claims import Cases, Claim, Effect, Finding, verified_findings  # noqa: E402
from initscope.errors import UsageError  # noqa: E402

RESULTS = re.compile(r"""^results = ["'](.+)["']$""", re.MULTILINE)


def folder_of_results(notebook: dict[str, Any]) -> str:
    """Folder that a notebook was executed with: of its parameters, the last that names one."""
    parameters = [
        "".join(cell["source"])
        for cell in notebook["cells"]
        if {"parameters", "injected-parameters"} & set(cell["metadata"].get("tags", []))
    ]
    return [found for source in parameters for found in RESULTS.findall(source)][-1]


class Findings(SphinxDirective):
    """The directive; its argument is the kind of entries."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        """A table of the claims of all chapters that make some."""
        notebooks = Path(self.env.srcdir) / "notebooks"
        chapters = {}
        for path in sorted((notebooks / "claims").glob("*.yaml")):
            notebook = notebooks / f"{path.stem}.ipynb"
            chapters[path.stem] = folder_of_results(json.loads(notebook.read_text("utf8")))
            for file in (path, notebook):
                self.env.note_dependency(str(file))
        try:
            found = verified_findings(notebooks, chapters)
        except UsageError as error:
            raise self.error(str(error)) from error
        rows = [row for row in found if row[1].kind == self.arguments[0]]
        if not rows:
            raise self.error(f"no chapter has {self.arguments[0]}")
        all_of_them = self.parsed(table(rows), "findings")
        if self.arguments[0] != "claims":
            return [all_of_them]
        cards = nodes.container(classes=["verdicts"])
        for row in rows:
            if OF_THE_PAPER.match(row[1].texts["source"]):
                cards += self.card(*row)
        return [cards, *folded("All claims as a table", [all_of_them])]

    def parsed(self, lines: list[str], name: str) -> nodes.container:
        """Lines of Markdown in a container of the class `name`."""
        parent = nodes.container()
        self.state.nested_parse(StringList(lines, self.get_source_info()[0]), 0, parent)
        parent["classes"] = [name]
        return parent

    def card(self, chapter: str, claim: Claim, finding: Finding) -> nodes.container:
        """The claim, what became of it in a word, a sentence and a picture, and the numbers."""
        outcome_class = finding.result.replace(" ", "-")
        head = self.parsed([f"*{label(claim.key)}* {quoted(claim)}"], "verdict-claim")
        icon = nodes.raw("", ICONS[finding.result], format="html")
        result = nodes.paragraph("", "", icon, nodes.strong("", finding.result.capitalize()))
        result["classes"] = ["verdict-outcome"]
        texts, beyond = claim.texts, finding.beyond_in_words or "nothing was tried"
        numbers = [
            finding.summary,
            f"**Size.** {finding.effect.in_words}." if finding.effect else "",
            f"**Scope.** {texts['scope']} Beyond it: {texts['beyond']}",
            f"**Measured.** {texts['statistic']}",
            f"**Holds if.** {texts['holds_if']}",
            f"**In scope:** {finding.in_words}. **Beyond it:** {beyond}.",
            f"{rests_on(finding)}: [](../notebooks/{chapter}.ipynb).",
        ]
        lines = [line for text in numbers if text for line in (prose(text), "")]
        card = nodes.container(classes=["verdict", f"verdict-{outcome_class}"])
        card += [
            head,
            result,
            self.parsed([in_short(finding)], "verdict-short"),
            nodes.raw("", picture(finding), format="html"),
            *folded("The numbers", [self.parsed(lines, "verdict-numbers")]),
        ]
        return card


OF_THE_PAPER = re.compile("abstract|recipes")
"""Sources of claims that are of the paper; the others are of other papers."""

_PATH = 'fill="none" stroke="currentColor" stroke-width="2"'
ICONS = {
    result: '<svg class="verdict-icon" viewBox="0 0 16 16" width="16" height="16"'
    f' aria-hidden="true">{shape}</svg> '
    for result, shape in {
        "holds": f'<path d="M2 8.5l4 4L14 4" {_PATH}/>',
        "holds in part": f'<circle cx="8" cy="8" r="6" {_PATH}/>'
        '<path d="M8 2a6 6 0 0 1 0 12z" fill="currentColor"/>',
        "undecided": f'<circle cx="8" cy="8" r="6" stroke-dasharray="3 2" {_PATH}/>',
        "does not hold": f'<path d="M3 3l10 10M13 3L3 13" {_PATH}/>',
    }.items()
}


def folded(title: str, inside: list[nodes.Node]) -> list[nodes.Node]:
    """Nodes that open at a press where pages have that, and stand there where not."""
    start = f'<details class="fold"><summary>{title}</summary>'
    return [
        nodes.raw("", start, format="html"),
        *inside,
        nodes.raw("", "</details>", format="html"),
    ]


def prose(text: str) -> str:
    r"""Set as formulas what a claim writes in plain letters.

    >>> prose("between 1e-2 and 1/sqrt(2L)")
    'between $10^{-2}$ and $1/\\sqrt{2L}$'
    """
    text = re.sub(r"\b1e-(\d+)\b", r"$10^{-\1}$", " ".join(text.split()))
    return re.sub(r"1/sqrt\((\w+)\)", r"$1/\\sqrt{\1}$", text)


def quoted(claim: Claim) -> str:
    """The claim, in quotes where these are the words of its source, and what is added to them.

    >>> texts = dict(scope="S", beyond="B", statistic="T", holds_if="H", source="abstract")
    >>> quoted(Claim("E3c", "claims", {**texts, "words": "It rests (the variance)."}))
    '“It rests” (the variance).'
    """
    found = re.fullmatch(r"(.+?)( \([^()]+\))\.?", claim.statement)
    words, aside = found.groups() if found else (claim.statement.rstrip("."), "")
    words = prose(words)
    if claim.texts["source"].endswith("abstract"):
        words = f"“{words}”" if aside else f"“{words}.”"
        return words + (f"{aside}." if aside else "")
    return f"{words}{aside}."


def in_short(finding: Finding) -> str:
    """What became of it, in at most twenty words and two numbers."""
    cases = finding.in_scope
    if not cases.total:
        said = "No case could speak for or against it."
    elif cases.total == 1:
        way = (
            "speaks for"
            if cases.support
            else "speaks against"
            if cases.contradict
            else "cannot decide"
        )
        said = f"The one case {way} it."
    elif cases.support == cases.total:
        said = f"All {cases.total} cases speak for it."
    elif not cases.support:
        said = f"None of {cases.total} cases speaks for it."
    else:
        speak = "speaks" if cases.support == 1 else "speak"
        said = f"{cases.support} of {cases.total} cases {speak} for it."
    beyond = finding.result_beyond
    return (
        f"{said} Beyond its scope it {beyond if beyond != 'undecided' else 'is undecided'}."
        if beyond
        else said
    )


def picture(finding: Finding) -> str:
    """The cases as squares, or where there is one at most, the size and its interval."""
    few = finding.in_scope.total < 2
    if few and finding.effect:
        return f'<div class="verdict-picture">{interval(finding.effect)}</div>'
    rows = [("in scope", finding.in_scope)]
    if finding.beyond:
        rows.append(("beyond it", finding.beyond))
    inside = "".join(
        f'<span class="verdict-row">{name}</span>{squares(name, cases)}' for name, cases in rows
    )
    return f'<div class="verdict-picture">{inside}</div>'


STEP, ACROSS = 9, 24


def squares(name: str, cases: Cases) -> str:
    """A square a case: full for it, crossed out against it, empty undecided."""
    kinds = {"for": cases.support, "against": cases.contradict, "open": cases.undecided}
    every = [kind for kind, count in kinds.items() for _ in range(count)]
    rows = max(1, -(-len(every) // ACROSS))
    shapes = []
    for k, kind in enumerate(every):
        x, y = 1 + STEP * (k % ACROSS), 1 + STEP * (k // ACROSS)
        shapes.append(f'<rect class="case-{kind}" x="{x}" y="{y}" width="6" height="6"/>')
        if kind == "against":
            shapes.append(f'<path class="case-{kind}" d="M{x} {y}l6 6m0-6l-6 6"/>')
    said = ", ".join(
        f"{count} {what}"
        for what, count in zip(("for", "against", "undecided"), kinds.values(), strict=True)
    )
    width, height = STEP * min(max(1, len(every)), ACROSS) + 1, STEP * rows
    return (
        f'<svg viewBox="0 0 {width} {height}" width="{width}" height="{height}" role="img"'
        f' aria-label="Cases {name}: {said}">{"".join(shapes)}</svg>'
    )


def interval(effect: Effect) -> str:
    """The size as a point on its interval, and where 0 is."""
    low, high = min(0.0, effect.low), max(0.0, effect.high)
    width, pad = 217, 10

    def at(value: float) -> str:
        return f"{pad + (value - low) / ((high - low) or 1) * (width - 2 * pad):.1f}"

    zero, size, ends = at(0), at(effect.value), (at(effect.low), at(effect.high))
    line = f"M{ends[0]} 11H{ends[1]}" + "".join(f"M{end} 7v8" for end in ends)
    return (
        f'<svg viewBox="0 0 {width} 34" width="{width}" height="34" role="img"'
        f' aria-label="{escape(effect.in_words)}"><path class="verdict-zero" d="M{zero} 2V20"/>'
        f'<text x="{zero}" y="32" text-anchor="middle">0</text>'
        f'<path class="verdict-interval" d="{line}"/>'
        f'<circle class="verdict-size" cx="{size}" cy="11" r="4"/></svg>'
    )


def rests_on(finding: Finding) -> str:
    """Runs, figure and record of a finding."""
    record = next(iter(finding.records.values()))
    runs = f"{finding.runs:,} run{'s' * (finding.runs != 1)}"
    return f"{runs}, {{numref}}`{finding.figure}`, record `{record[:8]}`"


def label(key: str) -> str:
    """The short name of a claim of the paper: "E2a"; empty for one that has a name for programs.

    >>> label("E2a-one-rate"), label("alignment-share")
    ('E2a, one rate', '')
    """
    first, _, rest = key.partition("-")
    if not re.fullmatch(r"[A-Z]\d[a-z]?", first):
        return ""
    return f"{first}, {rest.replace('-', ' ')}" if rest else first


def table(rows: list[tuple[str, Claim, Finding]]) -> list[str]:
    """Lines of Markdown, a row a finding."""
    lines = [
        "| Claim | In scope | Beyond it | Size, and what it rests on |",
        "| --- | --- | --- | --- |",
    ]
    for chapter, claim, finding in rows:
        effect = f"{finding.effect.in_words}. " if finding.effect else ""
        name = f"**{label(claim.key)}.** " if label(claim.key) else ""
        cells = [
            f"{name}{prose(claim.statement)} [](../notebooks/{chapter}.ipynb)",
            outcome(finding.in_words),
            outcome(finding.beyond_in_words),
            f"{effect}{rests_on(finding)}",
        ]
        lines.append(
            "| " + " | ".join(" ".join(c.split()).replace("|", r"\|") for c in cells) + " |"
        )
    return lines


def outcome(words: str) -> str:
    """An outcome, set in bold before its cases; a dash where nothing was tried."""
    result, _, cases = words.partition(": ")
    return f"**{result}**: {cases}" if result else "–"


def setup(app: Sphinx) -> dict[str, bool]:
    """Register with Sphinx."""
    app.add_directive("findings", Findings)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
