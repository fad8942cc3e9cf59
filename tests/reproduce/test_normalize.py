"""What a re-execution changes is gone from a normalized notebook; what a reader sees is kept."""

from __future__ import annotations

import copy
import io
import re
import sys
import tempfile
from pathlib import Path

import matplotlib
import nbformat
import pytest
from matplotlib.figure import Figure
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from initscope.errors import UsageError
from initscope.reproduce.normalize import (
    GLUED,
    WIDGET_STATE,
    WIDGET_VIEW,
    dumps,
    normalize,
    stderr_text,
)
from initscope.reproduce.small_svg import small_svg


def executed(*outputs: NotebookNode, source: str = "x") -> NotebookNode:
    cell = new_code_cell(source, outputs=list(outputs), execution_count=3)
    return new_notebook(cells=[cell])


def stdout(text: str) -> NotebookNode:
    return new_output("stream", name="stdout", text=text)


def stderr(text: str) -> NotebookNode:
    return new_output("stream", name="stderr", text=text)


def shown(mime: str, data: object) -> NotebookNode:
    return new_output("display_data", {mime: data})


def texts(notebook: NotebookNode) -> list[str]:
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    return [output.get("text") or next(iter(output.data.values())) for output in outputs]


def test_times_counts_ids_and_machine_metadata_are_fixed() -> None:
    notebook = new_notebook(
        metadata={
            "kernelspec": {"name": "mine", "display_name": "My Python", "env": {}},
            "language_info": {"name": "python", "version": "3.12.1"},
            "papermill": {"duration": 1.5},
            "title": "kept",
        }
    )
    for count in (7, None, 12):
        cell = new_code_cell("same\n\n", execution_count=count)
        cell.metadata.update(papermill={"duration": 2}, execution={}, tags=[])
        notebook.cells.append(cell)
    notebook.cells.append(new_markdown_cell("words  \nof the author\n"))
    notebook.cells[0].outputs = [new_output("execute_result", {"text/plain": "1"})]
    notebook.cells[0].metadata.tags = ["hide-input"]

    result = normalize(notebook)

    assert [cell.get("execution_count") for cell in result.cells] == [1, None, 2, None]
    assert result.cells[0].outputs[0].execution_count == 1
    assert [dict(cell.metadata) for cell in result.cells] == [{"tags": ["hide-input"]}, {}, {}, {}]
    assert result.cells[0].source == "same"
    assert result.cells[3].source == "words  \nof the author"
    assert set(result.metadata) == {"kernelspec", "language_info", "title"}
    assert "version" not in result.metadata.language_info
    ids = [cell.id for cell in result.cells]
    assert len(set(ids)) == 4
    assert [cell.id for cell in normalize(notebook).cells] == ids
    assert "papermill" in notebook.metadata  # the original is left alone


def test_an_old_notebook_without_cell_ids_gets_the_same_ids_every_time() -> None:
    old = {"cells": [], "metadata": {}, "nbformat": 4, "nbformat_minor": 2}
    old["cells"] = [{"cell_type": "markdown", "metadata": {}, "source": "a"}]
    first, second = (dumps(normalize(nbformat.from_dict(copy.deepcopy(old)))) for _ in range(2))
    assert first == second
    assert first.endswith("}\n")


def test_standard_output_is_joined_and_standard_error_removed() -> None:
    result = normalize(
        executed(
            stdout("a  \n"),
            stderr("1%\n"),
            stdout("b\n"),
            shown("text/plain", "c "),
            stdout(" 1%\r 50%\rdone\n"),
            stderr(""),
        )
    )
    assert texts(result) == ["a\nb\n", "c", "done\n"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("<object object at 0x7f3a5c0b1d90>", "<object object at 0x0>"),
        (f"{Path.home()}/data/a.csv", "~/data/a.csv"),
        (f"'{Path.cwd()}/b'", "'./b'"),
        (f"{sys.prefix}/lib/x.py", "$PYTHON/lib/x.py"),
        (f"{tempfile.gettempdir()}/tmpab12c/d", "$TMP/d"),
        (f"not{Path.home()}", f"not{Path.home()}"),
        (f"{Path.home()}-like", f"{Path.home()}-like"),
        ("https://example.org/tmp/a 1/2", "https://example.org/tmp/a 1/2"),
    ],
)
def test_addresses_and_folders_of_the_machine_are_replaced(text: str, expected: str) -> None:
    notebook = executed(stdout(text), shown("text/plain", text), shown("text/html", text))
    assert texts(normalize(notebook, Path.cwd())) == [expected] * 3


