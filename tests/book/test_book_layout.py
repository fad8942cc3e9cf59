"""The font of the book."""

from __future__ import annotations

import base64
import re

from book_pages import ROOT


def test_the_font_is_small_and_its_license_is_there() -> None:
    static = ROOT / "book" / "_static"
    style = (static / "inter.css").read_text()
    assert len(style) < 60_000
    (font,) = re.findall(r'url\("data:font/woff2;base64,([^"]+)"\)', style)
    assert base64.b64decode(font)[:4] == b"wOF2"
    assert "SIL OPEN FONT LICENSE" in (static / "inter.txt").read_text()
