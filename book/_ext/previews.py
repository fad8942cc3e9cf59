"""What symbols mean and references lead to, for the cards that previews.js shows.

A formula is given the numbers of the symbols in it that the page on notation explains, and its page
their meanings. A link to a figure, an equation, a proposition or a source on another page brings a
copy of it along, with formulas as MathML: the letters of drawn ones stand in the page that they are
of. For a place on the same page the copy is made in the page.
"""

import json
import re
from collections.abc import Iterator
from copy import copy
from functools import cache
from html import escape
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from bs4 import BeautifulSoup, SoupStrainer
from bs4.element import Tag
from docutils import nodes
from sphinx.application import Sphinx

NOTATION = Path(__file__).parents[1] / "notation.md"

OF_LAYERS = ("One layer", "The size of the weights", "Random networks")
SECTIONS = {
    "notebooks/04_transformer_variance": ("Transformers", *OF_LAYERS[1:]),
    "notebooks/07_gpt2_qkv_dynamics": ("Transformers", "Training with AdamW", OF_LAYERS[1]),
    "notebooks/08_noise_and_drift": ("Training with AdamW", OF_LAYERS[1]),
    "notebooks/09_published_runs": ("Training with AdamW", OF_LAYERS[1]),
}
"""Sections of the notation that hold on a page, where they are not those of layers."""

OTHERWISE = {
    "notebooks/03_finite_width": {"b", "c"},  # moments of the squared singular values
    "notebooks/04_transformer_variance": {"q", "c", r"\delta"},  # of queries, positions, the stream
    "notebooks/05_std_sweep": {"c"},  # constants: of the left edge, and of a proof
    "notebooks/06_xavier_vs_kaiming": {"c"},
    "notebooks/07_gpt2_qkv_dynamics": {"T", "t", r"\sigma"},  # updates, and the std along the way
}
"""Letters that a page uses for something else, and says itself for what."""

Key = tuple[str, frozenset[str]]

_BRACES = r"\{(?:[^{}]|\{[^{}]*\})*\}"
_ATOM = re.compile(
    rf"(?P<base>\\[a-zA-Z]+|[a-zA-Z])(?P<scripts>(?:\s*[_^]\s*(?:{_BRACES}|\\[a-zA-Z]+|\S))*)"
)
_SCRIPT = re.compile(rf"([_^])\s*({_BRACES}|\\[a-zA-Z]+|\S)")
# Commands whose argument is no symbol of its own.
_WORDS = re.compile(
    rf"\\(?:text|mathrm|operatorname|mathcal|mathbb|label|begin|end|hline|color)\s*(?:{_BRACES})"
    r"|\\math(?:cal|bb)\s+[a-zA-Z]|\\(?:text|mathrm|operatorname|mathcal|mathbb|hline)"
)
_INDEX = re.compile(r"\(?[lLkijt\d](?:\s*[+-]\s*1)?\)?|ij|\*")
INDEXED = {r"\sigma", "q"}
"""Symbols that the chapters number by layer, where the notation gives them without one."""


def scripts_of(text: str) -> list[str]:
    """What stands lower and higher at a symbol, without braces: ``["_in", "^2"]``."""
    found = []
    for sign, script in _SCRIPT.findall(text):
        inside = script[1:-1] if script.startswith("{") else script
        found.append(sign + re.sub(r"\\mathrm\s*|[{}\s]", "", inside))
    return found


def key_of(base: str, scripts: list[str]) -> Key:
    """Name a symbol by its letter and what is no number of a layer and no square at it."""
    return base, frozenset(s for s in scripts if not _INDEX.fullmatch(s[1:]))


def symbols_in(tex: str) -> Iterator[tuple[str, list[str]]]:
    r"""Letter and scripts of each symbol of a formula.

    >>> list(symbols_in(r"n_{\mathrm{in}}\,\sigma_w^2 \mathrm{ReLU}"))
    [('n', ['_in']), ('\\sigma', ['_w', '^2'])]
    """
    kept = re.sub(r"(?<=[_^{])\s*\\mathrm\{(\w+)\}", r"{\1}", tex)
    for found in _ATOM.finditer(_WORDS.sub(" ", kept)):
        yield found["base"], scripts_of(found["scripts"])


LETTERS = {
    "alpha": "α",
    "beta": "β",
    "gamma": "γ",
    "delta": "δ",
    "epsilon": "ε",
    "eta": "η",
    "lambda": "λ",
    "mu": "μ",
    "xi": "ξ",
    "rho": "ρ",
    "sigma": "σ",
    "phi": "φ",
    "chi": "χ",
    "theta": "θ",
    "nabla": "∇",
    "langle": "⟨",
    "rangle": "⟩",
    "top": "⊤",
}
"""Letters and signs by their name in TeX."""


