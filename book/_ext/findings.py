"""The table of what became of the claims, from the records of the chapters.

On a page of prose::

    ```{findings} claims
    ```

shows every claim of the paper, with ``predictions`` those of this book. A claim without a record, a
record of what the claim said before or of files that are others now, and one that contradicts
itself fail the build.
"""

import json
import re
import sys
from pathlib import Path
from typing import Any

from docutils import nodes
from docutils.statemachine import StringList
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

ROOT = Path(__file__).resolve().parents[2]
# The package is not installed where only the book is built; this part of it needs nothing but YAML.
sys.path.append(str(ROOT / "src"))

from initscope.claims import Claim, Finding, verified_findings  # noqa: E402
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
        lines = table(rows)
        parent = nodes.container()
        self.state.nested_parse(StringList(lines, self.get_source_info()[0]), 0, parent)
        parent["classes"] = ["findings"]
        return [parent]


def table(rows: list[tuple[str, Claim, Finding]]) -> list[str]:
    """Lines of Markdown, a row a finding."""
    lines = [
        "| Claim | In scope | Beyond it | Size, and what it rests on |",
        "| --- | --- | --- | --- |",
    ]
    for chapter, claim, finding in rows:
        record = next(iter(finding.records.values()))
        runs = f"{finding.runs:,} run{'s' * (finding.runs != 1)}"
        effect = f"{finding.effect.in_words}. " if finding.effect else ""
        cells = [
            f"**{claim.key}.** {claim.statement} [](../notebooks/{chapter}.ipynb)",
            outcome(finding.in_words),
            outcome(finding.beyond_in_words),
            f"{effect}{runs}, {{numref}}`{finding.figure}`, record `{record[:8]}`",
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