def test_glue_and_pictures_are_kept_and_the_date_of_a_figure_is_not() -> None:
    glued = new_output(
        "display_data",
        {"application/papermill.record/text/plain": "'a  at 0xff'"},
        metadata={"scrapbook": {"name": "a", "mime_prefix": "application/papermill.record/"}},
    )
    svg = "<svg>\n    <dc:date>2025-01-01T10:00:00</dc:date>\n  <path/></svg>"
    result = normalize(executed(glued, shown("image/png", "AAAA"), shown("image/svg+xml", svg)))
    assert result.cells[0].outputs[0] == glued
    assert texts(result)[1:] == ["AAAA", "<svg> <path/></svg>"]


@pytest.mark.parametrize(
    ("value", "kept"),
    [
        ("0.23077553685880184", "0.230775536859"),
        ("-6.0781526137875725e-18", "-6.07815261379e-18"),
        ("2e-05", "2e-05"),
        ("3.0", "3.0"),
        ("6696", "6696"),
        ("inf", "inf"),
        ("'0.23077553685880184'", "'0.23077553685880184'"),
    ],
)
def test_glued_numbers_keep_twelve_digits(value: str, kept: str) -> None:
    result = normalize(executed(shown(GLUED, value)))
    assert texts(result) == [kept]
    assert texts(normalize(result)) == [kept]


def test_random_ids_of_styled_tables_are_numbered() -> None:
    def table(name: str) -> NotebookNode:
        html = f'<style>#T_{name}_row0 {{}}</style><table id="T_{name}"><td id="T_{name}_row0">'
        return shown("text/html", html)

    first = normalize(executed(table("ab12c"), table("00000")))
    second = normalize(executed(table("fffff"), table("12345")))
    assert texts(first) == texts(second)
    assert len(set(texts(first))) == 2


def widgets(*names: str, order: tuple[int, ...] = (0, 1, 2, 3, 4, 5)) -> NotebookNode:
    """A box of two sliders, linked, then a progress bar; `names` are the models' ids."""
    box, left, right, link, bar, unseen = names

    def model(kind: str, **state: object) -> dict[str, object]:
        return {"model_name": f"{kind}Model", "model_module": "m", "state": state}

    models = [
        (box, model("HBox", children=[f"IPY_MODEL_{left}", f"IPY_MODEL_{right}"])),
        (left, model("IntSlider", value=1)),
        (right, model("IntSlider", value=1)),
        (link, model("Link", source=[f"IPY_MODEL_{left}", "value"])),
        (bar, model("FloatProgress")),
        (unseen, model("Output", msg_id="5f")),
    ]
    notebook = executed(
        shown(WIDGET_VIEW, {"model_id": box}),
        shown(WIDGET_VIEW, {"model_id": bar}),
        source=f"# {'a' * 32} stays",
    )
    state = dict(models[i] for i in order)
    notebook.metadata["widgets"] = nbformat.from_dict({WIDGET_STATE: {"state": state}})
    return notebook