def in_html(tex: str) -> str:
    r"""A short formula in letters.

    >>> in_html(r"\sigma_w^2 = n_{\mathrm{in}}\,\sigma^2")
    '<i>σ</i><sub>w</sub><sup>2</sup> = <i>n</i><sub>in</sub> <i>σ</i><sup>2</sup>'
    """
    text = re.sub(r"\\(?:mathrm|mathcal|text|bigl|bigr|left|right)\b\s*", "", tex)
    text = re.sub(r"\{\{([^{}]*)\}\}", r"{\1}", text)
    text = re.sub(r"\\sqrt\{((?:[^{}]|\{[^{}]*\})*)\}", r"√(\1)", text)
    text = re.sub(r"\\d?frac\{([^{}]*)\}\{([^{}]*)\}", r"\1/\2", text)
    text = re.sub(r"\\[,;: ]", " ", text)

    def letters(part: str) -> str:
        part = re.sub(r"\\([a-zA-Z]+)\s*", lambda m: LETTERS.get(m[1], m[1]), part)
        return escape(re.sub(r"[{}]", "", part))

    def scripted(match: re.Match[str]) -> str:
        base = f"<i>{letters(match['base'])}</i>"
        for sign, script in _SCRIPT.findall(match["scripts"]):
            tag = "sub" if sign == "_" else "sup"
            base += f"<{tag}>{letters(script)}</{tag}>"
        return base

    out, end = "", 0
    for match in _ATOM.finditer(text):
        out += letters(text[end : match.start()]) + scripted(match)
        end = match.end()
    return " ".join((out + letters(text[end:])).split())


@cache
def notation() -> dict[str, list[tuple[set[Key], str, str]]]:
    """Symbols, their look and their meaning in HTML, by the section of the page on notation."""
    found: dict[str, list[tuple[set[Key], str, str]]] = {}
    section = ""
    for line in NOTATION.read_text(encoding="utf8").splitlines():
        if line.startswith("## "):
            section = line[3:]
        cells = [cell.strip() for cell in line.strip("|").split(" | ")]
        if not line.startswith("| $") or len(cells) < 2:
            continue
        keys, looks = set(), []
        for formula in re.findall(r"\$(.+?)\$", cells[0]):
            # Of a function its name, of a list its entries, of an equation its left side.
            alone = re.sub(r"(?<=\w)\([^)]*\)", "", formula)
            for one in re.split(r"(?<!\\),(?:\\ )?\s*", alone):
                look, _, _ = one.partition("=")
                atoms = list(symbols_in(look))
                if re.match(r"\\(?:sqrt|langle)|\d", look.strip()) or not atoms:
                    continue
                base, scripts = atoms[0]
                key = key_of(base, scripts)
                indexed = base in INDEXED or len(key[1]) < len(scripts)
                keys |= {key, (base, key[1] | {"#"})} if indexed else {key}
                looks.append(in_html(one))
        if not keys:
            continue
        meaning = re.sub(r"\s*\{cite:p\}`[^`]*`", "", cells[1])
        pieces = re.split(r"\$(.+?)\$", meaning)
        said = "".join(in_html(p) if k % 2 else escape(p) for k, p in enumerate(pieces))
        found.setdefault(section, []).append((keys, ", ".join(looks), said))
    return found


def meanings(docname: str) -> list[tuple[set[Key], str, str]]:
    """What symbols mean on a page; the first of two meanings holds."""
    known: set[Key] = set()
    rows = []
    for section in SECTIONS.get(docname, OF_LAYERS):
        for keys, look, meaning in notation()[section]:
            here = {key for key in keys - known if key[0] not in OTHERWISE.get(docname, ())}
            if here:
                rows.append((here, look, meaning))
            known |= keys
    return rows


def explained(tex: str, rows: list[tuple[set[Key], str, str]]) -> list[int]:
    """Numbers of the rows that explain a symbol of a formula, in the formula's order."""
    found: dict[int, None] = {}
    for base, scripts in symbols_in(tex):
        key = key_of(base, scripts)
        layered = any(_INDEX.fullmatch(s[1:]) and s not in ("^2", "^*") for s in scripts)
        key = (base, key[1] | {"#"}) if layered else key
        for k, (keys, _, _) in enumerate(rows):
            if key in keys:
                found[k] = None
    return list(found)


