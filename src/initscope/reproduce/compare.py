"""Hold what chapters say against what they said at a commit: every number, text and finding.

:func:`facts_of` reads the values that chapters glue (by name), what else they put out as text,
tables or streams (by their order), and the findings recorded beside them. Pictures are left out:
their numbers are in the tables that drew them. :func:`differences` says in words which are others;
:func:`numbers_beside` makes the table of the glued ones, with difference and tolerance.
"""

from __future__ import annotations

import csv
import io
import json
import re
import subprocess
import tarfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import astuple, dataclass, fields
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

from initscope.errors import UsageError
from initscope.files import atomic_write

TOLERANCE = 1e-3
"""Share by which a number may differ without a cause: another processor rounds otherwise."""

GLUED = "application/papermill.record/"
NUMBER = re.compile(r"[-+−]?\d[\d,]*(?:\.\d+)?(?:[eE][-+]?\d+)?%?")


def facts_of(files: Mapping[str, str]) -> dict[str, str]:
    """Return what chapters and findings say, by chapter and name.

    `files` are texts by their path in the folder of the chapters; those that are neither a chapter
    nor a finding are left out.
    """
    facts: dict[str, str] = {}
    for path, text in sorted(files.items()):
        if path.endswith(".ipynb"):
            facts |= dict(_of_chapter(Path(path).stem, json.loads(text)))
        elif path.endswith(".json") and {"outcome", "result"} & set(record := json.loads(text)):
            facts |= {f"{path} {name}": value for name, value in _leaves(record)}
    return facts


def facts_in(folder: Path) -> dict[str, str]:
    """Return what the chapters in a folder, and the findings in its ``results``, say."""
    paths = [*folder.glob("*.ipynb"), *folder.glob("results/*/cpu/findings/*.json")]
    paths += folder.glob("results/*/cpu/*.json")
    return facts_of({p.relative_to(folder).as_posix(): p.read_text("utf8") for p in paths})


def facts_at(revision: str, folder: Path) -> dict[str, str]:
    """Return what the chapters in a folder, and the findings, said at a revision of git.

    Raises
    ------
    UsageError
        If git does not know the folder, or not at that revision.
    """
    command = ["git", "archive", "--format=tar", revision, "."]
    try:
        packed = subprocess.run(command, cwd=folder, check=True, capture_output=True).stdout
    except (OSError, subprocess.CalledProcessError) as error:
        raise UsageError(
            f"git has no chapters of {folder} at {revision}: compare in a clone of the project, "
            "with a commit that it has."
        ) from error
    files = {}
    with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
        for member in archive:
            path = member.name.removeprefix("./")
            if re.fullmatch(r"[^/]*\.ipynb|results/[^/]*/cpu/(findings/)?[^/]*\.json", path):
                content = archive.extractfile(member)
                assert content is not None
                files[path] = content.read().decode("utf8")
    return facts_of(files)


@dataclass(frozen=True)
class Number:
    """A glued value as it was published and as it came out here; None where there is none.

    `difference` (yours minus published) and `tolerance` are those of a number; a text has none.
    `outcome` is ``same``, ``within`` the tolerance, ``beyond`` it, ``missing`` or ``new``.
    """

    chapter: str
    name: str
    published: str | None
    yours: str | None
    difference: float | None
    tolerance: float | None
    outcome: str


def numbers_beside(published: Mapping[str, str], yours: Mapping[str, str]) -> list[Number]:
    """Return every glued value of the chapters in `yours`, beside the published one.

    >>> rows = numbers_beside({"01_a glued std": "0.5"}, {"01_a glued std": "0.75"})
    >>> print(rows[0].difference, rows[0].tolerance, rows[0].outcome)
    0.25 0.1001 beyond
    """
    executed = {fact.partition(" ")[0] for fact in yours}
    rows = []
    for fact in dict.fromkeys([*published, *yours]):
        chapter, kind, name = [*fact.split(" ", 2), ""][:3]
        if kind != "glued" or chapter not in executed:
            continue
        old, new = published.get(fact), yours.get(fact)
        difference = tolerance = None
        if old is None or new is None:
            outcome = "new" if old is None else "missing"
        else:
            outcome = "same" if old == new else "beyond"
            if outcome == "beyond" and _agree(old, new, TOLERANCE):
                outcome = "within"
            before, after = _value(old), _value(new)
            if before is not None and after is not None:
                difference = after - before
                tolerance = _tolerance(*_numbers(old)[0], TOLERANCE)
        rows.append(Number(chapter, name, old, new, difference, tolerance, outcome))
    return rows


