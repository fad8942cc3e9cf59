"""What the contract of all widgets has to know of one of them."""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Callable, Sequence
from contextlib import chdir, redirect_stdout
from typing import Any, NamedTuple

import pandas as pd
import pytest
from widget_page import ROOT

NOTEBOOKS = ROOT / "notebooks"


class Shown(NamedTuple):
    """What a page shows of a widget, once it has worked: sentence, text, CSV, and its Python.

    In the text are also the words for who does not see the pictures. ``printed`` is what the Python
    printed when it was run, ``names`` what it left behind.
    """

    message: str
    text: str
    table: pd.DataFrame | None
    printed: str
    names: dict[str, Any]


class Case(NamedTuple):
    """A widget, and what there is to know of it to try it.

    ``made`` is Python that makes it, ``slider`` the label of a slider, ``trait`` the trait of that
    slider. A browser ``sends`` values at once, one for it, which a kernel takes, and ``wrong`` is
    one that it refuses, with ``words`` that say why. ``far``, a trait and a text, is beyond what
    there is, and goes in the address to ``nearest``. ``kilobytes`` is the most that it may add to
    a page, compressed.

    ``copies`` are shown together on a page; ``work`` is a button that each has to be pressed for.
    ``check`` compares what is shown of one with Python's own numbers; ``given`` are the names that
    the Python shown takes as given. ``tables`` are parts of the CSV, the index what a row is found
    by, right to within ``tolerance``, relative and absolute.

    ``refused`` are traits, what they cannot be, and why; ``anew`` makes the widget with settings.
    """

    made: str
    slider: str
    trait: str
    sends: dict[str, Any]
    wrong: Any
    words: str
    far: tuple[str, str]
    nearest: float
    kilobytes: float
    copies: Callable[[], list[Any]]
    check: Callable[[Any, Shown], None]
    tables: Callable[[Any], list[pd.DataFrame]] | None = None
    tolerance: tuple[float, float] = (1e-9, 1e-15)
    work: re.Pattern[str] | None = None
    given: Callable[[Any], dict[str, Any]] = lambda _: {}
    refused: Sequence[tuple[str, Any, str]] = ()
    anew: Callable[[Any, dict[str, Any]], Any] = lambda widget, settings: type(widget)(**settings)


def run_code(code: str, names: dict[str, Any]) -> str:
    """Run a cell in the folder of the notebooks; return what it prints."""
    printed = io.StringIO()
    with redirect_stdout(printed), chdir(NOTEBOOKS), warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # of runs that diverged
        exec(compile(code, "shown", "exec"), names)
    return printed.getvalue()


def numbers_in(text: str) -> list[float]:
    """The numbers of a text, as people write them: 4,500, -0.01, 1.2e-9."""
    found = re.findall(r"(?<![\w.])-?\d+(?:\.\d+)?(?:e[-+]?\d+)?(?!\w)", text.replace(",", ""))
    return [float(number) for number in found]


def near(value: float, digits: int = 3) -> Any:
    """Equal to a number that was rounded to so many digits."""
    return pytest.approx(value, rel=0.51 * 10.0 ** (1 - digits), abs=1e-300)


def configure(widget: Any, chosen: dict[str, Any]) -> Any:
    """Set traits at once; the widget."""
    with widget.hold_trait_notifications():
        for name, value in chosen.items():
            setattr(widget, name, value)
    return widget