def mark_formulas(app: Sphinx, doctree: nodes.document, docname: str) -> None:
    """Give each formula the numbers of what explains its symbols, as a class of its element."""
    if app.builder.name != "html" or docname == "book/notation":
        return
    rows = meanings(docname)
    for node in (*doctree.findall(nodes.math), *doctree.findall(nodes.math_block)):
        if numbers := explained(node.astext(), rows):
            node["classes"] = [*node["classes"], f"symbols-{'-'.join(map(str, numbers))}"]


def add_meanings(app: Sphinx, name: str, template: str, context: dict[str, Any], _: object) -> None:
    """Put into a page what its symbols mean."""
    body = context.get("body", "")
    if app.builder.name != "html" or not re.search(r'class="[^"]*\bsymbols-\d', body):
        return
    rows = [[look, meaning] for _, look, meaning in meanings(name)]
    text = json.dumps(rows, ensure_ascii=False).replace("</", "<\\/")
    context["body"] = f'{body}<script type="application/json" id="meanings">{text}</script>'


_LINK = re.compile(r'<a class="reference internal" href="([^"#]+)#([^"]+)"')


def copy_of(target: Tag) -> str:
    """The markup of what a link leads to, with MathML in place of drawn formulas."""
    entry = target.find_next_sibling("dd") if target.name == "dt" else None
    said = entry.find("p") if isinstance(entry, Tag) else None
    target = copy(target)
    drawn = target.select_one("math")
    if drawn is not None and "math" in (target.get("class") or []):
        return f"<div>{drawn}</div>"
    for formula in target.select(".math"):
        if (markup := formula.select_one("math")) is not None:
            formula.replace_with(markup.extract())
    left_out = "script, style, .headerlink, .steps, .still-note, button, details, .label"
    left_out += ", source, .of-narrow"  # a card is no phone
    for part in target.select(left_out):
        part.decompose()
    if target.name == "dt":  # a name of the package: how it is called, and its first sentence
        markup = f"<div>{target.decode_contents()}</div>{said or ''}"
    elif target.name == "section":
        parts = target.find_all(["h1", "h2", "h3", "h4", "p"], limit=2)
        markup = "".join(str(part) for part in parts)
    else:
        markup = str(target)
    # A card is read, not followed: where its links lead from is another page.
    return re.sub(r'</?a\b[^>]*>|\s(?:id|role|tabindex)="[^"]*"', "", markup)


def bring_copies(app: Sphinx, error: Exception | None) -> None:
    """Put into each page what its links to places on other pages lead to."""
    if error is not None or app.builder.name != "html":
        return
    outdir = Path(app.outdir).resolve()
    pages = {
        path: path.read_text(encoding="utf8")
        for path in sorted(outdir.rglob("*.html"))
        if path.parent != outdir and path.relative_to(outdir).parts[0][0] != "_"
    }
    links = {path: sorted(set(_LINK.findall(text))) for path, text in pages.items()}

    def goal(path: Path, page: str, place: str) -> tuple[Path, str]:
        return (path.parent / page).resolve(), unquote(place)

    wanted: dict[Path, set[str]] = {}
    for path, found in links.items():
        for link in found:
            page, place = goal(path, *link)
            wanted.setdefault(page, set()).add(place)
    copies: dict[tuple[Path, str], str] = {}
    for page, places in wanted.items():
        text = re.sub(r"<script\b.*?</script>", "", pages.get(page, ""), flags=re.DOTALL)
        soup = BeautifulSoup(text, "html.parser", parse_only=SoupStrainer(["section", "dl"]))
        for target in soup.find_all(id=sorted(places)):
            copies[page, str(target["id"])] = copy_of(target)
    for path, text in pages.items():
        up = "../" * (len(path.relative_to(outdir).parts) - 1)
        templates = "".join(
            f'<template data-copy-of="{page}#{place}">{markup}</template>'
            for page, place in links[path]
            if (markup := copies.get(goal(path, page, place)))
        )
        if templates:
            templates = re.sub(r'src="(?:\.\./)+_images/', f'src="{up}_images/', templates)
            head, end, tail = text.rpartition("</body>")
            path.write_text(f"{head}{templates}{end}{tail}", encoding="utf8")


def setup(app: Sphinx) -> dict[str, bool]:
    """Register with Sphinx."""
    # Before formulas and what stands at them are put together, and before they are written.
    app.connect("doctree-resolved", mark_formulas, priority=400)
    app.connect("html-page-context", add_meanings)
    app.connect("build-finished", bring_copies, priority=400)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
