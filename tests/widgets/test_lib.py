"""What the widgets share: bundling, numbers as text, random numbers, controls."""

import math
import re
from pathlib import Path

import numpy as np
import pytest

from initscope.widgets import bundle as bundling
from initscope.widgets.bundle import SCRIPTS, bundle

WIDGETS = sorted(f"{path.parent.name}/{path.name}" for path in SCRIPTS.glob("*/widget.mjs"))


@pytest.fixture
def modules(tmp_path, monkeypatch):
    """An empty folder of modules."""
    monkeypatch.setattr(bundling, "SCRIPTS", tmp_path)
    bundle.cache_clear()
    yield tmp_path
    bundle.cache_clear()


def test_a_bundle_keeps_the_names_of_modules_apart(modules: Path) -> None:
    (modules / "lib").mkdir()
    (modules / "lib" / "a.mjs").write_text(
        "const hidden = 1;\nexport function one() { return hidden; }\nexport const two = 2;\n"
    )
    (modules / "lib" / "b.mjs").write_text(
        'import {\n  one,\n  two as zwei,\n} from "./a.mjs";\n'
        "const hidden = 10;\nexport class Sum { value = one() + zwei + hidden; }\n"
    )
    (modules / "main.mjs").write_text(
        'import { Sum } from "./lib/b.mjs";\nimport { two } from "./lib/a.mjs";\n'
        "const hidden = 0;\nexport default { render: () => new Sum().value + two + hidden };\n"
    )
    text = bundle("main.mjs")
    assert text.count("const two = 2") == 1
    assert "import" not in text
    assert re.findall("^export .*", text, re.MULTILINE) == [
        "export default { render: () => new Sum().value + two + hidden };"
    ]


@pytest.mark.parametrize(
    "text",
    [
        'import a from "./lib.mjs";\n',
        'import * as a from "./lib.mjs";\n',
        'import { a } from "https://example.org/a.mjs";\n',
        'export { a } from "./lib.mjs";\n',
    ],
)
def test_a_bundle_refuses_what_it_does_not_understand(modules: Path, text: str) -> None:
    (modules / "lib.mjs").write_text("export const a = 1;\n")
    (modules / "main.mjs").write_text(text)
    with pytest.raises(ValueError, match=r"main\.mjs imports or exports in a way"):
        bundle("main.mjs")


def test_a_circle_of_imports_is_refused(modules: Path) -> None:
    (modules / "a.mjs").write_text('import { b } from "./b.mjs";\nexport const a = 1;\n')
    (modules / "b.mjs").write_text('import { a } from "./a.mjs";\nexport const b = 1;\n')
    with pytest.raises(ValueError, match="imports itself"):
        bundle("a.mjs")


def test_a_bundle_leaves_comments_out(modules: Path) -> None:
    (modules / "main.mjs").write_text(
        "// A file.\n\n/** What it does,\n * and how. */\nconst a = 1; // beside code\n"
        "/* one */ const b = 2;\n  // within\n/** two */\nconst c = `https://x // no comment`;\n"
        "export default { a, b, c };\n"
    )
    assert bundle("main.mjs") == (
        "const a = 1; // beside code\n/* one */ const b = 2;\n"
        "const c = `https://x // no comment`;\n"
        "export default { a, b, c };\n"
    )


@pytest.mark.parametrize(
    ("low", "high", "count", "expected"),
    [
        (0, 1, 5, [0, 0.2, 0.4, 0.6, 0.8, 1]),
        (-3, 17, 4, [0, 5, 10, 15]),
        (2.1, 2.9, 2, [2.2, 2.4, 2.6, 2.8]),  # 2.5 alone would name no distance
        (-0.157, 0.157, 3, [-0.1, 0, 0.1]),
        (1, 1, 5, [1]),
    ],
)
def test_ticks(node, low: float, high: float, count: int, expected: list[float]) -> None:
    assert node("lib/ticks.mjs", "ticks", low, high, count) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("low", "high", "count", "expected"),
    [
        (1e-4, 10, 6, [-4, -3, -2, -1, 0, 1]),
        (2e-4, 9, 6, [-3, -2, -1, 0]),
        (1e-30, 1, 4, [-24, -16, -8, 0]),
        (2, 9, 6, []),
    ],
)
def test_decades(node, low: float, high: float, count: int, expected: list[int]) -> None:
    assert node("lib/ticks.mjs", "decades", low, high, count) == expected


@pytest.mark.parametrize(
    ("values", "log", "expected"),
    [
        ([0.1, 1, 10], True, ["10⁻¹", "10⁰", "10¹"]),
        ([0.5, 1, 2], True, ["0.5", "1", "2"]),  # not a power among others
        ([0.1, 1], False, ["0.1", "1"]),
        ([[3, "three"], 10], True, ["three", "10¹"]),
    ],
)
def test_labels_of_an_axis_are_written_alike(node, values: list, log: bool, expected: list) -> None:
    assert [text for _, text in node("lib/ticks.mjs", "labelled", values, log)] == expected


