"""The numbers of chapters that were executed again, beside the published ones.

On a page of prose::

    ```{numbers-beside}
    ```

says how many numbers are others than those that git has of the chapters, and shows those; the
whole table lies beside the page, as numbers.csv.
"""

import sys
from pathlib import Path

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

# The package is not installed where only the book is built; this part of it needs little.
sys.path.append(str(Path(__file__).resolve().parents[2] / "src"))

from initscope.errors import UsageError
from initscope.reproduce.compare import (
    Number,
    count_in_words,
    facts_at,
    facts_in,
    numbers_beside,
    write_numbers,
)

TABLE = "numbers.csv"
HEADER = ("Chapter", "Number", "Published", "Yours", "Difference", "Tolerance")


class NumbersBeside(SphinxDirective):
    """The directive."""

    def run(self) -> list[nodes.Node]:
        """A sentence, and a table of the numbers that are others if there are any."""
        notebooks = Path(self.env.srcdir) / "notebooks"
        try:
            numbers = numbers_beside(facts_at("HEAD", notebooks), facts_in(notebooks))
        except UsageError:
            said = "This book was built outside of a clone, where no published numbers are at hand."
            return [nodes.paragraph("", said)]
        beside = Path(self.env.app.outdir) / Path(self.env.docname).parent
        beside.mkdir(parents=True, exist_ok=True)
        write_numbers(beside / TABLE, numbers)
        link = nodes.reference("", "the table", refuri=TABLE, internal=False)
        said = f"In this book: {count_in_words(numbers)} ("
        sentence = nodes.paragraph("", said, link, nodes.Text(")."))
        others = [number for number in numbers if number.outcome != "same"]
        return [sentence, *([table(others)] if others else [])]


def table(numbers: list[Number]) -> nodes.table:
    """Return a table of numbers, those first that are beyond their tolerance."""
    rows = [
        [
            number.chapter.partition("_")[0].lstrip("0"),
            nodes.literal("", number.name),
            shown(number.published),
            shown(number.yours),
            "–" if number.difference is None else f"{number.difference:.3g}",
            "–" if number.tolerance is None else f"{number.tolerance:.1g}",
        ]
        for number in sorted(numbers, key=lambda number: number.outcome == "within")
    ]
    group = nodes.tgroup("", *(nodes.colspec() for _ in HEADER), cols=len(HEADER))
    group += nodes.thead("", row(HEADER))
    group += nodes.tbody("", *map(row, rows))
    return nodes.table("", group, classes=["numbers-beside"])


def shown(text: str | None, length: int = 40) -> nodes.Node | str:
    """Return a value, a long one from its beginning; a dash where there is none."""
    if text is None:
        return "–"
    return nodes.literal("", text if len(text) <= length else f"{text[: length - 1]}…")


def row(cells: list[nodes.Node | str] | tuple[str, ...]) -> nodes.row:
    """Return a row of a table."""
    content = (nodes.Text(cell) if isinstance(cell, str) else cell for cell in cells)
    return nodes.row("", *(nodes.entry("", nodes.paragraph("", "", cell)) for cell in content))


def setup(app: Sphinx) -> dict[str, bool]:
    """Register with Sphinx."""
    app.add_directive("numbers-beside", NumbersBeside)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
