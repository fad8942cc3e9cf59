"""What a record says of a claim, in a line of prose.

::

    {finding}`E2a`            the size that matters most, with its 95% interval
    {finding-outcome}`E2a`    what became of it in its scope, with the number of cases
    {finding-summary}`E2a`    what was found, in a sentence

The record is verified as it is for the table of findings; a claim that has none fails the build.
"""

import json
from collections.abc import Callable
from functools import cache
from pathlib import Path

from docutils import nodes
from findings import folder_of_results
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxRole

from initscope.claims import Finding, verified_findings
from initscope.errors import UsageError


@cache
def findings_by_key(notebooks: Path) -> dict[str, Finding]:
    """Return what became of every claim of every chapter, each verified."""
    chapters = {}
    for path in sorted((notebooks / "claims").glob("*.yaml")):
        notebook = json.loads((notebooks / f"{path.stem}.ipynb").read_text("utf8"))
        chapters[path.stem] = folder_of_results(notebook)
    return {claim.key: finding for _, claim, finding in verified_findings(notebooks, chapters)}


def size_of(finding: Finding) -> str:
    """Return the size with its interval; UsageError if the record has none."""
    if finding.effect is None:
        raise UsageError(f"the finding {finding.claim} has no size.")
    return finding.effect.in_words


def outcome_of(finding: Finding) -> str:
    """Return what became of the claim."""
    return finding.in_words


def summary_of(finding: Finding) -> str:
    """Return the sentence that says what was found."""
    return finding.summary.removesuffix(".")


class FindingRole(SphinxRole):
    """A role; its content is the key of a claim."""

    def __init__(self, words: Callable[[Finding], str]) -> None:
        super().__init__()
        self.words = words

    def run(self) -> tuple[list[nodes.Node], list[nodes.system_message]]:
        """Return the text, marked as the numbers of the chapters are."""
        notebooks = Path(self.env.srcdir) / "notebooks"
        for path in (notebooks / "claims").glob("*.yaml"):
            self.env.note_dependency(str(path))
            self.env.note_dependency(str(notebooks / f"{path.stem}.ipynb"))
        try:
            found = findings_by_key(notebooks)
            if self.text not in found:
                raise UsageError(f"no chapter claims {self.text!r}.")
            text = self.words(found[self.text])
        except UsageError as error:
            message = self.inliner.reporter.error(str(error), line=self.lineno)
            return [nodes.problematic(self.rawtext, self.rawtext)], [message]
        return [nodes.inline("", text, classes=["pasted-text"])], []


def setup(app: Sphinx) -> dict[str, bool]:
    """Register with Sphinx."""
    app.add_role("finding", FindingRole(size_of))
    app.add_role("finding-outcome", FindingRole(outcome_of))
    app.add_role("finding-summary", FindingRole(summary_of))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
