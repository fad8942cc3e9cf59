"""Tabulate what rules that know depth or width give a transformer: stds, rates, multipliers."""

from __future__ import annotations

from typing import Any, NamedTuple

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
from initscope.theory.rule import Weight
from initscope.theory.schemes import DEPTH_RULES, check_options

__all__ = ["DepthScaling", "MuParametrization", "depth_scaling", "mu_parametrization"]


class DepthScaling(NamedTuple):
    """Stds of the matrices of one transformer under a rule, and its multipliers.

    Attributes
    ----------
    query_key, value, attention_out, mlp_in, mlp_out
        Std per element of each matrix in every block, shape ``(n_layer,)``. `mlp_in` is
        ``(n_embd, 4 n_embd)``, `mlp_out` the reverse.
    embedding
        Std of the token embeddings.
    residual_multiplier, branch_multiplier
        Factors of the model where a branch is added:
        ``x * residual_multiplier + branch * branch_multiplier``.
    """

    query_key: Array
    value: Array
    attention_out: Array
    mlp_in: Array
    mlp_out: Array
    embedding: float
    residual_multiplier: float
    branch_multiplier: float = 1.0


def depth_scaling(scheme: str, n_layer: int, n_embd: int, **options: Any) -> DepthScaling:
    r"""Return the stds that a rule gives the matrices of a decoder-only transformer.

    Parameters
    ----------
    scheme
        One of :data:`initscope.theory.DEPTH_RULES`.
    n_layer, n_embd
        Blocks and channels.
    **options
        Options of the rule, for example `std`, above 0.

    Raises
    ------
    UsageError
        Unknown rule or option; sizes below 1; a std not above 0.

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
    require_name("depth-scaling scheme", scheme, DEPTH_RULES)
    known = DEPTH_RULES[scheme]
    depth, channels = whole("n_layer", n_layer, at_most=MOST_LAYERS), whole("n_embd", n_embd)
    if "std" in options:
        options["std"] = one("std", positive("std", options["std"]))
    options = check_options(scheme, options)
    blocks = np.arange(1, depth + 1)

    def std(role: str, fan_in: int = 1, fan_out: int = 1) -> Array:
        weight = Weight(
            fan_in * channels,
            fan_out * channels,
            role,
            0 if role == "embedding" else blocks,
            depth,
            2 * depth,
            channels,
        )
        return np.broadcast_to(known(weight, **options).std, depth)

    return DepthScaling(
        std("q"),
        std("v"),
        std("attention_out"),
        std("mlp_in", fan_out=4),
        std("mlp_out", fan_in=4),
        float(std("embedding")[0]),
        float(known.stream_multiplier(depth, **options)),
        float(known.branch_multiplier(depth, **options)),
    )


class MuParametrization(NamedTuple):
    """Stds, learning rates and multipliers under the maximal update parametrization, for Adam.

    Attributes
    ----------
    embedding_std, hidden_std, output_std
        Std per element of the embeddings, of the matrices in the blocks, and of the output matrix.
    embedding_lr, hidden_lr, output_lr
        Learning rates of the same.
    logit_multiplier
        Factor on the logits of the vocabulary.
    attention_multiplier
        Factor on q.k in the logits of attention.
    """

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
    r"""Return the maximal update parametrization with Adam, by the width multiple m.

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
