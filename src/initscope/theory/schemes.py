r"""Initialization rules: the standard deviation that each gives every weight of a network.

This is the one table of them. :func:`initscope.init.initialize_` draws by it, sweeps and
:func:`~initscope.theory.propagate` take its names, and
:mod:`~initscope.theory.transformer_scaling` tabulates it. To add a rule, write one function under
:func:`~initscope.theory.rule.rule`, whose keyword-only parameters are its options, and one row in
tests/test_init.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import numpy as np

from initscope import checks
from initscope.checks import (
    require_name,
)
from initscope.errors import UsageError, unknown_name
from initscope.theory.rule import (
    BRANCH_ENDS,
    MODES,
    RULES,
    Distribution,
    Draw,
    Mode,
    Number,
    Rule,
    Weight,
    rule,
)

__all__ = ["ALIASES", "DEPTH_RULES", "SCHEMES", "check_options"]

# --- By layer --------------------------------------------------------------------------------


@rule()
def normal(weight: Weight, *, std: float) -> Draw:
    """Give every weight variance ``std ** 2``."""
    return Draw(std)


def fan(mode: str, fan_in: Number, fan_out: Number) -> Number:
    """Return the fan that `mode` names."""
    require_name("mode", mode, MODES)
    return {"fan_in": fan_in, "fan_out": fan_out, "fan_avg": (fan_in + fan_out) / 2}[mode]


def _by_fan(weight: Weight, gain: float, mode: str, distribution: str) -> Draw:
    return Draw(np.sqrt(gain**2 / fan(mode, weight.fan_in, weight.fan_out)), distribution)


@rule()
def lecun(weight: Weight, *, gain: float = 1.0, distribution: Distribution = "normal") -> Draw:
    """Give variance gain² / fan_in (LeCun et al. 1998, eq. 16)."""
    return _by_fan(weight, gain, "fan_in", distribution)


@rule()
def xavier(weight: Weight, *, gain: float = 1.0, distribution: Distribution = "normal") -> Draw:
    """Give variance 2 gain² / (fan_in + fan_out) (Glorot & Bengio 2010, eq. 12)."""
    return _by_fan(weight, gain, "fan_avg", distribution)


@rule()
def kaiming(
    weight: Weight,
    *,
    gain: float = float(np.sqrt(2.0)),
    mode: Mode = "fan_in",
    distribution: Distribution = "normal",
) -> Draw:
    """Give variance gain² / fan (He et al. 2015, eq. 10; with ``mode="fan_out"`` eq. 14)."""
    return _by_fan(weight, gain, mode, distribution)


@rule()
def orthogonal(weight: Weight, *, gain: float = 1.0) -> Draw:
    """Give an orthogonal matrix times gain, variance gain² / max(rows, columns).

    Saxe et al. (2014), arXiv:1312.6120, section 3. A convolution's kernel is flattened into the
    columns.
    """
    # The shorter side is orthonormal, so its vectors of max(rows, columns) elements have norm 1.
    longer = np.maximum(weight.fan_in, weight.fan_out / weight.receptive_field)
    return Draw(gain / np.sqrt(longer), "orthogonal", gain)


@rule()
def trunc_normal(weight: Weight, *, std: float = 0.02) -> Draw:
    """Give variance ``std ** 2``, normal without what lies beyond two standard deviations.

    The normal distribution that is cut is the wider, so that what remains has `std`: cut at
    two standard deviations, it keeps .8796 of its own. torch's `trunc_normal_` corrects nothing,
    and cuts at -2 and 2.
    """
    return Draw(std, "truncated")


# --- Whole models, by depth and width --------------------------------------------------------


@rule("model")
def gpt2(weight: Weight, *, std: float = 0.02, residual_scaling: bool = True) -> Draw:
    """Give std, and std / sqrt(2 n_layer) where a residual branch ends.

    Radford et al. (2019), section 2.3; `residual_scaling` False leaves the division out. The number
    under the root is that of the branches, also in a convolutional network.
    """
    if residual_scaling and weight.role in BRANCH_ENDS:
        return Draw(std / np.sqrt(weight.n_branches))
    return Draw(std)


@rule("blocks")
def lir(weight: Weight, *, std: float = 0.02) -> Draw:
    """Give std / sqrt(l) in block l: Layer Index Rescaling (Owen et al. 2025, arXiv:2503.17500)."""
    return Draw(std / np.sqrt(np.maximum(weight.layer, 1)))


def _xavier_std(weight: Weight) -> Number:
    return np.sqrt(2 / (weight.fan_in + weight.fan_out))


def _outside_blocks(weight: Weight) -> bool:
    """Tell whether a weight stands outside of the blocks."""
    return weight.role in ("embedding", "output", "outside")


def _outside_std(weight: Weight) -> Number:
    """Return d^-1/2 for embeddings and output, and fan_in^-1/2 for what stands beside them."""
    return (weight.fan_in if weight.role == "outside" else weight.n_embd) ** -0.5


@rule("blocks")
def ds_init(weight: Weight) -> Draw:
    """Give Xavier / sqrt(l) in block l (Zhang, Titov & Sennrich 2019, arXiv:1908.11365)."""
    if _outside_blocks(weight):
        return Draw(_outside_std(weight))
    return Draw(_xavier_std(weight) / np.sqrt(weight.layer))


@rule("blocks")
def t_fixup(weight: Weight) -> Draw:
    """Give Xavier; value, output and MLP times .67 L^-1/4, embeddings d^-1/2 (9 L)^-1/4.

    Huang, Pérez, Ba & Volkovs (2020), PMLR 119:4475, for layers of one attention and one MLP
    branch and no LayerNorm; in the paper's decoder, with two attention branches, the matrices have
    (9 L)^-1/4 as well.
    """
    if weight.role == "embedding":
        return Draw(weight.n_embd**-0.5 * (9 * weight.n_layer) ** -0.25)
    if weight.role in ("output", "outside"):
        return Draw(_outside_std(weight))
    factor = 1.0 if weight.role in ("q", "k") else 0.67 * weight.n_layer**-0.25
    return Draw(_xavier_std(weight) * factor)


@rule("blocks")
def fixup(weight: Weight) -> Draw:
    """Give 0 where a branch ends, its other matrices their std times (2 L)^(-1 / (2 m - 2)).

    Zhang, Dauphin & Ma (2019), arXiv:1901.09321, section 3: 2 L branches of m = 2 matrices, He's
    std in the MLP and fan_in^-1/2 in attention, whose queries and keys stay unscaled; 0 in an
    output layer of its own; no LayerNorm.
    """
    if weight.role in (*BRANCH_ENDS, "output"):
        return Draw(0.0)
    if weight.role in ("embedding", "outside"):
        return Draw(_outside_std(weight))
    factor = 1.0 if weight.role in ("q", "k") else (2 * weight.n_layer) ** -0.5
    variance = 2.0 if weight.role == "mlp_in" else 1.0
    return Draw(np.sqrt(variance / weight.fan_in) * factor)


@rule("blocks", stream_multiplier=lambda n_layer: (2 * n_layer) ** 0.25)
def deepnorm(weight: Weight) -> Draw:
    """Give Xavier; value, output and MLP times beta = (8 L)^-1/4.

    Wang et al. (2022), arXiv:2203.00555, fig. 2, decoder-only, post-LayerNorm. The model multiplies
    its stream by alpha = (2 L)^1/4 where a branch is added.
    """
    if _outside_blocks(weight):
        return Draw(_outside_std(weight))
    factor = 1.0 if weight.role in ("q", "k") else (8 * weight.n_layer) ** -0.25
    return Draw(_xavier_std(weight) * factor)


def _small_init_std(weight: Weight) -> float:
    return float(np.sqrt(2 / (5 * weight.n_embd)))


@rule("blocks")
def small_init(weight: Weight) -> Draw:
    """Give sqrt(2 / (5 d)) everywhere (Nguyen & Salazar 2019, arXiv:1910.05895)."""
    return Draw(_small_init_std(weight))


@rule("blocks")
def small_wang(weight: Weight) -> Draw:
    """Give `small_init`, and 2 / (L sqrt(d)) where a branch ends.

    Black et al. (2022), arXiv:2204.06745, section 2.1, which names the MLP's; GPT-NeoX's
    ``wang_init`` is given to both.
    """
    if weight.role in BRANCH_ENDS:
        return Draw(float(2 / (weight.n_layer * np.sqrt(weight.n_embd))))
    return Draw(_small_init_std(weight))


@rule("blocks")
def spike_no_more(weight: Weight) -> Draw:
    """Give `small_init`, / sqrt(2 L) where a branch ends, and embeddings std 1.

    Takase et al. (2023), arXiv:2312.16903, who ask for embeddings of a std close to 1:
    sqrt(2 / 5) if those of ``small_init`` are scaled by sqrt(d).
    """
    if weight.role == "embedding":
        return Draw(1.0)
    scale = np.sqrt(weight.n_branches) if weight.role in BRANCH_ENDS else 1.0
    return Draw(_small_init_std(weight) / scale)


@rule("blocks")
def mup(weight: Weight, *, base_width: int, std: float = 0.02) -> Draw:
    """Give std in embeddings and output, std / sqrt(m) in the blocks, m = width / base_width.

    Yang et al. (2022), arXiv:2203.03466, table 8. The initialization alone: learning rates and
    multipliers are in :func:`~initscope.theory.mu_parametrization`.
    """
    if _outside_blocks(weight):
        return Draw(std)
    return Draw(std / np.sqrt(weight.n_embd / base_width))


@rule(
    "blocks",
    branch_multiplier=lambda n_layer, base_depth, **options: base_depth / n_layer,
)
def completep(weight: Weight, *, base_width: int, base_depth: int, std: float = 0.02) -> Draw:
    """Give the stds of `mup`, for a model whose branches are multiplied by base_depth / n_layer.

    Dey et al. (2025), arXiv:2505.01618, table 1. The depth is in the multiplier, which is the
    model's; no std depends on `base_depth`.
    """
    return mup(weight, base_width=base_width, std=std)


SCHEMES: Mapping[str, Rule] = MappingProxyType(RULES)
"""Initialization rules by name.

