"""Watch what a tracker records, and warn, stop or call where a statistic leaves its bounds."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd

from initscope import checks
from initscope.checks import require, whole
from initscope.errors import UsageError, shown
from initscope.schema import COLUMNS

if TYPE_CHECKING:
    from initscope.tracking.tracker import VarianceTracker

__all__ = [
    "Alert",
    "AlertWatch",
    "Raised",
    "gradient_below",
    "not_finite",
    "rotation_above",
    "std_leaves_band",
    "usual_alerts",
]

logger = logging.getLogger(__name__)

ACTIONS = ("warn", "stop")


class Raised(NamedTuple):
    """One alert of one matrix: what was seen at which step."""

    alert: str
    step: int
    layer: int
    role: str
    value: float


@dataclass(frozen=True)
class Alert:
    """A condition on what is recorded at a step, and what happens when it holds.

    Attributes
    ----------
    name
        Name of the alert in messages.
    test
        Function of the rows of one step, a table ``step, layer, role, kind, stat, value``; it
        returns True or False for each row, True for one that is out of bounds.
    records
        At how many records in a row it must hold for a matrix before it is raised. It is raised
        once, and again only after it has not held in between.
    action
        ``"warn"``, a message of the logger ``initscope.tracking.alerts``; ``"stop"``, that and the
        end of the training; or a function of the alert that was raised, a named tuple of ``alert``
        (its name), ``step``, ``layer``, ``role`` and ``value``.

    Examples
    --------
    >>> def mean_far_off(rows):
    ...     return (rows["kind"] == "weight") & (rows["stat"] == "mean") & (rows["value"].abs() > 1)
    >>> Alert("mean of the weights above 1", mean_far_off, records=2).action
    'warn'
    """

    name: str
    test: Callable[[pd.DataFrame], Any]
    records: int = 1
    action: str | Callable[[Raised], object] = "warn"

    def __post_init__(self) -> None:
        checks.text("name", self.name)
        checks.function("test", self.test)
        whole("records", self.records)
        if not callable(self.action):
            checks.choice("action", self.action, ACTIONS)


def _of(rows: pd.DataFrame, kind: str, stat: str) -> pd.Series:
    return (rows["kind"] == kind) & (rows["stat"] == stat)


def rotation_above(
    limit: float = 0.3, records: int = 3, action: str | Callable[[Raised], object] = "warn"
) -> Alert:
    """Return an alert for matrices that turn by more than `limit` radians an update.

    `records` and `action` are those of :class:`Alert`.

    >>> rotation_above().name
    'rotation above 0.3'
    """
    bound = checks.number("limit", limit, 0.0)
    return Alert(
        f"rotation above {bound:g}",
        lambda rows: _of(rows, "update", "rotation") & (rows["value"] > bound),
        records,
        action,
    )


def gradient_below(
    epsilon: float = 1e-8,
    times: float = 10.0,
    records: int = 3,
    action: str | Callable[[Raised], object] = "warn",
) -> Alert:
    """Return an alert for gradients whose rms is below `times` Adam's epsilon.

    There epsilon shortens the steps. `records` and `action` are those of :class:`Alert`.

    >>> gradient_below(1e-8).name
    'gradient rms below 10 epsilon (1e-07)'
    """
    factor, eps = checks.number("times", times, 0.0), checks.number("epsilon", epsilon, 0.0)
    return Alert(
        f"gradient rms below {factor:g} epsilon ({factor * eps:g})",
        lambda rows: _of(rows, "gradient", "rms") & (rows["value"] < factor * eps),
        records,
        action,
    )


def not_finite(action: str | Callable[[Raised], object] = "warn") -> Alert:
    """Return an alert for weights, gradients and updates that are infinite or NaN.

    `action` is that of :class:`Alert`.

    >>> not_finite().records
    1
    """

    def test(rows: pd.DataFrame) -> pd.Series:
        return rows["stat"].isin(("std", "rms")) & ~np.isfinite(rows["value"])

    return Alert("not finite", test, 1, action)


def std_leaves_band(
    predicted: pd.DataFrame,
    factor: float = 2.0,
    records: int = 1,
    action: str | Callable[[Raised], object] = "warn",
) -> Alert:
    """Return an alert for stds that are off their prediction by more than a factor.

    Parameters
    ----------
    predicted
        Columns ``step, layer, role, kind, stat, value``, as
        :meth:`initscope.predict.ModelPrediction.variances` gives them; between its steps the
        prediction is interpolated, and matrices that it does not name are left alone.
    factor
        How many times as large, or as small, as predicted a std may be; above 1.
    records, action
        As in :class:`Alert`.

    Raises
    ------
    UsageError
        A table without the std of a weight; a factor of 1 or less.

    Examples
    --------
    >>> rows = {"step": [0, 9], "layer": 1, "role": "q", "value": [0.1, 0.2]}
    >>> std_leaves_band(pd.DataFrame(rows).assign(kind="weight", stat="std")).name
    'std off its prediction by 2'
    """
    checks.frame("predicted", predicted, COLUMNS, numbers=("step", "layer", "value"))
    times = checks.number("factor", factor, 1.0)
    require(times > 1, "factor must be above 1.")
    rows = predicted[_of(predicted, "weight", "std")]
    require(len(rows) > 0, "predicted has no row of kind 'weight' and stat 'std'.")
    curves = {
        key: (group["step"].to_numpy(float), group["value"].to_numpy(float))
        for key, group in rows.sort_values("step").groupby(["layer", "role"])
    }

    def test(rows: pd.DataFrame) -> np.ndarray:
        expected = np.full(len(rows), np.nan)
        for place, (step, layer, role) in enumerate(
            zip(rows["step"], rows["layer"], rows["role"], strict=True)
        ):
            if (layer, role) in curves:
                expected[place] = np.interp(step, *curves[layer, role])
        ratio = rows["value"].to_numpy(float) / expected
        off = (ratio > times) | (ratio < 1 / times)
        return np.asarray(_of(rows, "weight", "std")) & off

    return Alert(f"std off its prediction by {times:g}", test, records, action)


def usual_alerts(epsilon: float = 1e-8) -> list[Alert]:
    """Return alerts that fit any run: rotation above 0.3, gradients near epsilon, not finite.

    They are :func:`rotation_above`, :func:`gradient_below` and :func:`not_finite`.

    >>> [alert.name for alert in usual_alerts()]
    ['rotation above 0.3', 'gradient rms below 10 epsilon (1e-07)', 'not finite']
    """
    return [rotation_above(), gradient_below(epsilon), not_finite()]


@dataclass(eq=False)
class AlertWatch:
    """Alerts over a run: what was raised so far, and whether one of them wants it to end.

    Attributes
    ----------
    alerts
        What is watched for, at least one :class:`Alert`.
    raised
        What was raised so far, in order: named tuples of ``alert``, ``step``, ``layer``, ``role``
        and ``value``.
    stop
        Whether an alert with the action ``"stop"`` was raised.

    Examples
    --------
    >>> watch = AlertWatch([not_finite()])
    >>> row = {"step": 3, "layer": 1, "role": "q", "kind": "weight", "stat": "std"}
    >>> watch.see(pd.DataFrame([row | {"value": float("nan")}]))
    >>> watch.raised[0].step
    3
    """

    alerts: Sequence[Alert]
    raised: list[Raised] = field(default_factory=list)
    stop: bool = False
    _held: dict[tuple[int, int, str], int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for alert in checks.items("alerts", self.alerts, 1):
            require(isinstance(alert, Alert), f"alerts must hold alerts, not {shown(alert)}.")

    def stops_any_process(self) -> bool:
        """Return whether `stop` is set in any process of torch.distributed, so that all can end.

        Rows may be seen in the first process alone, and a process that stops by itself leaves the
        others waiting. In a loop of several processes all have to call this at each step, with the
        same alerts. In a single process it is `stop`.

        >>> AlertWatch([not_finite("stop")]).stops_any_process()
        False
        """
        if not any(alert.action == "stop" for alert in self.alerts):
            return False
        from initscope.tracking.shards import in_any_process

        return in_any_process(self.stop)

    def watch(self, tracker: VarianceTracker) -> AlertWatch:
        """See every record that a tracker makes from now on; return the watch itself.

        >>> from initscope.models import MLP
        >>> from initscope.tracking import VarianceTracker
        >>> with VarianceTracker(MLP([4, 3, 2]), quantities=["weight"]) as tracker:
        ...     found = AlertWatch(usual_alerts()).watch(tracker)
        ...     tracker.after_optimizer_step()
        >>> found.raised
        []
        """
        require(
            hasattr(tracker, "on_rows"), f"tracker must be a VarianceTracker, not {shown(tracker)}."
        )
        tracker.on_rows = self.see
        return self

    def see(self, rows: pd.DataFrame) -> None:
        """Test the rows of one step.

        Raises
        ------
        UsageError
            A table without these columns; a test that does not return True or False for each row.
        """
        numbers = ("step", "layer", "value")
        checks.frame("rows", rows, COLUMNS, numbers=numbers, rows=False)
        for number, alert in enumerate(self.alerts):
            answer = np.asarray(alert.test(rows))
            if answer.shape != (len(rows),) or answer.dtype != bool:
                raise UsageError(
                    f"the test of the alert {alert.name!r} must give True or False for each of the "
                    f"{len(rows)} rows, not {shown(answer)}."
                )
            out = rows[answer]
            kinds = out[["layer", "role"]].itertuples(index=False, name=None)
            worst = dict(zip(kinds, out.itertuples(), strict=True))
            seen = set(rows[["layer", "role"]].itertuples(index=False, name=None))
            for layer, role in seen:
                key = (number, layer, role)
                if (layer, role) not in worst:
                    self._held.pop(key, None)
                    continue
                self._held[key] = self._held.get(key, 0) + 1
                if self._held[key] == alert.records:
                    row = worst[layer, role]
                    self._raise(
                        alert, Raised(alert.name, int(row.step), layer, role, float(row.value))
                    )

    def _raise(self, alert: Alert, found: Raised) -> None:
        self.raised.append(found)
        if callable(alert.action):
            alert.action(found)
            return
        self.stop = self.stop or alert.action == "stop"
        often = f" for {alert.records} records" if alert.records > 1 else ""
        logger.warning(
            "step %d: %s%s in %s of layer %d (%.3g)%s",
            found.step, found.alert, often, found.role, found.layer, found.value,
            ": training stops" if alert.action == "stop" else "",
        )  # fmt: skip
