"""What an initialization did to each parameter: set, kept for a reason, or left."""

from __future__ import annotations

import math
from collections.abc import Mapping
from textwrap import wrap
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Initialization"]

MOST_LINES = 40
"""Lines of parameters that a report shows."""

WIDTH = 80
"""Characters of a line of reasons, unless a name is longer."""


class Initialization(dict[str, float]):
    """Report of :func:`initscope.init.initialize_`: parameter name to the std that was asked for.

    Stds are per element. That of a constant is 0; that of queries, keys and values in one parameter
    is taken over all of them. A weight behind a parametrization has the name of the weight.

    Attributes
    ----------
    drawn
        Name to the root mean square of what was drawn, rows of padding left out; 0 for a constant.
    kept
        Name to the reason why a parameter stays as it was, on purpose.
    left
        Name to the reason why a parameter stays as it was, though it may have needed a value.
    numbers
        Name to the number of elements.
    notes
        Sentences on what the scheme could not do, or took from a trace of the forward pass.

    Examples
    --------
    >>> from torch import nn
    >>> from initscope.init import initialize_
    >>> report = initialize_(nn.Linear(50, 10), "kaiming")
    >>> report["weight"], report.kept, report.left, report.share_set
    (0.2, {}, {}, 1.0)
    """

    def __init__(self) -> None:
        super().__init__()
        self.drawn: dict[str, float] = {}
        self.kept: dict[str, str] = {}
        self.left: dict[str, str] = {}
        self.numbers: dict[str, int] = {}
        self.notes: list[str] = []

    @property
    def share_set(self) -> float:
        """Share of the model's elements that were set."""
        return sum(self.numbers[name] for name in self) / max(sum(self.numbers.values()), 1)

    def to_frame(self) -> pd.DataFrame:
        """Return one row a parameter: its outcome (set, kept or left), stds, and the reason.

        Columns ``parameter, outcome, numbers, std_asked, std_drawn, reason``; stds are NaN, and
        reasons given, for what was not set.

        >>> from torch import nn
        >>> from initscope.init import initialize_
        >>> frame = initialize_(nn.Linear(50, 10), "kaiming").to_frame()
        >>> frame[["parameter", "outcome", "std_asked"]].to_records(index=False).tolist()
        [('weight', 'set', 0.2), ('bias', 'set', 0.0)]
        """
        import pandas as pd

        rows = [
            (name, "set", self.numbers[name], self[name], self.drawn[name], "") for name in self
        ]
        for outcome, reasons in (("kept", self.kept), ("left", self.left)):
            for name, why in reasons.items():
                rows.append((name, outcome, self.numbers[name], math.nan, math.nan, why))
        columns = ["parameter", "outcome", "numbers", "std_asked", "std_drawn", "reason"]
        return pd.DataFrame(rows, columns=columns)

    def __repr__(self) -> str:
        """Return a few lines: how much was set, and what was not, by its reason."""
        lines = [f"{len(self)} parameters set, {self.share_set:.2%} of all numbers: {{"]
        width = max((len(name) for name in self), default=0)
        shown_names = list(self)[:MOST_LINES]
        for name in shown_names:
            lines.append(f"  {name:<{width}}  std {self[name]:.4g}, drawn {self.drawn[name]:.4g}")
        if len(self) > len(shown_names):
            lines.append(f"  and {len(self) - len(shown_names)} more")
        lines.append("}")
        said = [
            ("kept", by_reason(self.kept)),
            ("left", by_reason(self.left)),
            ("note", self.notes),
        ]
        for word, texts in said:
            for text in texts:
                lines += wrap(
                    f"{word}: {text}",
                    WIDTH,
                    subsequent_indent="  ",
                    break_long_words=False,  # names stay whole
                    break_on_hyphens=False,
                )
        return "\n".join(lines)


def by_reason(reasons: Mapping[str, str]) -> list[str]:
    """Return a line a reason, with the first of the parameters that have it."""
    names: dict[str, list[str]] = {}
    for name, why in reasons.items():
        names.setdefault(why, []).append(name)
    return [
        f"{', '.join(some[:3])}{f' and {len(some) - 3} more' if len(some) > 3 else ''} ({why})"
        for why, some in names.items()
    ]
