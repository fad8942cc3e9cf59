"""A question whose answer the reader predicts before seeing it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import traitlets
from matplotlib.figure import Figure

from initscope import checks
from initscope.checks import is_number
from initscope.errors import UsageError
from initscope.errors import shown as printed
from initscope.plots.prediction import question_and_answer
from initscope.widgets.base import BookWidget

__all__ = ["Prediction"]

Range = tuple[float, float]
Curve = tuple[Sequence[float], Sequence[float]]


class Prediction(BookWidget):
    """A question that the reader answers first, then the truth and how far off the answer was.

    Parameters
    ----------
    question
        What is asked, in plain text.
    truth
        The answer, computed: a number for the kind ``"value"``; two numbers, low and high, for
        ``"band"``; two sequences x and y, of which the last y is asked for, for ``"curve"``.
    kind
        ``"value"``: one slider. ``"band"``: two. ``"curve"``: the beginning of y over x is drawn,
        and the reader moves the end.
    low, high
        Ends of the axis on which the reader answers; the truth has to lie on it. Choose it wide
        enough not to give the answer away.
    log
        Whether that axis is logarithmic. Guess and truth then differ by a factor, otherwise by a
        share of the axis; two bands differ in decades, otherwise in length.
    shown
        Of a curve: how many of its points are drawn before the reveal, by default a third.
    guess, guess_high
        The reader's answer at the start; `guess_high` is the upper edge of a band. An answer that
        is not revealed yet does not start near the truth: it is moved to the other end of the axis.
        In the page the truth is revealed only after the reader has changed it.
    thresholds
        What counts as close and what as near, two numbers. For a value and a curve the largest
        factor, by default (1.25, 2), or share of a linear axis, (0.05, 0.15); for a band the
        smallest share of what either band covers that both cover, (0.8, 0.4).
    **others
        ``unit`` and ``label``, unit of the answer (``"%"`` or a word) and name of the axis;
        ``explanation``, plain text that the reveal adds; ``code``, Python that computes the answer,
        shown by a button; ``x_label`` and ``x_log`` of a curve, name of the x axis and whether it
        is logarithmic; ``revealed``, whether the answer is shown. `guess`, `guess_high` and
        ``revealed`` alone may be set later and are synchronized with the page.

    Raises
    ------
    UsageError
        If the truth is not finite, does not fit the kind, or does not lie on the axis.
    traitlets.TraitError
        If a guess does not lie on the axis.

    Examples
    --------
    >>> from initscope.theory import scheme_std
    >>> prediction = Prediction(
    ...     "Which std keeps the variance of a ReLU network of width 256?",
    ...     scheme_std("kaiming", 256, 256), low=1e-4, high=10, label="std", guess=0.05,
    ...     revealed=True,
    ... )
    >>> round(prediction.difference()["factor"], 2), prediction.difference()["score"]
    (1.77, 'near')
    """

    module = "prediction/widget.mjs"

    question = traitlets.Unicode().tag(sync=True)
    kind = traitlets.Enum(["value", "band", "curve"]).tag(sync=True)
    truth = traitlets.List(traitlets.Float()).tag(sync=True)
    low = traitlets.Float().tag(sync=True)
    high = traitlets.Float().tag(sync=True)
    logarithmic = traitlets.Bool(True).tag(sync=True)  # `log` is a widget's logger
    unit = traitlets.Unicode().tag(sync=True)
    label = traitlets.Unicode().tag(sync=True)
    explanation = traitlets.Unicode().tag(sync=True)
    code = traitlets.Unicode().tag(sync=True)
    x = traitlets.List(traitlets.Float()).tag(sync=True)
    y = traitlets.List(traitlets.Float()).tag(sync=True)
    shown = traitlets.Int(0).tag(sync=True)
    x_label = traitlets.Unicode().tag(sync=True)
    x_log = traitlets.Bool(False).tag(sync=True)
    thresholds = traitlets.List(traitlets.Float(), minlen=2, maxlen=2).tag(sync=True)
    guess = traitlets.Float().tag(sync=True)
    guess_high = traitlets.Float().tag(sync=True)
    revealed = traitlets.Bool(False).tag(sync=True)

    def __init__(
        self,
        question: str,
        truth: float | Range | Curve,
        kind: str = "value",
        *,
        low: float,
        high: float,
        log: bool = True,
        shown: int | None = None,
        guess: float | None = None,
        guess_high: float | None = None,
        thresholds: Range | None = None,
        **others: Any,
    ) -> None:
        for name, value in (("kind", kind), ("question", question)):
            checks.text(name, value)
        checks.choice("kind", kind, ("value", "band", "curve"))
        checks.flag("log", log)
        for name in ("revealed", "x_log"):
            checks.flag(name, others.get(name, False))
        low = checks.one("low", checks.real("low", low))
        high = checks.one("high", checks.real("high", high))
        if not (math.isfinite(low) and math.isfinite(high) and low < high and (low > 0 or not log)):
            raise UsageError(
                f"the axis must go from low to a larger high{', above 0' if log else ''}; "
                f"got {low:g} to {high:g}"
            )
        answer, x, y = _answer(truth, kind)
        if not all(low <= value <= high for value in answer):
            raise UsageError(
                f"the truth, {printed(answer)}, does not lie on the axis, {low:g} to {high:g}"
            )
        if kind == "curve":
            shown = max(2, math.ceil(len(x) / 3)) if shown is None else shown
            if not is_number(shown, 1, whole=True) or shown >= len(x):
                raise UsageError(
                    f"shown must be 1 to {len(x) - 1}, not all points; got {printed(shown)}"
                )
            if others.get("x_log") and x[0] <= 0:
                raise UsageError(f"x must be above 0 on a log axis; got {x[0]:g}")
            if not all(low <= value <= high for value in y):
                raise UsageError(f"the curve leaves the axis, {low:g} to {high:g}")
            others |= {"x": x, "y": y, "shown": shown}
            # That nothing more happens, in three digits.
            middle = min(high, max(low, float(f"{y[shown - 1]:.3g}")))
        else:
            middle = _at(low, high, log, 1 / 3 if kind == "band" else 1 / 2)
        usual = (0.8, 0.4) if kind == "band" else (1.25, 2.0) if log else (0.05, 0.15)
        super().__init__(
            question=question,
            kind=kind,
            truth=answer,
            low=low,
            high=high,
            logarithmic=log,
            thresholds=list(
                usual if thresholds is None else checks.items("thresholds", thresholds)
            ),
            guess=middle if guess is None else guess,
            guess_high=_at(low, high, log, 2 / 3) if guess_high is None else guess_high,
            **others,
        )
        if not self.revealed and self.difference()["score"] != "far":
            self.guess, self.guess_high = self._elsewhere()

    @traitlets.validate("guess", "guess_high")
    def _on_the_axis(self, proposal: Any) -> float:
        value = float(proposal["value"])
        if not self.low <= value <= self.high:  # nor is NaN
            raise traitlets.TraitError(
                f"{proposal['trait'].name} must lie on the axis, {self.low:g} to {self.high:g}; "
                f"got {value:g}"
            )
        return value

    def difference(self) -> dict[str, Any]:
        """Return how far the guess is from the truth, whether or not that has been revealed.

        A value or a curve's end: ``factor`` (at least 1) on a log axis, ``share`` of the axis on a
        linear one. A band: ``overlap``, the share of what either band covers that both cover, and
        ``low`` and ``high``, the same as for a value for each edge. And ``score``, one of "close",
        "near" and "far".
        """
        if self.kind != "band":
            found = self._apart(self.guess, self.truth[0])
            (off,) = found.values()
            return found | {"score": _score(*(off <= most for most in self.thresholds))}
        guess = sorted([self.guess, self.guess_high])
        scale = math.log10 if self.logarithmic else float
        (a, b), (c, d) = ([scale(edge) for edge in band] for band in (guess, self.truth))
        both = max(0.0, min(b, d) - max(a, c))
        either = (b - a) + (d - c) - both
        overlap = both / either if either > 0 else float(a == c)
        return {
            "overlap": overlap,
            "low": self._apart(guess[0], self.truth[0]),
            "high": self._apart(guess[1], self.truth[1]),
            "score": _score(*(overlap >= least for least in self.thresholds)),
        }

    def _elsewhere(self) -> tuple[float, float]:
        """Return a guess, or a band, at the end of the axis that is farther from the answer."""
        axis = (self.low, self.high, self.logarithmic)
        below = _share(*axis, self.truth[0]) + _share(*axis, self.truth[-1]) < 1
        if self.kind == "band":
            edges = (0.7, 0.9) if below else (0.1, 0.3)
        else:
            edges = (0.8, 0.8) if below else (0.2, 0.2)
        return _at(*axis, edges[0]), _at(*axis, edges[1])

    def _apart(self, guess: float, truth: float) -> dict[str, float]:
        if self.logarithmic:
            return {"factor": max(guess / truth, truth / guess)}
        return {"share": abs(guess - truth) / (self.high - self.low)}

    def figure(self) -> Figure:
        """Draw the question over an empty axis; the answer upside down in small type below."""
        return question_and_answer(
            self.question,
            f"Answer: {self._told()}. {self.explanation}".strip(),
            kind=self.kind,
            axis=(self.low, self.high),
            log=self.logarithmic,
            label=self.label,
            unit=self.unit,
            given=(self.x[: self.shown], self.y[: self.shown]),
            end=self.x[-1] if self.x else None,
            x_label=self.x_label,
            x_log=self.x_log,
        )

    def _told(self) -> str:
        unit = self.unit if self.unit in ("", "%") else f" {self.unit}"
        return " to ".join(f"{value:.3g}{unit}" for value in self.truth)


def _answer(truth: Any, kind: str) -> tuple[list[float], list[float], list[float]]:
    """Return what is asked for, and the points of a curve."""
    x: list[float] = []
    y: list[float] = []
    try:
        if kind == "curve":
            x, y = ([float(value) for value in part] for part in truth)
            answer = y[-1:]
        else:
            answer = [float(value) for value in truth] if kind == "band" else [float(truth)]
    except Exception:  # whatever numpy, torch or the object itself says
        answer = []
    if kind == "curve" and (len(x) != len(y) or len(x) < 2 or sorted(set(x)) != x):
        raise UsageError("the truth of a curve is x and y, of one length, x growing")
    if len(answer) != (2 if kind == "band" else 1):
        wanted = "two numbers (low, high)" if kind == "band" else "a number"
        raise UsageError(f"the truth of a {kind} is {wanted}; got {printed(truth)}")
    if not all(map(math.isfinite, [*answer, *x, *y])):
        raise UsageError(f"the truth must be finite; got {printed(truth)}")
    if answer != sorted(answer):
        raise UsageError(f"the truth of a band is (low, high); got {printed(truth)}")
    return answer, x, y


def _share(low: float, high: float, log: bool, value: float) -> float:
    """Return where a number lies on the axis, 0 at its low end and 1 at its high end."""
    if log:
        return math.log(value / low) / math.log(high / low)
    return (value - low) / (high - low)


def _at(low: float, high: float, log: bool, share: float) -> float:
    """Return a round number at a share of the axis."""
    if log:
        value = math.exp((1 - share) * math.log(low) + share * math.log(high))
    else:
        value = (1 - share) * low + share * high
    # Two digits will do, unless the axis is short.
    rounded = (min(high, max(low, float(f"{value:.{digits}g}"))) for digits in range(2, 17))
    return next((r for r in rounded if abs(_share(low, high, log, r) - share) < 0.05), value)


def _score(close: bool, near: bool) -> str:
    return "close" if close else "near" if near else "far"