def test_widgets_are_numbered_in_reading_order_and_progress_bars_removed() -> None:
    names = [letter * 32 for letter in "abcdef"]
    result = normalize(widgets(*names))
    assert texts(result) == [{"model_id": "widget-0000"}]
    state = result.metadata.widgets[WIDGET_STATE].state
    kinds = {name: model.model_name for name, model in state.items()}
    assert kinds == {
        "widget-0000": "HBoxModel",
        "widget-0001": "IntSliderModel",
        "widget-0002": "IntSliderModel",
        "widget-0003": "LinkModel",
    }
    assert state["widget-0000"].state.children == ["IPY_MODEL_widget-0001", "IPY_MODEL_widget-0002"]
    assert state["widget-0003"].state.source == ["IPY_MODEL_widget-0001", "value"]
    assert "a" * 32 in result.cells[0].source

    others = widgets(*(letter * 32 for letter in "d0c1b2"), order=(5, 3, 1, 0, 4, 2))
    assert dumps(normalize(others)) == dumps(result)
    assert dumps(normalize(result)) == dumps(result)


def test_numbers_of_widgets_keep_twelve_digits() -> None:
    notebook = widgets(*(letter * 32 for letter in "abcdef"))
    slider = notebook.metadata.widgets[WIDGET_STATE].state["b" * 32].state
    slider.update(
        std=0.09241142435685351, rows=[{"low": 1e-05, "n": 3}, None, "0.09241142435685351"]
    )
    kept = normalize(notebook).metadata.widgets[WIDGET_STATE].state["widget-0001"].state
    assert (kept.std, kept.value) == (0.0924114243569, 1)
    assert kept.rows == [{"low": 1e-05, "n": 3}, None, "0.09241142435685351"]


def test_a_notebook_with_only_a_progress_bar_keeps_no_widgets() -> None:
    notebook = widgets(*(letter * 32 for letter in "abcdef"))
    del notebook.cells[0].outputs[0]
    assert "widgets" not in normalize(notebook).metadata


def test_empty_and_unexecuted_notebooks() -> None:
    assert normalize(new_notebook()).cells == []
    result = normalize(new_notebook(cells=[new_code_cell("")]))
    assert result.cells[0].execution_count is None


MARK = "stroke: #ff0000; stroke-width: 0.5; stroke-linejoin: round"

BARS = [
    "\r  0%|          | 0/5 [00:00<?, ?it/s]\r100%|██████████| 5/5 [00:01<00:00,  4.94it/s]\n",
    "mnist: 126 networks:  40%|████      | 1.1T/2.9T [00:21<00:34, 53.1GFLOP/s]",
    "\rMap:  12%|█2        | 7/60 [00:00<00:01, 9.1 examples/s, loss=0.3]",
    "\r12it [00:03,  4.10it/s]\r13it [00:03, 4.10it/s]\n",
    "\r 3 runs [00:03, 1.02s/ runs]",
    "\r 50%|#####     | 1/2 [01:00:00<1:00:00, 3600.00s/it]\x1b[A\r\n",
    "\r            \r",
    "",
]


