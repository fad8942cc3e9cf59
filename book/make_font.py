"""Make the font of the book, book/_static/inter.css, out of all of Inter.

Pages carry the font they are set in, so that they look the same on every machine, a line breaks at
the same word, and nothing moves because a font comes late: the style sheet holds it. Run this again
to take in more letters. Inter comes from npm (`npm pack inter-ui@4.1.1`), and compressing it needs
fonttools and brotli (`pip install fonttools brotli`)::

    python book/make_font.py package/variable/InterVariable.woff2

Inter is under the SIL Open Font License 1.1, without a reserved name: book/_static/inter.txt.
"""

import base64
import io
import sys
from pathlib import Path

from fontTools import subset
from fontTools.ttLib import TTFont
from fontTools.varLib import instancer

STYLE_SHEET = Path(__file__).parent / "_static" / "inter.css"

# Latin letters, Greek ones, raised and lowered signs, punctuation, arrows and mathematics.
RANGES = (
    (0x20, 0x7E), (0xA0, 0x17F), (0x2B0, 0x2B8), (0x302, 0x304), (0x391, 0x3C9), (0x1D40, 0x1D40),
    (0x1D9C, 0x1D9C), (0x2010, 0x2026), (0x2030, 0x203A), (0x2070, 0x209C), (0x20AC, 0x20AC),
    (0x2113, 0x2113), (0x2122, 0x2122), (0x2190, 0x2199), (0x21D2, 0x21D4), (0x2202, 0x222B),
    (0x2248, 0x2265), (0x2713, 0x2717),
)  # fmt: skip

FEATURES = ["ccmp", "kern", "locl", "mark", "mkmk", "tnum"]
"""What letters do to each other: kerning, accents, figures of one width."""

WEIGHTS = (400, 700)


def small(font: TTFont) -> bytes:
    """The font in upright text sizes, regular to bold, with the letters of `RANGES`, as WOFF2."""
    options = subset.Options(flavor="woff2", layout_features=FEATURES, hinting=False)
    options.name_IDs = ["*"]  # with the copyright and the license
    subsetter = subset.Subsetter(options)
    subsetter.populate(unicodes=[sign for a, b in RANGES for sign in range(a, b + 1)])
    subsetter.subset(font)
    font = instancer.instantiateVariableFont(font, {"opsz": 14, "wght": WEIGHTS})
    font.flavor = "woff2"
    file = io.BytesIO()
    font.save(file)
    return file.getvalue()


def main() -> None:
    """Write the style sheet."""
    data = base64.b64encode(small(TTFont(sys.argv[1]))).decode()
    STYLE_SHEET.write_text(
        f"""/* Inter 4.1, a part of it, made by book/make_font.py; its license is in inter.txt. */
@font-face {{
  font-family: Inter;
  font-weight: {WEIGHTS[0]} {WEIGHTS[1]};
  src: url("data:font/woff2;base64,{data}") format("woff2");
}}
""",
        encoding="utf8",
    )


if __name__ == "__main__":
    main()
