"""Make the text of a figure short without moving anything in it that a reader could see.

A notebook keeps a figure as SVG, and matplotlib writes its coordinates to a millionth of a point.
:func:`small_svg` rounds coordinates, and coordinates alone: the size of letters is a factor, and a
factor that is rounded sets every letter of a label beside its place.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from math import ceil, hypot, log10
from xml.parsers.expat import ExpatError, ParserCreate

from initscope.checks import require

__all__ = ["small_svg"]

_NUMBER = re.compile(r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?")
_LENGTH = re.compile(rf"\s*({_NUMBER.pattern})(px|pt)?\s*")
_SEGMENT = re.compile(r"[A-DF-Za-df-z][^A-DF-Za-df-z]*")  # e is part of a number
_FUNCTION = re.compile(r"(\w+)\s*\(([^)]*)\)")
_TAG = re.compile(rb"""<[^\s/>]+(?:\s+[^\s=]+\s*=\s*(?:"[^"]*"|'[^']*'))*\s*/?>""")
_ATTRIBUTE = re.compile(r"""(\s)([^\s=]+)(\s*=\s*["'])((?<=")[^"]*|(?<=')[^']*)["']""")
_LINES = re.compile(r"(?:[ \t]*\n[ \t]*)+(?=\S)")
_NAME = re.compile(r"""(\bid=["']|href=["']#|url\(#)([\w-]+)""")
_HASH = re.compile(r"\w*[0-9a-f]{10}|f[0-9a-f]{5}-\d+")
_DECIDED = re.compile(
    r"\s*((?:fill|stroke)[\w-]*):\s*"
    r"(?:none|#[0-9a-fA-F]{6}|\d*\.?\d+(?:,\d*\.?\d+)*|butt|round|square|miter|bevel)\s*"
)

_DRAWN = {"path", "rect", "circle", "ellipse", "line", "polyline", "polygon"}
_SHAPES = {"svg", "g", "use", "image", "text", "tspan"} | _DRAWN
_COORDINATES = {
    *("x", "y", "dx", "dy", "x1", "y1", "x2", "y2", "cx", "cy", "r", "rx", "ry"),
    *("width", "height", "points", "viewBox"),
}
_OWN_UNITS = {"marker", "symbol", "pattern", "mask", "filter"}
"""What is inside is drawn at a size that is decided elsewhere."""


def small_svg(text: str) -> str:
    """Return the same picture on one line, its coordinates rounded to a hundredth of a point.

    A path is written without letters and spaces that mean nothing.
    Coordinates are the numbers of attributes such as ``x``, ``width`` and ``points``, the absolute
    ones of a path (rounded differences would add up) and what a ``transform`` moves by. Where a
    group is drawn larger, its coordinates keep as many more decimals. Factors, angles, widths of
    lines, opacities and all text stay as they are.
    Where a shape is used again and again, the style of each use says no more what the shape's own
    style decides: a marker in it has a stroke of its own, whatever the stroke of its uses.
    Identifiers that end in ten hexadecimal digits, hashes of what was not yet rounded, are numbered
    behind a hash of the rounded picture: other pictures on a page have others.
    What is not well-formed XML is put on one line and left alone otherwise.

    Raises
    ------
    UsageError
        If it is no text.

    Example
    -------
    >>> small_svg('<svg><use x="61.2749" transform="translate(0.123456 9) scale(0.015625)"/></svg>')
    '<svg><use x="61.27" transform="translate(0.12 9) scale(0.015625)"/></svg>'
    """
    require(isinstance(text, str), f"an SVG is given as a text, not as a {type(text).__name__}.")
    data = text.encode()
    try:
        tags = _tags(data)
    except ExpatError:
        return _LINES.sub(" ", text)
    parts, end = [], 0
    for start, scale, inside, idle in tags:
        tag = _TAG.match(data, start)
        if tag is not None:
            parts += [data[end:start].decode(), _smaller(tag[0].decode(), scale, inside, idle)]
            end = tag.end()
    return _renamed(_LINES.sub(" ", "".join([*parts, data[end:].decode()])))


def _renamed(text: str) -> str:
    """Name what is drawn several times by the picture and a number, not by digits rounded away."""
    hashes = (name for _, name in _NAME.findall(text) if _HASH.fullmatch(name))
    number = {name: f"-{k}" for k, name in enumerate(dict.fromkeys(hashes))}

    def with_names(names: dict[str, str]) -> str:
        return _NAME.sub(lambda match: match[1] + names.get(match[2], match[2]), text)

    digest = hashlib.sha256(with_names(number).encode()).hexdigest()[:5]
    return with_names({name: f"f{digest}{end}" for name, end in number.items()})


def _tags(data: bytes) -> list[tuple[int, float, float, frozenset[str]]]:
    """Find the tag of each shape, how much the picture enlarges it and what it holds.

    Last, the properties in its style that mean nothing.

    Raises
    ------
    ExpatError
        If it is not well-formed XML.
    """
    found: list[tuple[int, float, float, str]] = []
    scales = [1.0]  # of the elements that are open; 0 where sizes are decided elsewhere
    decided: dict[str, frozenset[str]] = {}  # by the style of the shape of that name
    parser = ParserCreate("utf-8")

    def open_element(name: str, attributes: dict[str, str]) -> None:
        scale = scales[-1] * _factor(attributes.get("transform", ""))
        inside = scale * _view(name, attributes)
        if name in _SHAPES and scale:
            link = attributes.get("xlink:href", attributes.get("href", ""))
            used = link.removeprefix("#") if name == "use" else ""
            found.append((parser.CurrentByteIndex, scale, inside, used))
        if "id" in attributes:
            here = _decided(attributes.get("style", "")) if name in _DRAWN else frozenset[str]()
            decided[attributes["id"]] = here & decided.get(attributes["id"], here)
        boxed = attributes.get("clipPathUnits") == "objectBoundingBox"
        scales.append(0.0 if name in _OWN_UNITS or boxed else inside)

    parser.StartElementHandler = open_element
    parser.EndElementHandler = lambda name: scales.pop()
    parser.Parse(data, True)
    return [
        (start, scale, inside, decided.get(used, frozenset()))
        for start, scale, inside, used in found
    ]