@pytest.mark.parametrize("bar", BARS)
def test_a_warning_is_found_between_progress_bars(bar: str) -> None:
    warning = "/tmp/x.py:3: UserWarning: 5% | too few [seeds]\n  warnings.warn('a')\n"
    assert stderr_text(executed(stderr(bar)).cells[0]) == ""
    halves = stderr(bar[: len(bar) // 2]), stderr(bar[len(bar) // 2 :])
    assert stderr_text(executed(*halves).cells[0]) == ""
    found = stderr_text(executed(stderr(bar), stdout("out"), stderr(warning + bar)).cells[0])
    assert found.splitlines() == warning.splitlines()
    assert stderr_text(executed(stdout(warning)).cells[0]) == ""
    assert stderr_text(new_markdown_cell("a")) == ""


def small(svg: str) -> str:
    """The SVG as it stands in a normalized notebook, which a second time leaves alone."""
    once = normalize(executed(shown("image/svg+xml", svg)))
    assert dumps(normalize(once)) == dumps(once)
    (text,) = texts(once)
    return text


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        # Where something is ...
        ('<path d="M 57.600001 -307.5849 L 0.004 1e-05z"/>', '<path d="M57.6-307.58 0 0z"/>'),
        ('<path d="M.12345.56789-1.23456e1"/>', '<path d="M0.12 0.57-12.35"/>'),
        # A letter is written once: lines follow a move without one, but no move another.
        (
            '<path d="M 1 2 \n L 3 -4 L 5 6 M 7 8 M 9 1 L 2 3 Q 1 2 3 4 Q 5 6 7 8 L 1 1 "/>',
            '<path d="M1 2 3-4 5 6M7 8M9 1 2 3Q1 2 3 4 5 6 7 8L1 1"/>',
        ),
        ('<path d="M 1 2 z L 3 4 l 1 1 L 5 6"/>', '<path d="M1 2zL3 4l 1 1L5 6"/>'),
        ('<path d="1 2 M 3 4"/>', None),
        ('<polygon points="1.2345,2.3456 3,4"/>', '<polygon points="1.23,2.35 3,4"/>'),
        ("<use x=\"61.2749\" y='-0.001'/>", "<use x=\"61.27\" y='0'/>"),
        ('<circle cx="1.2345" r="3.4999"/>', '<circle cx="1.23" r="3.5"/>'),
        ('<g transform="translate(0.123456 9.87654)"/>', '<g transform="translate(0.12 9.88)"/>'),
        (
            '<g transform="rotate(-89.98765 1.2345 2.3456)"/>',
            '<g transform="rotate(-89.98765 1.23 2.35)"/>',
        ),
        # ... but not how large, nor what is added up, nor what is no coordinate.
        ('<path d="M2034 4250z" transform="scale(0.015625)"/>', None),
        ('<g transform="matrix(0.015625 0.00123 0 -0.015625 7 8)"/>', None),
        ('<path d="M1 2l0.12345 0.54321a1.2345 1 33.3333 01.2345.5"/>', None),
        ('<path style="stroke-width: 0.12345; opacity: 0.66667" stroke-width="0.12345"/>', None),
        ('<text font-size="10.12345" x="1">0.0225</text>', None),
        ('<g id="m0a1.2345b"><!-- 0.12345 --><style>a > b{c: 1.2345}</style></g>', None),
        ('<linearGradient x1="0.12345"><stop offset="0.12345"/></linearGradient>', None),
        ('<marker><path d="M 0.12345 0"/></marker>', None),
        ('<clipPath clipPathUnits="objectBoundingBox"><rect x="0.12345"/></clipPath>', None),
        # What is drawn larger keeps more.
        (
            '<g transform="scale(100)"><path d="M 0.123456 9"/></g><path d="M 0.123456 9"/>',
            '<g transform="scale(100)"><path d="M0.1235 9"/></g><path d="M0.12 9"/>',
        ),
        (
            '<svg viewBox="0 0 1 1" width="100pt" height="50pt"><path d="M 0.123456 1"/></svg>',
            '<svg viewBox="0 0 1 1" width="100pt" height="50pt"><path d="M0.1235 1"/></svg>',
        ),
        (
            '<svg viewBox="0 0 1 1"><path d="M 0.1234567 1"/></svg>',
            '<svg viewBox="0 0 1 1"><path d="M0.12346 1"/></svg>',
        ),
        ("<text>é &lt; 1.2345</text>", None),
        # What a shape's own style decides need not be said where it is used ...
        *(
            (
                f'<defs><path id="m" style="{MARK}"/></defs><use {link}="#m" style="{given}"/>',
                f'<defs><path id="m" style="{MARK}"/></defs><use {link}="#m"{left}/>',
            )
            for link in ("xlink:href", "href")
            for given, left in (
                ("fill: #123456; stroke: #ff0000; stroke-width: 2", ' style="fill: #123456"'),
                (MARK, ""),
                ("stroke:#ff0000;opacity: 0.5", ' style="opacity: 0.5"'),
            )
        ),
        (
            '<use xlink:href="#m" style="stroke: none"/><path id="m" style="stroke: #ff0000"/>',
            '<use xlink:href="#m"/><path id="m" style="stroke: #ff0000"/>',
        ),
        # ... but all else is, and what might be inherited after all.
        *(
            (f'<{shape} id="m" style="{own}"/><{user} style="{given}"/>', None)
            for shape, own, user, given in (
                ("path", "stroke: #ff0000", 'use xlink:href="#n"', "stroke: #ff0000"),
                ("path", "stroke: #ff0000", 'g id="m2" href="#m"', "stroke: #ff0000"),
                ("path", "stroke: inherit", 'use xlink:href="#m"', "stroke: #ff0000"),
                ("path", "stroke: nonsense", 'use xlink:href="#m"', "stroke: #ff0000"),
                ("path", "stroke: var(--ink)", 'use xlink:href="#m"', "stroke: #ff0000"),
                ("path", "opacity: 0.5", 'use xlink:href="#m"', "opacity: 0.5"),
                ("path", "stroke: #ff0000", 'use xlink:href="#m"', "stroke: url(a;b)"),
                ("g", "stroke: #ff0000", 'use xlink:href="#m"', "stroke: #ff0000"),
            )
        ),
        (  # Two of one name: which of them is meant is not known.
            '<path id="m" style="fill: none"/><path id="m" style="stroke: none"/>'
            '<use href="#m" style="stroke: none; fill: none"/>',
            None,
        ),
    ],
)
def test_coordinates_in_figures_are_rounded_and_nothing_else(
    given: str, expected: str | None
) -> None:
    assert small(f"<svg>{given}</svg>") == f"<svg>{expected or given}</svg>"