================== ========================== ====================================================
rule               std of a weight            options (default)
================== ========================== ====================================================
``normal``         std                        `std`
``lecun``          gain / √fan_in             `gain` (1), `distribution` (``"normal"``)
``xavier``         gain √(2 / (fan_in +       `gain` (1), `distribution` (``"normal"``)
                   fan_out))
``kaiming``        gain / √fan                `gain` (√2), `mode` (``"fan_in"``), `distribution`
                                              (``"normal"``)
``orthogonal``     gain / √max(rows, columns) `gain` (1)
``trunc_normal``   std                        `std` (0.02)
``gpt2``           std; where a branch ends   `std` (0.02), `residual_scaling` (True)
                   std / √(2 L)
``lir``            std / √l                   `std` (0.02)
``ds_init``        Xavier / √l
``t_fixup``        Xavier; value, attention
                   output and MLP times
                   0.67 / L^(1/4)
``fixup``          first of a branch times
                   1 / √(2 L), last 0
``deepnorm``       Xavier; value, attention
                   output and MLP times
                   1 / (8 L)^(1/4)
``small_init``     √(2 / (5 d))
``small_wang``     as ``small_init``; where a
                   branch ends 2 / (L √d)
``spike_no_more``  as ``small_init``; where a
                   branch ends over √(2 L);
                   embeddings 1