def _decided(style: str) -> frozenset[str]:
    """Return the properties that a style sets, whatever is inherited: to a value that is valid."""
    found = map(_DECIDED.fullmatch, style.split(";"))
    return frozenset(match[1] for match in found if match is not None)


def _smaller(tag: str, scale: float, inside: float, idle: frozenset[str]) -> str:
    """Return a tag with the coordinates in its attributes rounded, its style without the `idle`."""

    def attribute(match: re.Match[str]) -> str:
        name, value = match[2], match[4]
        decimals = _decimals(inside if name == "viewBox" else scale)
        if name == "style" and idle:
            value = _without(value, idle)
            if not value:
                return ""
        return f"{match[1]}{name}{match[3]}{_rounded(name, value, decimals)}{match[3][-1]}"

    return _ATTRIBUTE.sub(attribute, tag)


def _without(style: str, idle: frozenset[str]) -> str:
    """Return a style without some properties; one with an address in it stays as it is."""
    if "(" in style:
        return style
    parts = [part for part in style.split(";") if part.partition(":")[0].strip() not in idle]
    return ";".join(parts).strip()


def _factor(transform: str) -> float:
    """Return by how much a transform enlarges, at most in any direction."""
    factor = 1.0
    for name, arguments in _FUNCTION.findall(transform):
        values = [float(number) for number in _NUMBER.findall(arguments)]
        if name == "scale" and values:
            factor *= max(map(abs, values))
        elif name == "matrix" and len(values) == 6:
            factor *= max(hypot(*values[:2]), hypot(*values[2:4]))
    return factor


def _view(name: str, attributes: dict[str, str]) -> float:
    """Return by how much an ``svg`` enlarges what is in its ``viewBox``."""
    box = [float(number) for number in _NUMBER.findall(attributes.get("viewBox", ""))]
    if name != "svg" or len(box) != 4 or min(box[2:]) <= 0:
        return 1.0
    sizes = [_LENGTH.fullmatch(attributes.get(side, "")) for side in ("width", "height")]
    # Without a size of its own a picture is as wide as the page.
    lengths = [float(size[1]) if size else 1000.0 for size in sizes]
    return max(length / side for length, side in zip(lengths, box[2:], strict=True))


def _decimals(scale: float) -> int:
    """Return the decimals to keep of a coordinate drawn `scale` times as large: two at least."""
    return 2 + max(0, ceil(log10(scale) - 1e-9)) if 0 < scale < 1e100 else 2


def _rounded(name: str, value: str, decimals: int) -> str:
    """Round what is a coordinate in the value of an attribute."""
    if name == "d":
        return _path(value, decimals)
    if name == "transform":
        return _FUNCTION.sub(lambda function: _moved(function, decimals), value)
    return _numbers(value, decimals) if name in _COORDINATES else value


def _path(value: str, decimals: int) -> str:
    """Round the absolute commands of a path; arcs have flags and relative ones add up: they stay.

    A command of the name of the one before goes without it, and lines after a move do.
    """
    segments = _SEGMENT.findall(value)
    if "".join(segments) != value.lstrip():
        return value
    parts, last = [], ""
    for segment in segments:
        name = segment[0]
        if name in "MLHVCSQT":
            numbers = [_short(number, decimals) for number in _NUMBER.findall(segment)]
            implied = name != "M" and last in (name, "M" if name == "L" else name)
            parts += ["" if implied else name, _joined(numbers, spaced=implied)]
        else:
            parts.append(segment.rstrip())
        last = name
    return "".join(parts)


def _joined(numbers: list[str], spaced: bool) -> str:
    """Write numbers one after another: a sign parts two of them as a space does."""
    text = "".join(number if number[0] == "-" else f" {number}" for number in numbers)
    return text if spaced else text.removeprefix(" ")


def _moved(function: re.Match[str], decimals: int) -> str:
    """Round a function of a transform, only what is a coordinate in it."""
    coordinates = {"translate": (0, 1), "rotate": (1, 2), "matrix": (4, 5)}.get(function[1], ())
    return f"{function[1]}({_numbers(function[2], decimals, lambda k: k in coordinates)})"


def _numbers(text: str, decimals: int, which: Callable[[int], bool] = lambda _: True) -> str:
    """Round the numbers in `text` at the places that `which` accepts."""
    parts, end = [], 0
    for place, number in enumerate(_NUMBER.finditer(text)):
        between = text[end : number.start()]
        written = _short(number[0], decimals) if which(place) else number[0]
        if place and not between and written[0] not in "+-":  # 1.5.25 are two numbers
            between = " "
        parts += [between, written]
        end = number.end()
    return "".join([*parts, text[end:]])


def _short(number: str, decimals: int) -> str:
    """Write a number with so many decimals, as short as it can be."""
    rounded = f"{float(number):.{decimals}f}".rstrip("0").rstrip(".")
    rounded = "0" if rounded == "-0" else rounded
    return rounded if len(rounded) < len(number) else number