def test_what_is_no_xml_is_put_on_one_line_only() -> None:
    assert small('<svg><path d="M 1.23456 2"\n/><br>') == '<svg><path d="M 1.23456 2" /><br>'


def test_letters_of_a_figure_keep_their_size() -> None:
    """The least number in a figure that is seen everywhere: by it every letter is drawn."""
    figure = Figure()
    figure.text(0.1, 0.5, "letters $q_L$ of 12.5")
    out = io.StringIO()
    figure.savefig(out, format="svg", metadata={"Date": None})
    factors = re.compile(r"scale\([^)]*\)").findall
    assert factors(small(out.getvalue())) == factors(out.getvalue())
    assert "scale(0.015625)" in factors(out.getvalue())
    assert len(small(out.getvalue())) < len(out.getvalue())


def drawn(*heights: float) -> str:
    """Return a figure as a notebook keeps it, with markers, a hatch and what is cut at its axes."""
    figure = Figure()
    axes = figure.subplots()
    axes.plot(heights, "o")
    axes.fill_between([0, 1, 2], heights, hatch="/")
    out = io.StringIO()
    with matplotlib.rc_context({"svg.hashsalt": "a book"}):
        figure.savefig(out, format="svg", metadata={"Date": None})
    return small(out.getvalue())


def test_shapes_are_named_by_what_is_seen_of_them() -> None:
    """Matplotlib names them by digits that a machine computes otherwise and rounding removes."""
    names, used = (re.compile(p).findall for p in (r'\bid="([^"]*)"', r'(?:href="|url\()#([^")]*)'))
    figure = drawn(1.0, 2.0, 4.0)
    assert figure == drawn(1.0, 2.0 + 1e-12, 4.0)
    assert len(set(names(figure))) == len(names(figure))
    assert set(used(figure)) <= set(names(figure))
    shapes = {name for name in used(figure) if not name.startswith("DejaVu")}
    assert len(shapes) >= 5
    others = set(names(drawn(1.0, 2.0, 5.0)))
    assert not shapes & others  # on one page each draws its own
    assert small(figure) == figure


def test_what_is_no_text_is_refused() -> None:
    with pytest.raises(UsageError, match="as a text, not as a bytes"):
        small_svg(b"<svg/>")
