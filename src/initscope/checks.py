"""Check what the caller gave: each returns the value as it is used, or raises `UsageError`.

Most take the name of the value, for the message, and the value.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from initscope.errors import UsageError, shown
from initscope.scalars import (
    LARGEST_FLOAT as LARGEST_FLOAT,
)
from initscope.scalars import (
    LARGEST_WHOLE as LARGEST_WHOLE,
)
from initscope.scalars import (
    choice as choice,
)
from initscope.scalars import (
    file_path as file_path,
)
from initscope.scalars import (
    function as function,
)
from initscope.scalars import (
    is_number as is_number,
)
from initscope.scalars import (
    mapping as mapping,
)
from initscope.scalars import (
    number as number,
)
from initscope.scalars import (
    require as require,
)
from initscope.scalars import (
    require_name as require_name,
)
from initscope.scalars import (
    text as text,
)
from initscope.scalars import (
    whole as whole,
)
from initscope.scalars import (
    whole_or_none as whole_or_none,
)

if TYPE_CHECKING:
    import pandas as pd
    import torch
    from torch import nn

__all__: list[str] = []  # for this package alone

Array = npt.NDArray[np.float64]
ArrayLike = npt.ArrayLike

LARGEST_SEED = 2**32 - 1
"""Largest seed of scikit-learn's splits and of transformers."""

LARGEST_STD = 2.0**125
"""Largest std or gain of float32 weights: several times it still is a float32."""

MOST_LAYERS = 1_000_000
"""Layers of a network: more take hours, one after the other, and are no network."""


# --- Numbers and arrays ----------------------------------------------------------------------


def real(name: str, value: ArrayLike) -> Array:
    """Return `value` as a float array, or raise if it holds anything but numbers, or NaN."""
    if type(value) is float:  # by far the most, in loops
        array = np.array(value)
    else:
        try:
            array = _as_floats(value)
        except Exception:  # whatever numpy, torch or the object itself says
            raise UsageError(
                f"{name} must be a number or an array of numbers, not {shown(value)}."
            ) from None
    if np.isnan(array).any():
        raise UsageError(f"{name} must not be NaN.")
    return array


def _as_floats(value: ArrayLike) -> Array:
    """Return `value` as a float array; `TypeError` for what is no number."""
    array = np.asarray(value)
    if array.dtype.kind == "O":  # fractions and numbers beyond 64 bits are numbers
        if any(one is None or isinstance(one, str | bytes | bool | np.bool_) for one in array.flat):
            raise TypeError
    elif array.dtype.kind not in "fiu":  # numpy would read "1" as 1, and True as well
        raise TypeError
    return array.astype(np.float64, copy=False)


def finite(name: str, value: ArrayLike) -> Array:
    """Return `value` as a float array of finite numbers."""
    array = real(name, value)
    if np.isinf(array).any():
        raise UsageError(f"{name} must be finite.")
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
        worst = float(array.min() if array.min() < low else array.max())
        ends = f"{low:g}", f"{high:g}"
        # Just beyond an end all digits are needed to tell it from that.
        told = repr(worst) if f"{worst:g}" in ends else f"{worst:g}"
        raise UsageError(f"{name} must be between {ends[0]} and {ends[1]}, not {told}.")
    return array


def one(name: str, array: Array) -> float:
    """Return the number of an array that has been checked and must hold a single one."""
    if array.ndim:
        raise UsageError(f"{name} must be one number, not an array of shape {array.shape}.")
    return float(array)


def weight_std(name: str, value: object) -> float:
    """Return `value` as a float that float32 weights can be drawn with, as a std or a gain.

    >>> weight_std("std", 0.02)
    0.02
    """
    found = number(name, value, 0)
    require(
        found <= LARGEST_STD,
        f"{name} must be at most {LARGEST_STD:.3g}, for weights are float32, not {shown(value)}.",
    )
    return found