def write_numbers(path: Path, numbers: Sequence[Number]) -> None:
    """Write the numbers as a table, CSV with a line of names."""
    with atomic_write(path) as part, part.open("w", encoding="utf8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow([field.name for field in fields(Number)])
        writer.writerows(astuple(number) for number in numbers)


def count_in_words(numbers: Sequence[Number]) -> str:
    """Say how many numbers are others than those published.

    >>> count_in_words([Number("01_a", "std", "1", "1", 0.0, 0.0, "same")])
    '1 number, none of them another than the published one'
    """
    others = [number for number in numbers if number.outcome != "same"]
    within = sum(number.outcome == "within" for number in others)
    count = f"{len(numbers):,} number{'s' * (len(numbers) != 1)}"
    if not others:
        return f"{count}, none of them another than the published one"
    return (
        f"{count}, of them {len(others):,} another than the published one, "
        f"{within:,} of these within the tolerance"
    )


def differences(
    before: Mapping[str, str], after: Mapping[str, str], relative: float = 0.0
) -> list[str]:
    """Return a line for every fact that is another, missing or new.

    With a tolerance, numbers may differ by this share or by one in the last digit shown (another
    processor rounds otherwise); the words between them may not.
    """
    lines = []
    for name in dict.fromkeys([*before, *after]):
        if name not in after:
            lines.append(f"missing: {name}, was {_short(before[name])}")
        elif name not in before:
            lines.append(f"new: {name} = {_short(after[name])}")
        elif not _agree(before[name], after[name], relative):
            lines.append(f"changed: {name}: {_apart(before[name], after[name])}")
    return lines


def _of_chapter(chapter: str, notebook: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    seen: Counter[str] = Counter()
    for output in (o for cell in notebook["cells"] for o in cell.get("outputs", [])):
        name = output.get("metadata", {}).get("scrapbook", {}).get("name")
        shown = output.get("data", {})
        data = {kind: "".join(text) for kind, text in shown.items() if isinstance(text, str | list)}
        if name:
            kind, text = f"glued {name}", "".join(data.values())
        elif output["output_type"] == "stream":
            kind, text = "stream", "".join(output["text"])
        elif "text/html" in data:
            kind, text = "table", _words(data["text/html"])
        elif "text/markdown" in data:
            kind, text = "text", data["text/markdown"]
        elif shown and not any("svg" in kind or "widget" in kind for kind in shown):
            kind, text = "text", data.get("text/plain", "")
        else:
            continue
        seen[kind] += 1
        yield f"{chapter} {kind}" + ("" if name and seen[kind] == 1 else f" {seen[kind]}"), text


def _leaves(value: Any, name: str = "") -> Iterator[tuple[str, str]]:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _leaves(inner, f"{name}.{key}" if name else key)
    else:
        yield name, str(value)


class _Words(HTMLParser):
    """The texts of the cells of a table, without its style, whose names are drawn anew each run."""

    def __init__(self) -> None:
        super().__init__()
        self.words: list[str] = []
        self._in_style = False

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self._in_style = tag == "style"

    def handle_endtag(self, tag: str) -> None:
        self._in_style = False

    def handle_data(self, data: str) -> None:
        if data.strip() and not self._in_style:
            self.words.append(data.strip())


def _words(html: str) -> str:
    parser = _Words()
    parser.feed(html)
    return " | ".join(parser.words)


def _agree(old: str, new: str, relative: float) -> bool:
    if old == new:
        return True
    if not relative or NUMBER.sub("#", old) != NUMBER.sub("#", new):
        return False
    return all(
        abs(a - b) <= _tolerance(a, unit, relative)
        for (a, unit), (b, _) in zip(_numbers(old), _numbers(new), strict=True)
    )


def _tolerance(number: float, unit: float, relative: float) -> float:
    """Return by how much a number may differ that is shown to this unit in its last digit."""
    return max(relative * abs(number), 1.001 * unit)


def _value(text: str) -> float | None:
    """Return a text as the one number that it is, None if it is none, or no finite one."""
    return _numbers(text)[0][0] if NUMBER.fullmatch(text) and not text.endswith("%") else None


def _numbers(text: str) -> list[tuple[float, float]]:
    """Return each number of a text, and one in the last digit it shows."""
    found = []
    for shown in NUMBER.findall(text):
        digits = shown.replace(",", "").replace("−", "-").rstrip("%")
        mantissa, _, exponent = digits.lower().partition("e")
        places = len(mantissa.partition(".")[2])
        # A number without a point is a count: it is that or another.
        unit = 10.0 ** (int(exponent or 0) - places) if places or exponent or "%" in shown else 0.0
        found.append((float(digits), unit))
    return found


def _short(text: str, length: int = 60) -> str:
    return text if len(text) <= length else f"{text[:length]}…"


def _apart(old: str, new: str) -> str:
    """Return the two texts from where they part."""
    pairs = zip(old, new, strict=False)
    start = next((i for i, (a, b) in enumerate(pairs) if a != b), min(len(old), len(new)))
    start = max(0, start - 20)
    return f"{_short(old[start:])!r} is now {_short(new[start:])!r}"
