"""Rules that set the std of a transformer's matrices by depth or width, as numbers."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from initscope.checks import (
    MOST_LAYERS,
    Array,
    ArrayLike,
    one,
    plain,
    positive,
    require_name,
    together,
    whole,
)

__all__ = [
    "DEPTH_RULES",
    "DepthScaling",
    "MuParametrization",
    "depth_scaling",
    "mu_parametrization",
]


class DepthScaling(NamedTuple):
    """Stds of one transformer under a rule.

    Attributes
    ----------
    query_key, value, attention_out, mlp_in, mlp_out
        Std per element of each matrix in every block, shape ``(n_layer,)``. `mlp_in` is
        ``(n_embd, 4 n_embd)``, `mlp_out` the reverse.
    embedding
        Std of the token embeddings.
    residual_multiplier
        Factor on the stream where a branch is added: ``x * residual_multiplier + branch``.
    """

    query_key: Array
    value: Array
    attention_out: Array
    mlp_in: Array
    mlp_out: Array
    embedding: float
    residual_multiplier: float


def _xavier(fan_in: float, fan_out: float) -> float:
    return float(np.sqrt(2 / (fan_in + fan_out)))


def _constant(n_layer: int, n_embd: int, std: float) -> DepthScaling:
    same = np.full(n_layer, std)
    return DepthScaling(same, same, same, same, same, std, 1.0)


def _gpt2(n_layer: int, n_embd: int, std: float) -> DepthScaling:
    same = np.full(n_layer, std)
    out = same / np.sqrt(2 * n_layer)
    return DepthScaling(same, same, out, same, out, std, 1.0)


def _lir(n_layer: int, n_embd: int, std: float) -> DepthScaling:
    falling = std / np.sqrt(np.arange(1, n_layer + 1))
    return DepthScaling(falling, falling, falling, falling, falling, std, 1.0)


def _ds_init(n_layer: int, n_embd: int, std: float) -> DepthScaling:
    depth = np.sqrt(np.arange(1, n_layer + 1))
    square, wide = _xavier(n_embd, n_embd) / depth, _xavier(n_embd, 4 * n_embd) / depth
    return DepthScaling(square, square, square, wide, wide, n_embd**-0.5, 1.0)


def _t_fixup(n_layer: int, n_embd: int, std: float) -> DepthScaling:
    ones = np.ones(n_layer)
    square, wide = _xavier(n_embd, n_embd) * ones, _xavier(n_embd, 4 * n_embd) * ones
    factor = 0.67 * n_layer**-0.25
    embedding = n_embd**-0.5 * (9 * n_layer) ** -0.25
    return DepthScaling(
        square, square * factor, square * factor, wide * factor, wide * factor, embedding, 1.0
    )


def _fixup(n_layer: int, n_embd: int, std: float) -> DepthScaling:
    branches = 2 * n_layer
    factor = branches**-0.5  # L^(-1/(2m - 2)) with m = 2 matrices in a branch
    zero = np.zeros(n_layer)
    ones = np.ones(n_layer)
    square = n_embd**-0.5 * ones
    return DepthScaling(
        square, square * factor, zero, np.sqrt(2.0) * square * factor, zero, n_embd**-0.5, 1.0
    )


def _deepnorm(n_layer: int, n_embd: int, std: float) -> DepthScaling:
    beta = (8 * n_layer) ** -0.25
    ones = np.ones(n_layer)
    square, wide = _xavier(n_embd, n_embd) * ones, _xavier(n_embd, 4 * n_embd) * ones
    return DepthScaling(
        square,
        beta * square,
        beta * square,
        beta * wide,
        beta * wide,
        n_embd**-0.5,
        float((2 * n_layer) ** 0.25),
    )


def _small_init(n_layer: int, n_embd: int, std: float) -> DepthScaling:
    small = float(np.sqrt(2 / (5 * n_embd)))
    return _constant(n_layer, n_embd, small)


def _small_wang(n_layer: int, n_embd: int, std: float) -> DepthScaling:
    small = float(np.sqrt(2 / (5 * n_embd)))
    same = np.full(n_layer, small)
    out = np.full(n_layer, 2 / (n_layer * np.sqrt(n_embd)))
    return DepthScaling(same, same, out, same, out, small, 1.0)


def _spike_no_more(n_layer: int, n_embd: int, std: float) -> DepthScaling:
    small = float(np.sqrt(2 / (5 * n_embd)))
    same = np.full(n_layer, small)
    out = same / np.sqrt(2 * n_layer)
    return DepthScaling(same, same, out, same, out, 1.0, 1.0)


DEPTH_RULES: dict[str, Callable[[int, int, float], DepthScaling]] = {
    "constant": _constant,
    "gpt2": _gpt2,
    "lir": _lir,
    "ds_init": _ds_init,
    "t_fixup": _t_fixup,
    "fixup": _fixup,
    "deepnorm": _deepnorm,
    "small_init": _small_init,
    "small_wang": _small_wang,
    "spike_no_more": _spike_no_more,
}
"""Rules by name."""


def depth_scaling(rule: str, n_layer: int, n_embd: int, std: float = 0.02) -> DepthScaling:
    r"""Stds that a depth-scaling rule gives the matrices of a decoder-only transformer.

    ================= ==================================================================
    rule              what it does; L = `n_layer`, d = `n_embd`, l = 1 ... L, s = `std`
    ================= ==================================================================
    ``constant``      s everywhere
    ``gpt2``          s; matrices that write to the stream s / sqrt(2 L) (Radford et al.
                      2019, section 2.3)
    ``lir``           Layer Index Rescaling: all matrices of block l s / sqrt(l) (Owen et
                      al. 2025, arXiv:2503.17500)
    ``ds_init``       Xavier / sqrt(l) (Zhang, Titov & Sennrich 2019, arXiv:1908.11365)
    ``t_fixup``       Xavier; value, output and MLP matrices times .67 L^-1/4, embeddings
                      (std d^-1/2) times (9 L)^-1/4; no LayerNorm (Huang et al. 2020,
                      ICML, for layers of one attention and one MLP branch; in the
                      paper's decoder, with two attention branches, the matrices have
                      (9 L)^-1/4 as well)
    ``fixup``         first matrix of each branch (fan-in^-1/2, He's for the MLP) times
                      (2 L)^(-1 / (2 m - 2)) for 2 L branches of m = 2 matrices, last
                      matrix 0; no LayerNorm (Zhang, Dauphin & Ma 2019, arXiv:1901.09321)
    ``deepnorm``      Xavier; value, output and MLP matrices times beta = (8 L)^-1/4,
                      stream times alpha = (2 L)^1/4, post-LayerNorm (Wang et al. 2022,
                      arXiv:2203.00555, fig. 2, decoder-only)
    ``small_init``    sqrt(2 / (5 d)) everywhere (Nguyen & Salazar 2019, arXiv:1910.05895)
    ``small_wang``    ``small_init``; writing matrices 2 / (L sqrt(d)) (Black et al. 2022,
                      arXiv:2204.06745, section 2.1, which names the MLP's; GPT-NeoX's
                      ``wang_init`` is given to both)
    ``spike_no_more`` ``small_init``; writing matrices / sqrt(2 L); embeddings of std 1
                      (Takase et al. 2023, arXiv:2312.16903, who ask for a std close to
                      1: sqrt(2 / 5) if ``small_init`` embeddings are scaled by sqrt(d))
    ================= ==================================================================

    Parameters
    ----------
    rule
        One of the names above.
    n_layer, n_embd
        Blocks and channels; the MLP is 4 n_embd wide.
    std
        Base std, for the rules that take one.

    Returns
    -------
    DepthScaling
        Stds per element by matrix and block.

    Raises
    ------
    UsageError
        Unknown rule; counts or std not above 0.

    Notes
    -----
    Uniform draws of the original papers (DS-Init, T-Fixup) are given by their std.

    Examples
    --------
    >>> scaling = depth_scaling("gpt2", 12, 768)
    >>> print(f"{scaling.query_key[0]:.3f} {scaling.mlp_out[0]:.5f}")
    0.020 0.00408
    >>> print(f"{depth_scaling('deepnorm', 100, 512).residual_multiplier:.3f}")
    3.761
    """
    require_name("depth-scaling rule", rule, DEPTH_RULES)
    depth, channels = whole("n_layer", n_layer, at_most=MOST_LAYERS), whole("n_embd", n_embd)
    return DEPTH_RULES[rule](depth, channels, one("std", positive("std", std)))


class MuParametrization(NamedTuple):
    """Stds, learning rates and multipliers under the maximal update parametrization, for Adam."""

    embedding_std: Array
    hidden_std: Array
    output_std: Array
    embedding_lr: Array
    hidden_lr: Array
    output_lr: Array
    logit_multiplier: Array
    attention_multiplier: Array


def mu_parametrization(
    width: ArrayLike,
    base_width: ArrayLike,
    std: ArrayLike = 0.02,
    lr: ArrayLike = 1e-3,
    head_dim: ArrayLike = 64,
) -> MuParametrization:
    r"""Maximal update parametrization with Adam, in terms of the width multiple m.

    With m = `width` / `base_width`, hidden matrices get variance s^2 / m and learning rate
    eta / m; embeddings keep s and eta; logits are divided by m and the output matrix keeps s and
    eta; attention logits are q.k / d_head instead of / sqrt(d_head) (Yang et al. 2022,
    arXiv:2203.03466, table 8 and definition 4.1). What is best for `base_width` then stays best.

    Parameters
    ----------
    width, base_width
        Channels of the model, and of the one its `std` and `lr` were chosen for; arrays broadcast.
    std, lr
        Std and learning rate at `base_width`.
    head_dim
        Width of an attention head.

    Raises
    ------
    UsageError
        Values not above 0.

    Examples
    --------
    >>> wide = mu_parametrization(1024, 256)
    >>> print(f"{wide.hidden_std:.3f} {wide.hidden_lr:.5f} {wide.logit_multiplier:.2f}")
    0.010 0.00025 0.25
    """
    channels, base = positive("width", width), positive("base_width", base_width)
    base_std, rate = positive("std", std), positive("lr", lr)
    head = positive("head_dim", head_dim)
    together(width=channels, base_width=base, std=base_std, lr=rate, head_dim=head)
    multiple, base_std, rate, head = np.broadcast_arrays(channels / base, base_std, rate, head)
    return MuParametrization(
        *map(
            plain,
            (
                base_std,
                base_std / np.sqrt(multiple),
                base_std,
                rate,
                rate / multiple,
                rate,
                1 / multiple,
                1 / head,
            ),
        )
    )
