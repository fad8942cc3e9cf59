"""What a configuration and an optimizer say of every weight matrix, before a step is taken."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from initscope import checks
from initscope.analysis.trajectories import weight_std
from initscope.checks import require, require_name, whole
from initscope.errors import UsageError
from initscope.memory import require_memory
from initscope.predict.config import TransformerConfig
from initscope.schema import COLUMNS
from initscope.theory import (
    NUMBER_FORMATS,
    adamw_equilibrium_rms,
    adamw_rotation,
    adamw_update_rms,
    adamw_variance_trajectory,
    attention_logit_variance,
    data_memory,
    initial_loss,
    residual_gradient_variance,
    residual_stream_variance,
    weight_gradient_variance,
)
from initscope.theory.adamw import check_betas
from initscope.theory.learning_rates import SCHEDULES, learning_rates

__all__ = ["ModelPrediction", "predict", "unchanged_share"]

SIGNIFICANT_BITS = {"float32": 24, "bfloat16": 8, "float16": 11}
SEQUENCE = 256
"""Tokens of a sequence unless the caller says how many, or the model takes fewer."""

MOST_PAIRS = 100_000_000
"""Pairs of positions in all blocks, each of which takes a few hundred operations."""

LARGEST = 1e3
"""Of a learning rate or a weight decay."""

NEAR = 0.1
"""A std this close to its equilibrium, as a share of it, is said to be there."""

ROLES_OF_GRADIENTS = {
    "q": "query",
    "k": "key",
    "v": "value",
    "attention_out": "attention_output",
    "mlp_in": "mlp_input",
    "mlp_gate": "mlp_gate",
    "mlp_out": "mlp_output",
}


@dataclass(frozen=True, eq=False)
class ModelPrediction:
    """What is expected of a transformer at its start and in training with AdamW.

    Attributes
    ----------
    config
        The sizes it follows from.
    blocks
        One row for the embeddings (0) and for each block: ``signal_std``, std of the stream after
        it; ``signal_largest``, what the largest of all its elements comes to; ``logit_std``, of the
        attention logits in the block; ``gradient_std``, of the gradient of the mean loss;
        ``overflows`` and ``underflows``, whether the number format holds the largest element and
        the gradient. Empty where the blocks of the family are not known.
    matrices
        One row a weight matrix: ``layer, role, rows, columns, std_start``; ``gradient_rms``, rms of
        its gradient at the start, NaN where it is not known; and, with a learning rate,
        ``std_equilibrium``; ``steps_to_equilibrium``, updates at the peak rate until the std is
        within a tenth of it; with steps ``std_end`` and ``unchanged_end``, the share of the weights
        that an update at the rates of the last fifth of the run would leave as they are if they are
        kept in the number format.
    initial_loss
        Cross-entropy at the start, nats; NaN where it is not known.
    start_left
        Factor of the initial weights in the final ones; NaN without steps.
    rotation
        Angle in radians by which a matrix turns in one update at equilibrium and the peak rate.
    time_constant
        Updates in which the distance of the variance from equilibrium falls to 1/e.
    notes
        What is left out, or stands on an assumption of ours, a sentence each.
    learning_rates, weight_decay, betas
        Of the updates, in order; empty without steps.
    """

    config: TransformerConfig
    blocks: pd.DataFrame
    matrices: pd.DataFrame
    initial_loss: float
    start_left: float
    rotation: float
    time_constant: float
    notes: tuple[str, ...]
    learning_rates: np.ndarray = field(repr=False)
    weight_decay: float
    betas: tuple[float, float]

    def variances(self, steps: Sequence[int] | None = None) -> pd.DataFrame:
        """Return the expected std of every matrix, a table as a tracker writes it.

        Parameters
        ----------
        steps
            Numbers of updates; by default 51, evenly spaced.

        Returns
        -------
        pandas.DataFrame
            Columns ``step, layer, role, kind, stat, value``, of kind ``weight`` and stat ``std``.

        Raises
        ------
        UsageError
            Without a learning rate and a number of updates, or steps beyond it.

        Examples
        --------
        >>> model = {"model_type": "gpt2", "n_layer": 1, "n_embd": 8, "n_head": 2, "vocab_size": 9}
        >>> found = predict(model, learning_rate=1e-3, weight_decay=0.1, steps=100)
        >>> found.variances([0, 100]).query("role == 'q'")["value"].round(4).to_list()
        [0.02, 0.0211]
        """
        n_steps = len(self.learning_rates)
        require(n_steps > 0, "to follow the std, predict it with a learning_rate and steps.")
        if steps is None:
            wanted = np.unique(np.linspace(0, n_steps, 51).round().astype(int))
        else:
            numbers = [whole("steps: each", step, 0) for step in checks.items("steps", steps, 1)]
            wanted = np.unique(numbers)
            require(
                wanted[-1] <= n_steps,
                f"steps holds {wanted[-1]:,}, but the prediction ends after {n_steps:,} updates.",
            )
        starts = self.matrices["std_start"].to_numpy()
        different, which = np.unique(starts, return_inverse=True)
        std = np.column_stack([different, self._std(different)])[:, wanted]
        table = pd.DataFrame(
            {
                "step": np.tile(wanted, len(starts)),
                "layer": np.repeat(self.matrices["layer"].to_numpy(), len(wanted)),
                "role": np.repeat(self.matrices["role"].to_numpy(), len(wanted)),
                "kind": "weight",
                "stat": "std",
                "value": std[which].ravel(),
            }
        )
        ordered = table.sort_values("step", kind="stable", ignore_index=True)
        return ordered[list(COLUMNS)]

    def _std(self, std0: np.ndarray) -> np.ndarray:
        """Return the std after each update, a row for each of `std0`."""
        return np.sqrt(
            adamw_variance_trajectory(std0, self.learning_rates, self.weight_decay, self.betas)
        )

    def beside(self, record: pd.DataFrame) -> pd.DataFrame:
        """Return the std of a record beside the expected one, and their ratio.

        Parameters
        ----------
        record
            What :func:`initscope.tracking.read_variances` returns, or the table of a tracker.

        Returns
        -------
        pandas.DataFrame
            One row for each matrix and recorded step that both know: columns ``step, layer, role,
            measured, predicted, ratio``.

        Raises
        ------
        UsageError
            A record without a std of one of these matrices, or of more updates than predicted.

        Examples
        --------
        >>> model = {"model_type": "gpt2", "n_layer": 1, "n_embd": 8, "n_head": 2, "vocab_size": 9}
        >>> found = predict(model, learning_rate=1e-3, weight_decay=0.1, steps=100)
        >>> measured = found.variances([0, 50]).assign(value=lambda rows: 1.1 * rows["value"])
        >>> found.beside(measured)["ratio"].round(3).unique().tolist()
        [1.1]
        """
        measured = weight_std(record)
        predicted = weight_std(self.variances([int(step) for step in measured.columns]))
        shared = measured.index.intersection(predicted.index)
        require(
            len(shared) > 0,
            "the record has none of the matrices of this configuration: its roles are "
            f"{', '.join(sorted(set(measured.index.get_level_values('role')))[:10])}.",
        )
        both = pd.DataFrame(
            {
                "measured": measured.loc[shared].stack(),  # noqa: PD013
                "predicted": predicted.loc[shared].stack(),  # noqa: PD013
            }
        ).reset_index()
        both["ratio"] = both["measured"] / both["predicted"]
        columns = ["step", "layer", "role", "measured", "predicted", "ratio"]
        return both.sort_values(["step", "layer", "role"], ignore_index=True)[columns]


def predict(
    config: Any,
    *,
    learning_rate: float | None = None,
    weight_decay: float = 0.0,
    steps: int | None = None,
    schedule: str = "cosine",
    warmup_steps: int = 0,
    final_learning_rate: float | None = None,
    betas: tuple[float, float] = (0.9, 0.999),
    epsilon: float = 1e-8,
    dtype: str = "bfloat16",
    seq_len: int | None = None,
    batch_tokens: int | None = None,
    std: float | None = None,
    residual_scaling: bool | None = None,
) -> ModelPrediction:
    r"""Say what a transformer does at its start, and where AdamW takes its weights.

    At the start: the variance of the stream and of its gradient after each block
    (:func:`~initscope.theory.residual_stream_variance`,
    :func:`~initscope.theory.residual_gradient_variance`), with biases of 0 and tokens that differ.
    In training: the std of each matrix if gradients are noise
    (:func:`~initscope.theory.adamw_variance_trajectory`), which is where matrices without a drift
    go, and others start from.

    Parameters
    ----------
    config
        A config.json of transformers or the folder it is in, a mapping of its values, or the
        configuration itself.
    learning_rate, weight_decay, betas, epsilon
        Of AdamW; the learning rate is the peak.
    steps
        Updates.
    schedule, warmup_steps, final_learning_rate
        Linear warm-up over so many updates, then ``"cosine"``, ``"linear"``, ``"wsd"`` (linear over
        the last fifth) to the final rate (0 by default), or ``"constant"``.
    dtype
        Number format that the network is computed in, one of
        :data:`initscope.theory.NUMBER_FORMATS`.
    seq_len
        Tokens of a sequence; 256, or as many as the model takes.
    batch_tokens
        Tokens over which the loss is a mean; one sequence by default.
    std, residual_scaling
        In place of what the configuration and the family say.

    Returns
    -------
    ModelPrediction

    Raises
    ------
    UsageError
        No such file, no sizes in it, an unknown number format or schedule, a number out of range.

    Notes
    -----
    Measured on models of width 128 of std .05 without residual scaling, means over 16 draws: signal
    and gradient of the stream and of v are within 25% in mean square, those of q and k within 20%
    in OPT. Rotated by their positions keys keep what they share, which is left out: q and k receive
    up to 1.5 times as much in the last of four blocks of a Llama.

    Examples
    --------
    >>> model = {"model_type": "gpt2", "n_layer": 12, "n_embd": 768, "n_head": 12,
    ...          "vocab_size": 50257, "n_positions": 1024}
    >>> found = predict(model, learning_rate=6e-4, weight_decay=0.1, steps=5000, seq_len=64)
    >>> print(found.blocks[["block", "signal_std", "gradient_std"]].iloc[[0, 12]].round(6))
        block  signal_std  gradient_std
    0       0    0.028284      0.011023
    12     12    0.299485      0.001043
    >>> print(found.matrices.query("layer == 1 and role in ['q', 'mlp_out']").iloc[:, [1, 4, 6]])
          role  std_start  std_equilibrium
    2        q   0.020000         0.054758
    7  mlp_out   0.004082         0.054758
    """
    sizes = TransformerConfig.read(config)
    require_name("number format", dtype, NUMBER_FORMATS)
    require_name("schedule", schedule, SCHEDULES)
    given = checks.weight_std("std", sizes.std if std is None else std)
    require(given > 0, "std must be above 0.")
    scaling = sizes.residual_scaling
    if residual_scaling is not None:
        scaling = checks.flag("residual_scaling", residual_scaling)
    longest = sizes.n_positions or SEQUENCE
    length = min(SEQUENCE, longest) if seq_len is None else whole("seq_len", seq_len)
    require(
        length <= longest or not sizes.learned_positions,
        f"seq_len is {length:,}, and the model takes {longest:,} tokens.",
    )
    require(
        sizes.unknown != "" or sizes.n_layer * length**2 <= MOST_PAIRS,
        f"seq_len = {length:,} with {sizes.n_layer:,} blocks would take long: {SEQUENCE} tokens "
        f"say nearly the same.",
    )
    tokens = length if batch_tokens is None else whole("batch_tokens", batch_tokens)
    for name, beta in zip(("beta1", "beta2"), check_betas(betas), strict=True):
        checks.one(name, beta)
    epsilon = checks.number("epsilon", epsilon, 0.0)
    require_memory(1000 * sizes.n_layer, f"n_layer = {sizes.n_layer:,}")
    notes = []
    writes = given / math.sqrt(2 * sizes.n_layer) if scaling else given
    matrices = _matrices(sizes, given, writes)

    blocks = pd.DataFrame(
        columns=[
            *("block", "signal_std", "signal_largest", "logit_std", "gradient_std"),
            *("overflows", "underflows"),
        ]
    )
    matrices["gradient_rms"] = np.nan
    if sizes.unknown:
        notes.append(f"Signal and gradients are left out: {sizes.unknown}.")
    else:
        blocks, gradients = _start(sizes, given, writes, length, tokens, dtype)
        for role, values in gradients.items():
            rows = matrices["role"] == role
            matrices.loc[rows, "gradient_rms"] = values[matrices["layer"][rows] - 1]
        if bool(blocks["overflows"].any()):
            notes.append(f"The stream leaves the range of {dtype}.")
        if bool(blocks["underflows"].any()):
            notes.append(
                f"The gradient along the stream is below the smallest normal {dtype}: scale the "
                f"loss."
            )
    if (matrices["gradient_rms"] < 10 * epsilon).any():
        notes.append(
            f"Some gradients are below ten times epsilon {epsilon:g}, so that steps are shorter "
            f"than the std here says."
        )
    loss = math.nan
    if sizes.vocab_size:
        try:
            loss = float(initial_loss(sizes.vocab_size, sizes.n_embd, given))
        except UsageError:
            notes.append("The output logits are too large for a prediction of the loss.")

    rates = np.empty(0)
    rotation = time_constant = start_left = math.nan
    decay = checks.number("weight_decay", weight_decay, 0.0, LARGEST)
    if learning_rate is None:
        require(steps is None, "steps are of no use without a learning_rate.")
    else:
        peak = checks.number("learning_rate", learning_rate, 0.0, LARGEST)
        require(peak > 0, "learning_rate must be above 0.")
        final = peak if schedule == "constant" else 0.0
        if final_learning_rate is not None:
            final = checks.number("final_learning_rate", final_learning_rate, 0.0, peak)
        equilibrium = float(adamw_equilibrium_rms(peak, decay, betas=betas))
        rotation = float(adamw_rotation(peak, decay, betas))
        time_constant = 1 / (2 * peak * decay) if decay else math.inf
        matrices["std_equilibrium"] = equilibrium
        matrices["steps_to_equilibrium"] = [
            _steps_to(equilibrium, start, time_constant) for start in matrices["std_start"]
        ]
        if not decay:
            notes.append("Without weight decay there is no equilibrium: the weights only grow.")
        if steps is not None:
            n_steps = whole("steps", steps)
            warmup = whole("warmup_steps", warmup_steps, 0)
            require(warmup <= n_steps, f"warmup_steps is {warmup:,} of {n_steps:,} steps.")
            require_memory(500.0 * n_steps, f"steps = {n_steps:,}")
            rates = np.asarray(learning_rates(peak, schedule, n_steps, warmup, final / peak))
            start_left = float(data_memory(rates, decay).start)
    found = ModelPrediction(
        sizes,
        blocks,
        matrices,
        loss,
        start_left,
        rotation,
        time_constant,
        tuple(notes),
        rates,
        decay,
        (float(betas[0]), float(betas[1])),
    )
    if len(rates):
        late = float(np.median(rates[-max(1, len(rates) // 5) :])) * float(adamw_update_rms(betas))
        different, which = np.unique(matrices["std_start"], return_inverse=True)
        ends = found._std(different)[:, -1]
        shares = np.array(
            [
                unchanged_share(float(end), late, dtype) if np.isfinite(end) else np.nan
                for end in ends
            ]
        )
        matrices["std_end"] = ends[which]
        matrices["unchanged_end"] = shares[which]
    return found


def _matrices(sizes: TransformerConfig, std: float, writes: float) -> pd.DataFrame:
    """Return the weight matrices: layer, role, shape, std at the start."""
    d, heads = sizes.n_embd, sizes.n_head * sizes.head_dim
    keys = sizes.n_kv_head * sizes.head_dim
    block = [
        ("q", heads, d, std),
        ("k", keys, d, std),
        ("v", keys, d, std),
        ("attention_out", d, heads, writes),
        *([("mlp_gate", sizes.mlp_width, d, std)] if sizes.gated else []),
        ("mlp_in", sizes.mlp_width, d, std),
        ("mlp_out", d, sizes.mlp_width, writes),
    ]
    rows = []
    if sizes.vocab_size:
        rows.append((0, "token_embedding", sizes.vocab_size, d, std))
    if sizes.learned_positions and sizes.n_positions:
        rows.append((0, "position_embedding", sizes.n_positions, d, std))
    rows += [(layer, *one) for layer in range(1, sizes.n_layer + 1) for one in block]
    if sizes.vocab_size and not sizes.tied:
        rows.append((sizes.n_layer + 1, "output", sizes.vocab_size, d, std))
    return pd.DataFrame(rows, columns=["layer", "role", "rows", "columns", "std_start"])


def _start(
    sizes: TransformerConfig, std: float, writes: float, length: int, tokens: int, dtype: str
) -> tuple[pd.DataFrame, dict[str, np.ndarray]]:
    """Return the table of the blocks, and the rms of the gradients of each role, block by block."""
    if sizes.learned_positions:
        positions = std
    elif sizes.scaled_embedding:  # so that both together have n_embd times the variance of one
        positions = std * math.sqrt(sizes.n_embd - 1)
    else:
        positions = 0.0
    model: dict[str, Any] = {
        "std": std,
        "residual_std": writes,
        "position_std": positions,
        "activation": sizes.activation,
        "mlp_ratio": sizes.mlp_width / sizes.n_embd,
        "layer_norm_epsilon": sizes.epsilon,
        "gated": sizes.gated,
        "attention_ratio": sizes.n_head * sizes.head_dim / sizes.n_embd,
    }
    shape = (sizes.n_layer, sizes.n_embd, length)
    signal = residual_stream_variance(*shape, **model)
    relative = residual_gradient_variance(*shape, **model)
    # A loss that is a mean: softmax less the label, of length about 1 a token, times the output
    # matrix, through the last norm.
    of_one_token = std**2 * (1 - 1 / max(2, sizes.vocab_size or 2**31))
    at_end = of_one_token / (tokens**2 * (signal[-1] + sizes.epsilon))
    gradient = relative * at_end
    largest = np.sqrt(signal) * math.sqrt(2 * math.log(max(2, tokens * sizes.n_embd)))
    held = NUMBER_FORMATS[dtype]
    blocks = pd.DataFrame(
        {
            "block": np.arange(sizes.n_layer + 1),
            "signal_std": np.sqrt(signal),
            "signal_largest": largest,
            "logit_std": np.sqrt(float(attention_logit_variance(sizes.n_embd, std))),
            "gradient_std": np.sqrt(gradient),
            "overflows": largest > held.largest,
            "underflows": np.sqrt(gradient) < held.smallest_normal,
        }
    )
    blocks.loc[0, "logit_std"] = np.nan
    model |= {"n_head": sizes.n_head, "n_kv_head": sizes.n_kv_head}
    squares = weight_gradient_variance(*shape, **model)
    found = {}
    for role, name in ROLES_OF_GRADIENTS.items():
        if (square := getattr(squares, name, None)) is not None:
            found[role] = np.sqrt(tokens * at_end * np.asarray(square))
    return blocks, found


def _steps_to(equilibrium: float, start: float, time_constant: float) -> float:
    """Return the updates until a std is near its equilibrium, from the closed form of slow rates.

    The distance of the variance falls as exp(-t / time constant).
    """
    if not math.isfinite(equilibrium):
        return math.inf
    distance = (start / equilibrium) ** 2 - 1
    near = (1 + math.copysign(NEAR, distance)) ** 2 - 1
    if abs(distance) <= abs(near):
        return 0.0
    return math.ceil(time_constant * math.log(distance / near))


def unchanged_share(std: float, step: float, dtype: str) -> float:
    r"""Return the share of weights that an update leaves as they are, by rounding alone.

    For weights :math:`N(0, \sigma^2)` and updates :math:`N(0, s^2)`: between
    :math:`2^e` and :math:`2^{e+1}` numbers of p significant bits are :math:`2^{e-p+1}` apart, and
    a step of less than half of that is rounded away. Denormal numbers are left out.

    Parameters
    ----------
    std
        Of the weights.
    step
        Rms of the update, learning rate included.
    dtype
        One of :data:`initscope.theory.NUMBER_FORMATS`.

    Raises
    ------
    UsageError
        A negative std or step; an unknown format.

    Examples
    --------
    >>> print(f"{unchanged_share(0.02, 3e-6, 'bfloat16'):.2f}")
    0.96
    """
    require_name("number format", dtype, NUMBER_FORMATS)
    std, step = checks.weight_std("std", std), checks.weight_std("step", step)
    if not std or not step:
        return 0.0 if step else 1.0
    exponent = np.arange(-60, 3) + math.floor(math.log2(std)) + 1
    inside = 2 * np.diff(stats.norm.cdf(2.0**exponent / std))
    half_gap = 2.0 ** (exponent[:-1] - SIGNIFICANT_BITS[dtype])
    return float((inside * (2 * stats.norm.cdf(half_gap / step) - 1)).sum())