@pytest.mark.parametrize("name", WIDGETS)
def test_widgets_ask_no_other_host(name: str) -> None:
    text = bundle(name).replace("http://www.w3.org/2000/svg", "")
    assert not re.search(r"https?://|//[a-z]+\.[a-z]+/", text)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (0.012345, "0.0123"),
        (1.5, "1.5"),
        (4500, "4,500"),
        (1.2e-9, "1.2e-9"),
        (-3.0e7, "-3e7"),
        (99999, "100,000"),
    ],
)
def test_short_numbers(node, value: float, text: str) -> None:
    assert node("lib/format.mjs", "short", value) == text


@pytest.mark.parametrize(
    ("share", "text"),
    [(0, "0%"), (4.9e-4, "below 0.05%"), (5e-4, "0.1%"), (0.0994, "9.9%"), (0.1, "10%")],
)
def test_parts_of_something(node, share: float, text: str) -> None:
    assert node("lib/format.mjs", "part", share) == text


def test_csv_quotes_what_needs_it(node) -> None:
    text = node("lib/format.mjs", "csv", ["a", "b, c"], [[1, 'say "x"'], [2.5, ""]])
    assert text == 'a,"b, c"\n1,"say ""x"""\n2.5,\n'


LOG = {"kind": "log", "min": 1e-4, "max": 1e3}


@pytest.mark.parametrize(
    ("control", "text", "value"),
    [
        (LOG, "0.5", 0.5),
        (LOG, "1e9", 1e3),
        (LOG, "-1", 1e-4),
        (LOG, "abc", None),
        (LOG, "", None),
        (LOG, "Infinity", None),
        ({"kind": "integer", "min": 1, "max": 100}, "7.6", 8),
        ({"kind": "steps", "options": [16, 32, 64]}, "40", 32),
        ({"kind": "choice", "options": [["relu", "ReLU"]]}, "relu", "relu"),
        ({"kind": "choice", "options": [["relu", "ReLU"]]}, "<script>", None),
        ({"kind": "switch"}, "true", True),
        ({"kind": "switch"}, "maybe", None),
    ],
)
def test_settings_from_the_address(node, control: dict, text: str, value: object) -> None:
    assert node("lib/controls.mjs", "parse", control, text) == value


def test_normal_numbers(tmp_path, node) -> None:
    """Mean, variance and fourth moment of 100,000, and the same seed gives the same numbers."""
    module = tmp_path / "draw.mjs"
    module.write_text(
        f'import {{ uniforms, fillNormal }} from "{(SCRIPTS / "lib/random.mjs").as_uri()}";\n'
        "export const draw = (seed, n) => fillNormal(new Float64Array(n), uniforms(seed));\n"
    )
    first = np.array(node(module, "draw", 3, 100_000))
    n = len(first)
    assert abs(first.mean()) < 4 / math.sqrt(n)
    assert abs(first.var() - 1) < 4 * math.sqrt(2 / n)
    assert abs((first**4).mean() - 3) < 4 * math.sqrt(96 / n)
    assert abs(np.corrcoef(first[:-1], first[1:])[0, 1]) < 4 / math.sqrt(n)
    assert (np.array(node(module, "draw", 3, 5)) == first[:5]).all()
    assert abs(np.corrcoef(first, node(module, "draw", 4, n))[0, 1]) < 4 / math.sqrt(n)


@pytest.mark.parametrize(
    ("function", "low", "high", "labelled"),
    [
        ("ticks", 0, 5000, [0, 1000, 2000, 3000, 4000, 5000]),
        ("logTicks", 0.015, 0.06, [0.02, 0.05]),
        ("logTicks", 0.5, 20, [0.5, 1, 2, 5, 10, 20]),
        ("logTicks", 1, 1e6, [1, 10, 100, 1e3, 1e4, 1e5, 1e6]),
    ],
)
def test_ticks_are_round(node, function: str, low: float, high: float, labelled: list) -> None:
    assert node("lib/ticks.mjs", function, low, high, 7) == labelled


@pytest.mark.parametrize(
    ("change", "text", "value"),
    [
        ({"zero": True}, "0", 0),
        ({"zero": True}, "-3", 0),
        ({"zero": True}, "1e-9", 1e-4),
        ({"whole": True, "min": 1}, "7.6", 8),
    ],
)
def test_log_sliders_with_0_and_whole_numbers(node, change: dict, text: str, value: float) -> None:
    assert node("lib/controls.mjs", "parse", {**LOG, **change}, text) == value