``mup``            std / √(d / base_width)    `base_width`, `std` (0.02)
                   in blocks, std outside
``completep``      as ``mup``                 `base_width`, `base_depth`, `std` (0.02)
================== ========================== ====================================================

L is the number of blocks, d their width, l = 1 ... L the block. `mode` is one of :data:`MODES`,
`distribution` one of :data:`DISTRIBUTIONS`; what has no default must be given. ``trunc_normal``
cuts a normal distribution at two of its stds, and `std` is that of what remains. From ``gpt2`` on,
a rule sets a whole model: embeddings, and norms to gain 1 and bias 0; from ``lir`` on it needs
residual blocks.

Sources: LeCun et al. (1998, eq. 16); Glorot & Bengio (2010, eq. 12); He et al. (2015, eqs. 10
and 14); Saxe et al. (2014, arXiv:1312.6120); Radford et al. (2019, section 2.3), ``gpt2``; Owen et
al. (2025, arXiv:2503.17500), ``lir``; Zhang, Titov & Sennrich (2019, arXiv:1908.11365),
``ds_init``; Huang et al. (2020, PMLR 119:4475), ``t_fixup``; Zhang, Dauphin & Ma (2019,
arXiv:1901.09321), ``fixup``; Wang et al. (2022, arXiv:2203.00555), ``deepnorm``; Nguyen & Salazar
(2019, arXiv:1910.05895), ``small_init``; Black et al. (2022, arXiv:2204.06745), ``small_wang``;
Takase et al. (2023, arXiv:2312.16903), ``spike_no_more``; Yang et al. (2022, arXiv:2203.03466),
``mup``; Dey et al. (2025, arXiv:2505.01618), ``completep``.
"""

ALIASES: Mapping[str, str] = MappingProxyType({"he": "kaiming", "glorot": "xavier"})
"""Other names that rules are called by, and theirs in :data:`SCHEMES`."""


def rule_name(scheme: object) -> str:
    """Return the name in :data:`SCHEMES` of a rule, given that or an alias."""
    require_name("scheme", scheme, [*SCHEMES, *ALIASES])
    return ALIASES.get(str(scheme), str(scheme))


DEPTH_RULES: Mapping[str, Rule] = MappingProxyType(
    {name: known for name, known in SCHEMES.items() if known.scope != "layers"}
)
"""Rules that set a whole model, by name: those that :func:`depth_scaling` takes.

They are the rules of :data:`SCHEMES` from ``gpt2`` on.
"""


def check_options(scheme: str, options: Mapping[str, object]) -> dict[str, Any]:
    """Return the options of a rule as they are used.

    Parameters
    ----------
    scheme
        One of :data:`SCHEMES`, or of :data:`ALIASES`.
    options
        Values by name.

    Raises
    ------
    UsageError
        Unknown scheme or option, a value out of range, or an option missing.

    Examples
    --------
    >>> check_options("kaiming", {"gain": 1, "mode": "fan_out"})
    {'gain': 1.0, 'mode': 'fan_out'}
    """
    scheme = rule_name(scheme)
    known = SCHEMES[scheme]
    checks.mapping("options", options)
    for name in options:
        if name not in known.options:
            raise unknown_name(f"option of scheme {scheme!r}", name, known.options)
    missing = [name for name in known.needs if name not in options]
    if missing:
        raise UsageError(
            f"scheme {scheme!r} needs {' and '.join(missing)}: give "
            f"{', '.join(f'{name}=...' for name in missing)}."
        )
    return {name: known.check_option(name, value) for name, value in options.items()}
