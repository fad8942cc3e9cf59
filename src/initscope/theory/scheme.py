"""An initialization by its name and its options: read from a specification, without torch.

:func:`initscope.init.initialize_` draws it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from initscope.checks import require, weight_std
from initscope.errors import UsageError, shown, unknown_name
from initscope.theory.schemes import SCHEMES, rule_name

__all__ = ["Scheme"]


@dataclass(frozen=True)
class Scheme:
    """Initialization scheme by name, with its options; biases start at 0.

    Two with the same name and the same options are equal, and have the same text. An option that is
    given its default is left out, so that one initialization has one text.

    >>> print(Scheme("kaiming", {"mode": "fan_out", "distribution": "normal"}))
    kaiming(mode=fan_out)

    Attributes
    ----------
    name
        One of :data:`initscope.theory.SCHEMES`; an alias (``"he"``, ``"glorot"``) becomes the name
        there.
    options
        Options of the scheme, a mapping; kept as pairs in alphabetical order.
    """

    name: str
    options: Mapping[str, Any] | tuple[tuple[str, Any], ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "name", rule_name(self.name))
        try:
            options = dict(self.options)
        except (TypeError, ValueError):
            raise UsageError(
                f"the options of scheme {self.name} must be a mapping, not {shown(self.options)}."
            ) from None
        known = SCHEMES[self.name].options
        for name, value in options.items():
            if name not in known:
                raise unknown_name(f"option of scheme {self.name!r}", name, known)
            if name in ("std", "gain"):
                weight_std(name, value)
            options[name] = SCHEMES[self.name].check_option(name, value)
        for name, default in known.items():
            require(default is not None or name in options, f"scheme {self.name!r} needs {name}.")
        pairs = (
            (name, str(value) if isinstance(value, str) else value)
            for name, value in sorted(options.items())
            if value != known[name]
        )
        object.__setattr__(self, "options", tuple(pairs))

    @classmethod
    def of(cls, value: Scheme | str | Mapping[str, Any]) -> Scheme:
        """Make a scheme from its name or a mapping: ``{"name": "kaiming", "mode": "fan_out"}``."""
        if isinstance(value, Scheme):
            return value
        if isinstance(value, Mapping):
            if "name" not in value:
                raise UsageError(
                    f"a scheme with options is a mapping with a name, as in "
                    f"{{name: kaiming, mode: fan_out}}, not {shown(dict(value))}."
                )
            return cls(value["name"], {k: v for k, v in value.items() if k != "name"})
        return cls(value)

    @property
    def plain(self) -> str | dict[str, Any]:
        """The scheme in plain values, a name or a mapping, which :meth:`of` turns back into it."""
        return {"name": self.name, **dict(self.options)} if self.options else self.name

    @property
    def std(self) -> float | None:
        """The std of the scheme ``"normal"``; None for the others, whose rule decides it."""
        return float(dict(self.options)["std"]) if self.name == "normal" else None

    def __str__(self) -> str:
        options = ", ".join(f"{name}={value}" for name, value in dict(self.options).items())
        return f"{self.name}({options})" if options else self.name
