"""What all widgets share: where their JavaScript comes from and how they are shown."""

from __future__ import annotations

import io
from typing import Any, ClassVar

import anywidget
import matplotlib as mpl
import traitlets
from matplotlib.figure import Figure

from initscope.checks import require
from initscope.errors import UsageError, shown
from initscope.extras import MissingExtra
from initscope.plots.style import styled, themed
from initscope.widgets.bundle import SCRIPTS, bundle

__all__ = ["BookWidget", "SettingError", "show"]


class SettingError(UsageError, traitlets.TraitError):
    """A setting that a widget does not have, or a value that it cannot take."""


class BookWidget(anywidget.AnyWidget):
    """A widget that computes in the browser: alive in a notebook and in the published page.

    A subclass names its ES module, a file of this package, and has one trait for each control. A
    style sheet beside the module, of the same name, is added to the one that all widgets share.

    Attributes
    ----------
    message
        The sentence under the picture, which says what is seen; set by the browser.
    """

    module: ClassVar[str]
    _RANGES: ClassVar[dict[str, tuple[float, float]]]  # of traits that have one: lowest, highest
    message = traitlets.Unicode(read_only=False).tag(sync=True)

    def __init__(self, *args: object, **settings: Any) -> None:
        unknown = sorted(set(settings) - set(self.trait_names()))
        if unknown:
            raise SettingError(f"{type(self).__name__} has no setting {', '.join(unknown)}.")
        try:
            super().__init__(*args, **settings)
        except (SettingError, MissingExtra):
            raise
        except traitlets.TraitError as error:
            raise SettingError(_short(str(error))) from error
        except Exception as error:  # of what a trait makes of a value, or cannot even print
            given = ", ".join(f"{name}={shown(value)}" for name, value in settings.items())
            raise SettingError(
                f"{type(self).__name__} cannot take these settings: {_short(given)}."
            ) from error

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "module" in cls.__dict__:
            cls._esm = bundle(cls.module)
            own = (SCRIPTS / cls.module).with_suffix(".css")
            sheets = [SCRIPTS / "widget.css", *([own] if own.exists() else [])]
            cls._css = "".join(sheet.read_text(encoding="utf8") for sheet in sheets)

    def figure(self) -> Figure:
        """Draw the same message as a still picture, for print and pages without JavaScript."""
        raise NotImplementedError

    def __repr__(self) -> str:
        return f"{type(self).__name__}: {self.message}" if self.message else type(self).__name__

    def _within_range(self, proposal: Any) -> Any:
        """Return a proposed value, or raise unless it lies in the range of its trait."""
        name, value = proposal["trait"].name, proposal["value"]
        low, high = self._RANGES[name]
        if not low <= value <= high:  # NaN is not
            raise traitlets.TraitError(f"{name} must be from {low:g} to {high:g}, not {value:g}.")
        return value


def _short(text: str) -> str:
    """Return it on one line, cut where it holds the whole of a long value."""
    line = " ".join(text.split())
    return line if len(line) <= 400 else f"{line[:300]} ... {line[-80:]}"


def show(widget: BookWidget, still: Figure | None = None) -> None:
    """Display a widget together with its still picture, for a chapter of the book.

    Both are one output: a live notebook shows the widget, GitHub the picture, and the book the
    picture until the widget has taken its place. In a notebook of your own the widget alone is
    enough: end a cell with it.

    Parameters
    ----------
    widget
        What is shown.
    still
        The picture, where it shows what had to be measured first; by default the widget's own
        :meth:`~BookWidget.figure`.

    Raises
    ------
    UsageError
        If `widget` is no widget, or `still` no figure.

    Examples
    --------
    In a cell of a notebook::

        from initscope.widgets import SignalPropagation, show

        show(SignalPropagation(std=0.07, depth=5))
    """
    require(isinstance(widget, BookWidget), f"widget must be a widget, not {shown(widget)}.")
    require(
        still is None or isinstance(still, Figure),
        f"still must be a figure of matplotlib, not {shown(still)}.",
    )
    from IPython.display import display

    picture = io.StringIO()
    # Text as text: outlines of every letter of a question would be most of a chapter's file.
    with styled(), mpl.rc_context({"svg.fonttype": "none"}):
        (still or widget.figure()).savefig(
            picture, format="svg", bbox_inches="tight", metadata={"Date": None}
        )
    bundle = widget._repr_mimebundle_() or ({}, {})
    data = bundle[0] if isinstance(bundle, tuple) else bundle
    display({**data, "image/svg+xml": themed(picture.getvalue())}, raw=True)