def layer_widths(widths: Iterable[int]) -> tuple[int, ...]:
    """Return `widths` as a tuple of at least two positive whole numbers."""
    if isinstance(widths, str) or not isinstance(widths, Iterable):
        raise UsageError(f"widths must be a list of whole numbers, not {shown(widths)}.")
    try:
        found = tuple(widths)
    except TypeError:  # an array or a tensor without axes
        raise UsageError(f"widths must be a list of whole numbers, not {shown(widths)}.") from None
    require(
        all(is_number(width, 1, whole=True) and width <= LARGEST_WHOLE for width in found),
        f"widths {shown(found)} must be whole numbers of at least 1.",
    )
    require(
        len(found) >= 2,
        f"widths {shown(found)} describe no layer: give at least the number of inputs and of "
        "outputs, for example [784, 256, 10].",
    )
    return tuple(int(width) for width in found)


def together(**arrays: Array) -> tuple[int, ...]:
    """Return the shape that arrays broadcast to, or raise if they do not fit together."""
    if not any(array.ndim for array in arrays.values()):  # by far the most
        return ()
    try:
        return np.broadcast_shapes(*(array.shape for array in arrays.values()))
    except ValueError:
        shapes = ", ".join(f"{name} {array.shape}" for name, array in arrays.items() if array.ndim)
        raise UsageError(f"these shapes do not broadcast: {shapes}.") from None


def plain(array: npt.ArrayLike) -> Array:
    """Return `array`, or its number as a numpy float if it has no axes."""
    return np.asarray(array, dtype=np.float64)[()]


# --- Words, choices, collections -------------------------------------------------------------


def flag(name: str, value: object) -> bool:
    """Return `value` if it is True or False."""
    if not isinstance(value, bool | np.bool_):
        raise UsageError(f"{name} must be True or False, not {shown(value)}.")
    return bool(value)


def result_folder(name: str, folder: Path) -> Path:
    """Return `folder` if it can be a folder for results: no file stands in its way."""
    place = folder.absolute()
    while not _is_there(name, place) and place != place.parent:
        place = place.parent
    require(
        place.is_dir(),
        f"the {name} {shown(str(folder))} cannot be made: {shown(str(place))} is a file. "
        f"Name another {name}.",
    )
    return folder


def _is_there(name: str, path: Path) -> bool:
    """Return whether something has this name; raise for what cannot be a name."""
    try:
        path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise UsageError(f"the {name} {shown(str(path))} cannot be used: {reason}.") from None
    return True


def known_names(kind: str, value: object, known: Sequence[str]) -> list[str]:
    """Return the names of a list if there is one at least, and each is known.

    `kind` is what one is, in the singular.

    >>> known_names("role", ["q", "v"], ["q", "k", "v"])
    ['q', 'v']
    """
    names = items(f"{kind}s", value, 1)
    for name in names:
        require_name(kind, name, known)
    return names


def items(name: str, value: object, at_least: int = 0) -> list[Any]:
    """Return the items of a sequence; text, a mapping and a table are none."""
    good = isinstance(value, Sequence | np.ndarray) or type(value).__name__ in ("Series", "Index")
    if not good or isinstance(value, str | bytes) or getattr(value, "ndim", 1) != 1:
        raise UsageError(f"{name} must be a list, not {shown(value)}.")
    found = list(value)  # type: ignore[call-overload]
    if len(found) < at_least:
        raise UsageError(f"{name} must hold at least {at_least}, not {shown(value)}.")
    return found


# --- Tables ----------------------------------------------------------------------------------


def frame(
    name: str,
    value: object,
    columns: Iterable[Any] = (),
    *,
    numbers: Iterable[Any] = (),
    texts: Iterable[Any] = (),
    rows: bool = True,
) -> pd.DataFrame:
    """Return `value` if it is a table with these columns: any kind, numbers, or text.

    With `rows` it must not be empty either. Columns of numbers may hold NaN.
    """
    import pandas as pd

    numbers, texts = list(numbers), list(texts)
    wanted = [*columns, *numbers, *texts]
    if not isinstance(value, pd.DataFrame):
        raise UsageError(f"{name} must be a pandas.DataFrame, not {shown(value)}.")
    missing = [str(column) for column in wanted if column not in value.columns]
    if missing:
        raise UsageError(
            f"the table {name} has no column {', '.join(missing)}: it has "
            f"{shown([str(column) for column in value.columns])}."
        )
    if rows and not len(value):
        raise UsageError(f"the table {name} has no rows: there is nothing to draw or to compute.")
    for column in numbers:
        if not _is_numeric(value[column]):
            raise UsageError(f"the column {column} of the table {name} must hold numbers.")
    for column in texts:
        if not value[column].map(lambda cell: isinstance(cell, str)).all():
            raise UsageError(f"the column {column} of the table {name} must hold text.")
    return value


