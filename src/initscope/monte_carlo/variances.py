"""Variances measured in many random networks at once, to hold against :mod:`initscope.theory`.

Nothing is trained: a network is drawn, a signal is sent forward and a gradient back, and the mean
square of each layer is written down. All networks of a call go through one batched product a
layer. Network k of a seed has the same standard-normal draws whatever its std and however many
networks follow it.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch

from initscope import checks
from initscope.checks import (
    is_number,
    layer_widths,
    nonnegative,
    one,
    positive,
    require,
    require_name,
)
from initscope.errors import UsageError, shown
from initscope.memory import require_memory
from initscope.models.mlp import ACTIVATIONS
from initscope.theory import NUMBER_FORMATS, Propagation, WidthInterval
from initscope.theory.schemes import layer_stds

__all__ = [
    "CHUNK_BYTES",
    "DIRECTIONS",
    "TORCH_FORMATS",
    "compare",
    "correlation_profiles",
    "representable_band",
    "residual_profiles",
    "variance_profiles",
]

CHUNK_BYTES = 64_000_000
"""Memory for the weights of the networks that are computed at once."""

LARGEST_STD = 1e30
"""Beyond it the variance of a few layers leaves the range of floats."""

DIRECTIONS = ("forward", "backward")

FloatArray = npt.NDArray[np.float64]


class _Networks(NamedTuple):
    """Standard-normal draws of a few networks; the first axis counts the networks."""

    weights: list[torch.Tensor]
    biases: list[torch.Tensor]
    inputs: torch.Tensor
    gradients: torch.Tensor


def _draw(sizes: Sequence[int], networks: int, seed: int, vectors: int = 1) -> Iterator[_Networks]:
    """Draw `networks` networks and send them in chunks of at most `CHUNK_BYTES`.

    Inputs have shape ``(chunk, n_0, vectors)``, gradients ``(chunk, n_L, 1)``.
    """
    generator = torch.Generator().manual_seed(int(seed))
    weights = [(after, before) for before, after in itertools.pairwise(sizes)]
    biases = [(after, 1) for after, _ in weights]
    shapes = [(sizes[0], vectors), (sizes[-1], 1), *weights, *biases]
    numbers = [math.prod(shape) for shape in shapes]
    at_once = max(1, CHUNK_BYTES // (8 * sum(numbers)))
    for first in range(0, networks, at_once):
        # To draw takes most of the time, and in float32 a quarter of that in float64.
        drawn = torch.empty(min(at_once, networks - first), sum(numbers))
        for network in drawn:
            torch.randn(len(network), generator=generator, out=network)
        inputs, gradients, *rest = (
            part.unflatten(1, shape).double()
            for part, shape in zip(drawn.split(numbers, 1), shapes, strict=True)
        )
        yield _Networks(rest[: len(weights)], rest[len(weights) :], inputs, gradients)


def _with_mean_square(vectors: torch.Tensor, mean_square: float) -> torch.Tensor:
    """`vectors`, along the second axis, scaled to a mean square."""
    return vectors * (mean_square / vectors.square().mean(1, keepdim=True)).sqrt()


def _product(left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
    """Products of matrices, added up in float32 at least and rounded to their format.

    A processor's own product of bfloat16 matrices may take subnormal numbers for 0, or may not.
    """
    if left.dtype.itemsize >= 4:
        return torch.bmm(left, right)
    return torch.bmm(left.float(), right.float()).to(left.dtype)


def _forward(
    chunk: _Networks,
    weight_std: Sequence[float] | torch.Tensor,
    bias_std: Sequence[float],
    activate: Callable[[torch.Tensor], torch.Tensor],
    inputs: torch.Tensor,
) -> list[torch.Tensor]:
    """The pre-activations z_1 to z_L for `inputs` of shape ``(chunk, n_0, vectors)``."""
    found = []
    hidden = inputs
    for weight, bias, scale, bias_scale in zip(
        chunk.weights, chunk.biases, weight_std, bias_std, strict=True
    ):
        z = _product(weight, hidden) * scale
        if bias_scale:
            z = z + bias_scale * bias
        found.append(z)
        hidden = activate(z)
    return found


def _backward(
    chunk: _Networks,
    weight_std: Sequence[float] | torch.Tensor,
    activate: Callable[[torch.Tensor], torch.Tensor],
    pre_activations: list[torch.Tensor],
    gradient: torch.Tensor,
) -> list[torch.Tensor]:
    """Gradients at x and at z_1 to z_L for `gradient` at z_L."""
    found = [gradient]
    for k in range(len(chunk.weights) - 1, -1, -1):
        gradient = _product(chunk.weights[k].mT, gradient) * weight_std[k]
        if k:
            with torch.enable_grad():
                z = pre_activations[k - 1].detach().requires_grad_()
                (gradient,) = torch.autograd.grad(activate(z), z, gradient)
        found.append(gradient)
    return found[::-1]


def _mean_squares(tensors: Sequence[torch.Tensor]) -> FloatArray:
    """Mean squares over the units, shape ``(chunk, len(tensors))``; vectors averaged too."""
    return torch.stack([t.square().mean((1, 2)) for t in tensors], 1).numpy()


def variance_profiles(
    widths: Sequence[int],
    activation: str = "relu",
    weight_std: npt.ArrayLike | str = "kaiming",
    bias_std: npt.ArrayLike = 0.0,
    *,
    networks: int = 256,
    seed: int = 0,
    input_variance: float = 1.0,
    output_gradient_variance: float = 1.0,
) -> pd.DataFrame:
    """Measure forward and backward variance, layer by layer, in many random networks.

    The networks are those of :func:`initscope.theory.propagate`: z_1 = W_1 x + b_1,
    z_l = W_l phi(z_{l-1}) + b_l, with normal weights and biases, drawn in float32 and computed in
    float64. Each has its own input and its own gradient at the output, random directions of a
    given length.

    Parameters
    ----------
    widths
        Inputs, hidden layers, outputs: L + 1 whole numbers.
    activation
        One of :data:`initscope.models.ACTIVATIONS`.
    weight_std, bias_std
        As in :func:`~initscope.theory.propagate`, for one kind of network: a number, one for each
        layer, or (weights) the name of a scheme.
    networks, seed
        How many, and the seed of their draws.
    input_variance, output_gradient_variance
        Mean square of the elements of the input and of the gradient at the output, above 0.

    Returns
    -------
    pandas.DataFrame
        Columns ``network``, ``direction`` (``"forward"`` or ``"backward"``), ``layer`` (0 is the
        input) and ``value``: the mean square per element of z_l (of x in layer 0), or of the
        gradient with respect to it.

    Raises
    ------
    UsageError
        No layers, an unknown activation or scheme, negative stds, no networks.

    Examples
    --------
    >>> frame = variance_profiles([50] * 4, "relu", "kaiming", networks=200)
    >>> last = frame[(frame["layer"] == 3) & (frame["direction"] == "forward")]
    >>> print(f"{last['value'].mean():.1f}")  # 2 at infinite width
    2.0
    """
    sizes, weight, bias = _checked(widths, activation, weight_std, bias_std, networks, seed)
    start = one("input_variance", positive("input_variance", input_variance))
    end = one(
        "output_gradient_variance", positive("output_gradient_variance", output_gradient_variance)
    )
    activate = ACTIVATIONS[activation]()
    forward, backward = [], []
    with torch.no_grad():
        for chunk in _draw(sizes, networks, seed):
            x = _with_mean_square(chunk.inputs, start)
            z = _forward(chunk, weight, bias, activate, x)
            gradient = _with_mean_square(chunk.gradients, end)
            forward.append(_mean_squares([x, *z]))
            backward.append(_mean_squares(_backward(chunk, weight, activate, z, gradient)))
    values = np.stack([np.concatenate(forward), np.concatenate(backward)], axis=1)
    index = pd.MultiIndex.from_product(
        [range(len(values)), DIRECTIONS, range(len(sizes))],
        names=["network", "direction", "layer"],
    )
    return pd.DataFrame({"value": values.ravel()}, index).reset_index()


def residual_profiles(
    width: int,
    depth: int,
    activation: str = "relu",
    weight_std: float = 0.1,
    bias_std: float = 0.0,
    *,
    residual: bool = True,
    layer_norm: bool = False,
    networks: int = 256,
    seed: int = 0,
) -> pd.DataFrame:
    """Measure forward and backward variance in random networks with residual branches or LayerNorm.

    The networks are those of :func:`initscope.theory.residual_propagate`, drawn in float32 and
    computed in float64; each has its own input and gradient at the output, both of mean square 1.

    Parameters
    ----------
    width, depth, activation, weight_std, bias_std, residual, layer_norm
        As there; the activation by name.
    networks, seed
        How many, and the seed of their draws.

    Returns
    -------
    pandas.DataFrame
        As :func:`variance_profiles`.

    Raises
    ------
    UsageError
        As :func:`variance_profiles`.

    Examples
    --------
    >>> frame = residual_profiles(50, 1, "relu", 0.2, networks=200)
    >>> last = frame[(frame["layer"] == 1) & (frame["direction"] == "forward")]
    >>> print(f"{last['value'].mean():.1f}")  # the branch adds as much as there was
    2.0
    """
    checks.whole("width", width)
    depth = checks.whole("depth", depth, at_most=checks.MOST_LAYERS)
    checks.flag("residual", residual)
    checks.flag("layer_norm", layer_norm)
    sizes, weight, bias = _checked(
        [width] * (depth + 1), activation, weight_std, bias_std, networks, seed
    )
    profiles = []
    for chunk in _draw(sizes, networks, seed):
        forward, backward = residual_pass(
            [std * drawn for std, drawn in zip(weight, chunk.weights, strict=True)],
            [std * drawn for std, drawn in zip(bias, chunk.biases, strict=True)],
            _with_mean_square(chunk.inputs, 1.0),
            _with_mean_square(chunk.gradients, 1.0),
            activation,
            residual=residual,
            layer_norm=layer_norm,
        )
        profiles.append(np.stack([_mean_squares(forward), _mean_squares(backward)], axis=1))
    values = np.concatenate(profiles)
    index = pd.MultiIndex.from_product(
        [range(len(values)), DIRECTIONS, range(len(sizes))],
        names=["network", "direction", "layer"],
    )
    return pd.DataFrame({"value": values.ravel()}, index).reset_index()


def residual_pass(
    weights: Sequence[torch.Tensor],
    biases: Sequence[torch.Tensor],
    inputs: torch.Tensor,
    gradient: torch.Tensor,
    activation: str,
    *,
    residual: bool,
    layer_norm: bool,
) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
    """The pre-activations z_0 (the input) to z_L, and the gradients with respect to them.

    Weights have shape ``(networks, width, width)``, all else ``(networks, width, 1)``.
    """
    activate = ACTIVATIONS[activation]()
    z = inputs.detach().requires_grad_()
    found = [z]
    for layer, (weight, bias) in enumerate(zip(weights, biases, strict=True)):
        hidden = z
        if layer or residual:
            if layer_norm:
                across = hidden.squeeze(2)
                hidden = torch.nn.functional.layer_norm(across, across.shape[1:])[..., None]
            hidden = activate(hidden)
        branch = torch.bmm(weight, hidden) + bias
        z = z + branch if residual else branch
        found.append(z)
    gradients = torch.autograd.grad(z, found, gradient)
    return [tensor.detach() for tensor in found], list(gradients)


def _checked(
    widths: Sequence[int],
    activation: str,
    weight_std: npt.ArrayLike | str,
    bias_std: npt.ArrayLike,
    networks: int,
    seed: int,
) -> tuple[tuple[int, ...], list[float], list[float]]:
    """Widths, and the std of the weights and of the biases of every layer."""
    sizes = layer_widths(widths)
    require(
        is_number(networks, 1, whole=True), f"networks must be at least 1, not {shown(networks)}."
    )
    checks.whole("seed", seed, 0)
    # One network with all that is computed for it, and what is returned of each of them.
    weights = sum(after * (before + 1) for before, after in itertools.pairwise(sizes))
    require_memory(24 * weights, f"one network of widths {shown(sizes)}")
    require_memory(50 * networks * len(sizes), f"networks = {shown(networks)}")
    require_name("activation", activation, ACTIVATIONS)
    weight = nonnegative("weight_std", layer_stds(weight_std, sizes))
    if isinstance(bias_std, str):
        raise UsageError("bias_std must be a number or one for each layer, not a scheme's name.")
    bias = nonnegative("bias_std", layer_stds(bias_std, sizes, "bias_std"))
    for name, std in (("weight_std", weight), ("bias_std", bias)):
        if std.ndim != 1:
            raise UsageError(f"{name} must be one number, or one for each layer.")
        if std.max() > LARGEST_STD:
            raise UsageError(f"{name} must be at most {LARGEST_STD:g}, not {std.max():g}.")
    return sizes, weight.tolist(), bias.tolist()


def correlation_profiles(
    widths: Sequence[int],
    activation: str = "relu",
    weight_std: npt.ArrayLike | str = "kaiming",
    bias_std: npt.ArrayLike = 0.0,
    *,
    correlation: float = 0.5,
    networks: int = 256,
    seed: int = 0,
    input_variance: float = 1.0,
) -> pd.DataFrame:
    """Measure how two inputs grow alike or apart, layer by layer, in many random networks.

    Parameters
    ----------
    widths, activation, weight_std, bias_std, networks, seed, input_variance
        As in :func:`variance_profiles`.
    correlation
        Cosine of the angle between the two inputs of each network, exactly; from -1 to 1.

    Returns
    -------
    pandas.DataFrame
        Columns ``network``, ``layer`` (0 is the input), ``length`` (mean of the mean squares of
        the two vectors of pre-activations) and ``correlation`` (the cosine of their angle; NaN
        where one of them is 0).

    Raises
    ------
    UsageError
        As :func:`variance_profiles`; a correlation outside [-1, 1]; one input unit, in which no
        angle but 0 exists.

    Examples
    --------
    >>> frame = correlation_profiles([200] * 11, "relu", correlation=0.0, networks=20)
    >>> print(frame.groupby("layer")["correlation"].mean()[[0, 1, 5]].round(1).abs().tolist())
    [0.0, 0.0, 0.7]
    """
    sizes, weight, bias = _checked(widths, activation, weight_std, bias_std, networks, seed)
    start = one("input_variance", positive("input_variance", input_variance))
    require(
        is_number(correlation, -1) and correlation <= 1,
        f"correlation must be a number between -1 and 1, not {shown(correlation)}.",
    )
    require(
        sizes[0] >= 2, "two inputs of one unit have no angle: widths must start with 2 or more."
    )
    activate = ACTIVATIONS[activation]()
    lengths, cosines = [], []
    with torch.no_grad():
        for chunk in _draw(sizes, networks, seed, vectors=2):
            first, second = (_with_mean_square(v, 1.0) for v in chunk.inputs.split(1, dim=2))
            across = second - first * (first * second).mean(1, keepdim=True)
            across = _with_mean_square(across, 1.0)
            second = correlation * first + (1 - correlation**2) ** 0.5 * across
            x = start**0.5 * torch.cat([first, second], 2)
            layers = [x, *_forward(chunk, weight, bias, activate, x)]
            lengths.append(_mean_squares(layers))
            cosines.append(
                torch.stack(
                    [(t[..., 0] * t[..., 1]).sum(1) / t.norm(dim=1).prod(1) for t in layers], 1
                ).numpy()
            )
    index = pd.MultiIndex.from_product(
        [range(networks), range(len(sizes))], names=["network", "layer"]
    )
    columns = {
        "length": np.concatenate(lengths).ravel(),
        "correlation": np.concatenate(cosines).ravel(),
    }
    return pd.DataFrame(columns, index).reset_index()


def compare(
    profiles: pd.DataFrame, theory: Propagation, interval: WidthInterval | None = None
) -> pd.DataFrame:
    """Put measured variances, those of infinite width and the finite-width band side by side.

    Parameters
    ----------
    profiles
        From :func:`variance_profiles`.
    theory
        From :func:`initscope.theory.propagate`, for one network.
    interval
        From :func:`initscope.theory.finite_width_interval`, for one network.

    Returns
    -------
    pandas.DataFrame
        One row a direction and layer, with columns ``direction``, ``layer``, ``theory``; over the
        networks ``mean``, its ``standard_error``, ``median``, ``p2.5`` and ``p97.5``; ``ratio``,
        mean over theory; and with an interval ``low``, ``high`` and ``inside``, the share of
        networks between them, both included.
    """
    checks.frame("profiles", profiles, numbers=["layer", "value"], texts=["direction"])
    _check_propagation("theory", theory, profiles)
    if interval is not None:
        require(
            isinstance(interval, WidthInterval),
            f"interval must come from finite_width_interval, not {shown(interval)}.",
        )
        for part in interval:
            _check_propagation("interval", part, profiles)
    groups = profiles.groupby(["direction", "layer"])["value"]
    table = pd.DataFrame(
        {
            "mean": groups.mean(),
            "standard_error": groups.std() / np.sqrt(groups.size()),
            "median": groups.median(),
            "p2.5": groups.quantile(0.025),
            "p97.5": groups.quantile(0.975),
        }
    )

    def by_row(part: Propagation) -> list[float]:
        return [float(getattr(part, direction)[layer]) for direction, layer in table.index]

    table.insert(0, "theory", by_row(theory))
    table["ratio"] = table["mean"] / table["theory"]
    if interval is not None:
        table["low"], table["high"] = by_row(interval.low), by_row(interval.high)
        rows = profiles.set_index(["direction", "layer"])["value"]
        # Layer 0 and the output are fixed: there the band has no width but rounding.
        low = table["low"].reindex(rows.index).to_numpy() * (1 - 1e-9)
        high = table["high"].reindex(rows.index).to_numpy() * (1 + 1e-9)
        within = pd.Series((rows >= low) & (rows <= high), rows.index)
        table["inside"] = within.groupby(level=[0, 1]).mean()
    order = [*itertools.product(DIRECTIONS, sorted(profiles["layer"].unique()))]
    return table.loc[order].reset_index()


def _check_propagation(name: str, given: object, profiles: pd.DataFrame) -> None:
    """Raise unless `given` holds the layers of `profiles`, of one network."""
    for direction in profiles["direction"].unique():
        require_name("direction in the table profiles", direction, DIRECTIONS)
    layers = profiles["layer"]
    require(
        len(profiles[["direction", "layer"]].drop_duplicates()) == 2 * layers.nunique(),
        "the table profiles must have every layer in both directions.",
    )
    require(
        bool(((layers >= 0) & (layers == np.floor(layers))).all()),
        "the column layer of the table profiles must hold whole numbers from 0 on.",
    )
    require(
        isinstance(given, Propagation)
        and all(np.ndim(part) == 1 and len(part) > layers.max() for part in given),
        f"{name} must be that of one network with the layers of profiles, not {shown(given)}.",
    )


TORCH_FORMATS = {name: getattr(torch, name) for name in NUMBER_FORMATS}
"""The formats of :data:`initscope.theory.NUMBER_FORMATS` as torch types."""


def representable_band(
    widths: Sequence[int],
    activation: str = "relu",
    *,
    number_format: str,
    networks: int = 8,
    seed: int = 0,
    std_range: tuple[float, float] = (1e-8, 1e4),
    precision: float = 1e-3,
) -> pd.DataFrame:
    """Measure which stds a number format can hold, in networks computed in that format.

    Weights, activations and gradients are torch tensors of the format, products of matrices are
    added up in float32 and rounded to it, subnormal numbers are kept; biases are 0. A std is too
    high if a pre-activation or a gradient is no longer finite. It is too low if the rms of
    some layer is below the smallest normal number (or 0). Both edges are found by bisection, for
    the same normal draws scaled by the std.

    Parameters
    ----------
    widths, activation, networks, seed
        As in :func:`variance_profiles`; input and output gradient have mean square 1.
    number_format
        One of :data:`initscope.theory.NUMBER_FORMATS`.
    std_range
        Where to look, both ends above 0.
    precision
        Relative error of an edge.

    Returns
    -------
    pandas.DataFrame
        Columns ``network``, ``low`` and ``high``, stds per element: NaN for a network that no
        std on the way of the bisection keeps in range.

    Raises
    ------
    UsageError
        As :func:`variance_profiles`; an unknown format.
    """
    sizes, _, _ = _checked(widths, activation, 1.0, 0.0, networks, seed)
    require_name("number format", number_format, NUMBER_FORMATS)
    ends = checks.items("std_range", std_range)
    require(len(ends) == 2, f"std_range must be a pair of stds, not {shown(std_range)}.")
    bottom, top = (one("std_range", positive("std_range", end)) for end in ends)
    require(
        bottom < top, f"std_range must go from a lower to a higher std, not {shown(std_range)}."
    )
    precision = checks.number("precision", precision, 1e-12, 10.0)
    activate = ACTIVATIONS[activation]()
    steps = max(0, int(np.ceil(np.log2((np.log(top) - np.log(bottom)) / precision))))
    edges = []
    with torch.no_grad():
        for chunk in _draw(sizes, networks, seed):
            single = chunk._replace(
                weights=[weight.float() for weight in chunk.weights],
                inputs=_with_mean_square(chunk.inputs, 1.0),
                gradients=_with_mean_square(chunk.gradients, 1.0),
            )
            shape = (2, len(single.inputs))  # low edge, high edge
            below, above = np.full(shape, bottom), np.full(shape, top)
            for _ in range(steps):
                middle = np.sqrt(below * above)
                too_low, too_high = np.empty(middle.shape, bool), np.empty(middle.shape, bool)
                for row in range(2):
                    too_low[row], too_high[row] = _leaves_range(
                        single, middle[row], number_format, activate
                    )
                up = np.stack([too_low[0] & ~too_high[0], ~too_high[1]])
                below, above = np.where(up, middle, below), np.where(up, above, middle)
            found = np.stack([above[0], below[1]])
            edges.append(np.where(found[0] > found[1], np.nan, found))
    low, high = np.concatenate(edges, axis=1)
    return pd.DataFrame({"network": np.arange(len(low)), "low": low, "high": high})


def _leaves_range(
    networks: _Networks,
    std: FloatArray,
    number_format: str,
    activate: Callable[[torch.Tensor], torch.Tensor],
) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
    """Which networks, each with its `std`, underflow and which overflow in a number format."""
    dtype = TORCH_FORMATS[number_format]
    scale = torch.from_numpy(std).float()[:, None, None]
    scaled = networks._replace(weights=[(w * scale).to(dtype) for w in networks.weights])
    n_layers = len(scaled.weights)
    ones = [1.0] * n_layers
    z = _forward(scaled, ones, [0.0] * n_layers, activate, scaled.inputs.to(dtype))
    gradients = _backward(scaled, ones, activate, z, scaled.gradients.to(dtype))
    layers = [tensor.double() for tensor in (*z, *gradients[1:])]
    finite = torch.stack([t.isfinite().all(2).all(1) for t in layers], 1).all(1)
    rms = torch.stack([t.square().mean((1, 2)).sqrt() for t in layers], 1)
    smallest = NUMBER_FORMATS[number_format].smallest_normal
    too_low = (torch.nan_to_num(rms, nan=np.inf) < smallest).any(1)
    return too_low.numpy(), ~finite.numpy()
