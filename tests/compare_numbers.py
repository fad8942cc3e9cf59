"""Compare what the committed chapters say at a revision with what the working tree says.

    python tests/compare_numbers.py REVISION

prints a line for every number or text that is another, and for every one that is only on one
side; it prints nothing, and exits with 0, if all are equal. Compared are the values that chapters
glue (by name), what else they put out as text, tables or streams (by their order), and the
findings recorded beside them. Pictures are not: their numbers are in the tables that drew them.
"""

from __future__ import annotations

import io
import json
import re
import subprocess
import sys
import tarfile
from collections import Counter
from collections.abc import Iterator, Mapping
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
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


def facts_at(revision: str, root: Path) -> dict[str, str]:
    """Return what the chapters that were committed at a revision of git say."""
    command = ["git", "archive", "--format=tar", revision, "notebooks"]
    packed = subprocess.run(command, cwd=root, check=True, capture_output=True).stdout
    files = {}
    with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
        for member in archive:
            path = member.name.removeprefix("notebooks/")
            if re.fullmatch(r"[^/]*\.ipynb|results/[^/]*/cpu/(findings/)?[^/]*\.json", path):
                content = archive.extractfile(member)
                assert content is not None
                files[path] = content.read().decode("utf8")
    return facts_of(files)


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
        abs(a - b) <= max(relative * abs(a), 1.001 * unit)
        for (a, unit), (b, _) in zip(_numbers(old), _numbers(new), strict=True)
    )


def _numbers(text: str) -> list[tuple[float, float]]:
    """Each number of a text, and one in the last digit it shows."""
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
    """The two texts from where they part."""
    pairs = zip(old, new, strict=False)
    start = next((i for i, (a, b) in enumerate(pairs) if a != b), min(len(old), len(new)))
    start = max(0, start - 20)
    return f"{_short(old[start:])!r} is now {_short(new[start:])!r}"


def main(revision: str) -> int:
    """Print the differences between a revision and the working tree; return 1 if there are any."""
    lines = differences(facts_at(revision, ROOT), facts_in(ROOT / "notebooks"))
    print(*lines, sep="\n", end="\n" if lines else "")
    return int(bool(lines))


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python tests/compare_numbers.py REVISION")
    sys.exit(main(sys.argv[1]))
