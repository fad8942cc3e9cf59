"""Checks of what the caller gave: each returns the value as it is used, or raises `UsageError`."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from initscope.errors import UsageError

Array = npt.NDArray[np.float64]
ArrayLike = npt.ArrayLike


def real(name: str, value: ArrayLike) -> Array:
    """Return `value` as a float array, or raise if it holds anything but numbers, or NaN."""
    try:
        array = np.asarray(value, dtype=np.float64)
    except (TypeError, ValueError):
        raise UsageError(
            f"{name} must be a number or an array of numbers, not {value!r}."
        ) from None
    if np.isnan(array).any():
        raise UsageError(f"{name} must not be NaN.")
    return array


def nonnegative(name: str, value: ArrayLike) -> Array:
    """Return `value` as a float array of finite numbers of at least 0."""
    array = real(name, value)
    if array.size and (array.min() < 0 or np.isinf(array).any()):
        worst = array.min() if array.min() < 0 else np.inf
        raise UsageError(f"{name} must be finite and at least 0, not {worst:g}.")
    return array


def positive(name: str, value: ArrayLike) -> Array:
    """Return `value` as a float array of finite numbers above 0."""
    array = nonnegative(name, value)
    if array.size and array.min() == 0:
        raise UsageError(f"{name} must be above 0.")
    return array


def within(name: str, value: ArrayLike, low: float, high: float) -> Array:
    """Return `value` as a float array of numbers between `low` and `high`, both included."""
    array = real(name, value)
    if array.size and (array.min() < low or array.max() > high):
        worst = array.min() if array.min() < low else array.max()
        raise UsageError(f"{name} must be between {low:g} and {high:g}, not {worst:g}.")
    return array


def whole(name: str, value: object, at_least: int = 1) -> int:
    """Return `value` as an int of at least `at_least`."""
    number = real(name, value)  # type: ignore[arg-type]
    if number.ndim or number != np.floor(number) or number < at_least:
        raise UsageError(f"{name} must be a whole number of at least {at_least}, not {value!r}.")
    return int(number)


def layer_widths(widths: Sequence[int] | ArrayLike) -> tuple[int, ...]:
    """Return `widths` as a tuple of at least two positive whole numbers."""
    array = real("widths", widths)
    if array.ndim != 1 or array.size < 2:
        raise UsageError(
            f"widths {widths!r} describe no layer: give at least the number of inputs and of "
            "outputs, for example [784, 256, 10]."
        )
    if array.min() < 1 or np.isinf(array).any() or (array != np.floor(array)).any():
        raise UsageError(f"widths {widths!r} must be whole numbers of at least 1.")
    return tuple(int(width) for width in array)


def plain(array: npt.ArrayLike) -> Array:
    """Return `array`, or its number as a numpy float if it has no axes."""
    return np.asarray(array, dtype=np.float64)[()]