def number_lists(name: str, table: pd.DataFrame, column: str) -> None:
    """Raise unless every cell of a column is a list of numbers, at least one."""
    frame(name, table, [column], rows=False)
    for cell in table[column]:
        good = isinstance(cell, Sequence | np.ndarray) and not isinstance(cell, str | bytes)
        array = np.asarray(cell if good else None)
        if array.ndim != 1 or not array.size or array.dtype.kind not in "fiu":
            raise UsageError(
                f"the column {column} of the table {name} must hold a list of numbers in each row, "
                f"not {shown(cell)}."
            )


def _is_numeric(column: Any) -> bool:
    """Return whether a column of a table holds real numbers."""
    import pandas as pd

    kind = column.dtype
    if getattr(column, "ndim", 1) != 1:  # two columns of one name
        return False
    return pd.api.types.is_numeric_dtype(kind) and not pd.api.types.is_complex_dtype(kind)


def number_table(
    name: str, value: object, levels: Collection[str] = (), *, rows: bool = False
) -> pd.DataFrame:
    """Return `value` if it is a table of numbers alone, its index of these levels."""
    table = frame(name, value, rows=rows)
    if levels and set(table.index.names) != set(levels):
        raise UsageError(f"the table {name} must be indexed by {' and '.join(levels)}.")
    if table.index.has_duplicates or table.columns.has_duplicates:
        raise UsageError(f"the table {name} has two rows or columns of one name.")
    for column in table.columns:
        if not _is_numeric(table[column]):
            raise UsageError(f"the table {name} must hold numbers in every column.")
    return table


# --- torch -----------------------------------------------------------------------------------


def tensor(
    name: str,
    value: object,
    *,
    shape: str = "",
    good: Callable[[torch.Tensor], bool] = lambda _: True,
    floating: bool = True,
) -> torch.Tensor:
    """Return `value` if it is a dense tensor, of numbers with a point (`floating`) or whole ones.

    `good` says of one whether its shape is right, and `shape` what is.
    """
    import torch

    if not isinstance(value, torch.Tensor):
        raise UsageError(f"{name} must be a torch.Tensor, not {shown(value)}.")
    if value.is_meta or value.layout is not torch.strided:
        raise UsageError(f"{name} must be a dense tensor with data, not a meta or sparse one.")
    whole_numbers = not (value.is_floating_point() or value.is_complex())
    if value.dtype is torch.bool or whole_numbers is floating or value.is_complex():
        wanted = "floating-point numbers" if floating else "whole numbers"
        raise UsageError(f"{name} must hold {wanted}, not {value.dtype}.")
    if not good(value):
        raise UsageError(f"{name} must have {shape}, not the shape {tuple(value.shape)}.")
    return value


def module(name: str, value: object, *, with_data: bool = True) -> nn.Module:
    """Return `value` if it is a torch module, `with_data` in its parameters."""
    from torch import nn

    if not isinstance(value, nn.Module):
        raise UsageError(f"{name} must be a torch.nn.Module, not {shown(value)}.")
    for parameter in value.parameters():
        if with_data and parameter.is_meta:
            raise UsageError(f"{name} is on the device meta: its weights have no data.")
    return value


def generator(name: str, value: object) -> torch.Generator | None:
    """Return `value` if it is a generator of torch, or None."""
    import torch

    if value is None or isinstance(value, torch.Generator):
        return value
    raise UsageError(f"{name} must be a torch.Generator or None, not {shown(value)}.")
