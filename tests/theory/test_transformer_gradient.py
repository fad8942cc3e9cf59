"""Gradients of a transformer at initialization, against transformers written out here."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch

from initscope.errors import UsageError
from initscope.theory import residual_gradient_variance, weight_gradient_variance
from initscope.theory.activations import resolve
from initscope.theory.attention_gradient import (
    gram_fluctuations,
    jacobian_traces,
    through_logits,
    through_values,
)
from initscope.theory.transformer_blocks import activation_covariance, softmax_of
from initscope.theory.transformer_pass import activation_slopes, follow

VOCABULARY = 2000
EPSILON = 1e-5


def norm(x: torch.Tensor) -> torch.Tensor:
    return torch.nn.functional.layer_norm(x, x.shape[-1:], eps=EPSILON)


class Transformer:
    """A pre-LN transformer without anything else, all of whose matrices are drawn anew."""

    def __init__(self, width: int, depth: int, heads: int, length: int, std: float, out: float,
                 seed: int, key_heads: int = 0, wider: int = 1, mlp: int = 4, gated: bool = False,
                 ) -> None:  # fmt: skip
        self.generator = torch.Generator().manual_seed(seed)
        self.heads, self.key_heads, self.streams = heads, key_heads or heads, []
        tokens = torch.randperm(VOCABULARY, generator=self.generator)[:length]
        self.start = self.draw(VOCABULARY, width, std)[tokens] + self.draw(length, width, std)
        hidden, queries = mlp * width, wider * width
        keys = queries * self.key_heads // heads
        shapes = {"query": (width, queries, std), "key": (width, keys, std),
                  "value": (width, keys, std), "attention_output": (queries, width, out),
                  "mlp_input": (width, hidden, std),
                  "mlp_output": (hidden, width, out)}  # fmt: skip
        if gated:
            shapes["mlp_gate"] = (width, hidden, std)
        self.blocks = [
            {name: self.draw(*shape) for name, shape in shapes.items()} for _ in range(depth)
        ]

    def draw(self, rows: int, columns: int, std: float) -> torch.Tensor:
        drawn = std * torch.randn(rows, columns, generator=self.generator, dtype=torch.float64)
        return drawn.requires_grad_()

    def split(self, x: torch.Tensor, heads: int) -> torch.Tensor:
        parts = x.unflatten(-1, (heads, -1)).transpose(0, 1)
        return parts.repeat_interleave(self.heads // heads, dim=0)

    def __call__(self) -> torch.Tensor:
        x = self.start
        hidden = torch.ones(len(x), len(x), dtype=torch.bool).triu(1)
        self.streams = [x]
        for block in self.blocks:
            y = norm(x)
            query = self.split(y @ block["query"], self.heads)
            key, value = (self.split(y @ block[n], self.key_heads) for n in ("key", "value"))
            logits = query @ key.mT / math.sqrt(query.shape[-1])
            attention = logits.masked_fill(hidden, -math.inf).softmax(-1)
            x = x + (attention @ value).transpose(0, 1).flatten(1) @ block["attention_output"]
            y = norm(x)
            gate = y @ block["mlp_gate"] if "mlp_gate" in block else y @ block["mlp_input"]
            activated = torch.nn.functional.gelu(gate, approximate="tanh")
            if "mlp_gate" in block:
                activated = activated * (y @ block["mlp_input"])
            x = x + activated @ block["mlp_output"]
            self.streams.append(x)
        return x

    def gradients(self) -> tuple[np.ndarray, np.ndarray]:
        """Mean squares along the stream, and of the matrices, a row a block and per token."""
        end = self()
        noise = torch.randn(end.shape, generator=self.generator, dtype=torch.float64)
        leaves = [*self.streams, *(weight for block in self.blocks for weight in block.values())]
        found = torch.autograd.grad((end * noise).sum(), leaves)
        squares = np.array([gradient.square().mean().item() for gradient in found])
        depth = len(self.blocks)
        return squares[: depth + 1], squares[depth + 1 :].reshape(depth, -1) / len(end)


CASES = {
    "logits of variance 1": {"width": 128, "depth": 4, "heads": 4, "length": 64, "out": 1.0},
    "GPT-2's stds": {"width": 128, "depth": 4, "heads": 4, "length": 64, "std": 0.0553},
    "many positions, two heads": {"width": 96, "depth": 3, "heads": 2, "length": 128, "out": 0.5,
                                  "std": 0.06},
    "narrow, eight heads": {"width": 64, "depth": 4, "heads": 8, "length": 32, "std": 0.1},
    "wide": {"width": 384, "depth": 2, "heads": 8, "length": 48, "std": 0.02},
    "deep": {"width": 64, "depth": 8, "heads": 4, "length": 24, "std": 0.07},
    "gates, wide heads, shared keys": {"width": 96, "depth": 3, "heads": 8, "length": 32,
                                       "std": 0.05, "key_heads": 4, "wider": 2, "mlp": 3,
                                       "gated": True},
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_gradients_are_those_of_transformers_on_average(name: str) -> None:
    """Of 12 models; the mean of queries and keys is known to 6 to 10%."""
    case: dict[str, Any] = dict(CASES[name])
    std = case.pop("std", case["width"] ** -0.5)
    out = std * case.pop("out", (2 * case["depth"]) ** -0.5)
    draws = [Transformer(**case, std=std, out=out, seed=seed).gradients() for seed in range(12)]
    stream, weights = (np.mean(parts, 0) for parts in zip(*draws, strict=True))
    sizes = (case["depth"], case["width"], case["length"], std)
    options = {"residual_std": out, "mlp_ratio": case.get("mlp", 4)}
    options |= {"gated": case.get("gated", False), "attention_ratio": case.get("wider", 1)}
    predicted = residual_gradient_variance(*sizes, **options)
    np.testing.assert_allclose(stream / predicted, 1, atol=0.12)
    found = weight_gradient_variance(
        *sizes, n_head=case["heads"], n_kv_head=case.get("key_heads"), **options
    )
    ratios = weights / np.array(found).T
    np.testing.assert_allclose(ratios[:, :2], 1, atol=0.3)
    np.testing.assert_allclose(ratios[:, :2].mean(), 1, atol=0.12)
    np.testing.assert_allclose(ratios[:, 2:], 1, atol=0.25)
    np.testing.assert_allclose(ratios[:, 2:].mean(0), 1, atol=0.12)


def drawn_weights(length: int, std: float, draws: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    logits = std * torch.randn(draws, length, length, generator=generator, dtype=torch.float64)
    hidden = torch.ones(length, length, dtype=torch.bool).triu(1)
    return logits.masked_fill(hidden, -math.inf).softmax(-1)


@pytest.mark.parametrize("variance", [1e-6, 0.3, 2.0, 16.0])
def test_what_softmax_makes_of_independent_logits(variance: float) -> None:
    p = drawn_weights(12, variance**0.5, 20_000)
    found = softmax_of(np.eye(12), variance)
    np.testing.assert_allclose(found.different[1:], 1)
    # Logits have the variance times the part in which positions differ, none for a single one.
    np.testing.assert_allclose(found.squares, (p**2).sum(-1).mean(0), rtol=0.03)
    jacobian = torch.diag_embed(p) - p[..., None] * p[..., None, :]
    expected = jacobian.square().sum((-1, -2)).mean(0)
    np.testing.assert_allclose(found.jacobian, expected, rtol=0.03, atol=1e-9)
    # And the covariance of what comes back through the values.
    gradient = np.diag(np.linspace(1, 2, 12))
    back = (p.mT @ torch.as_tensor(gradient) @ p).mean(0)
    np.testing.assert_allclose(through_values(gradient, found), back, atol=0.03)


def inputs_of(draws: int, width: int, factor: torch.Tensor) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    z = torch.randn(draws, len(factor), width, generator=generator, dtype=torch.float64)
    return factor @ z


FACTOR = torch.as_tensor(np.tril(np.random.default_rng(5).uniform(-0.5, 1, (6, 6))))
"""Of a covariance of six positions, all entries of which differ."""


def test_traces_are_those_of_normal_inputs() -> None:
    width = 12
    y = inputs_of(40_000, width, FACTOR)
    covariance = (FACTOR @ FACTOR.T).numpy()
    found = jacobian_traces(covariance, softmax_of(covariance, 0.0), width, np.ones((6, 6)))
    spreads = []
    for t in range(1, 7):
        centered = y[:, :t] - y[:, :t].mean(1, keepdim=True)
        spreads.append(centered.mT @ centered / t)
    expected = [[(a * b).sum((-1, -2)).mean() for a in spreads] for b in spreads]
    np.testing.assert_allclose(found, np.array(expected), rtol=0.02, atol=1e-9)


UNRELATED = torch.eye(6, dtype=torch.float64)


@pytest.mark.parametrize(
    ("width", "scale", "factor"), [(16, 0.02, FACTOR), (48, 0.02, UNRELATED), (48, 0.14, UNRELATED)]
)
def test_what_comes_back_through_queries_and_keys(
    width: int, scale: float, factor: torch.Tensor
) -> None:
    """By autograd through the logits of one attention, whose values are held."""
    draws = 4000
    generator = torch.Generator().manual_seed(2)
    mix = torch.as_tensor(np.tril(np.random.default_rng(6).uniform(-0.5, 1, (6, 6))))
    y = inputs_of(draws, width, factor).requires_grad_()
    weights = [
        scale * torch.randn(draws, width, width, generator=generator, dtype=torch.float64)
        for _ in range(4)
    ]
    hidden = torch.ones(6, 6, dtype=torch.bool).triu(1)
    logits = (y @ weights[0]) @ (y @ weights[1]).mT / width**0.5
    values = y.detach() @ weights[2] @ weights[3]
    attended = logits.masked_fill(hidden, -math.inf).softmax(-1) @ values
    gradient = mix @ torch.randn(draws, 6, width, generator=generator, dtype=torch.float64)
    (found,) = torch.autograd.grad((attended * gradient).sum(), y)
    measured = (found @ found.mT).mean(0) / width
    covariance, back = (factor @ factor.T).numpy(), (mix @ mix.T).numpy()
    softmax = softmax_of(covariance, (width * scale**2) ** 2)
    traces = jacobian_traces(covariance, softmax, width, np.ones((6, 6)))
    expected = width**2 * scale**8 * through_logits(back, covariance, softmax, traces, width)
    assert np.trace(measured) == pytest.approx(np.trace(expected), rel=0.08)
    largest = np.abs(expected).max()
    np.testing.assert_allclose(measured / largest, expected / largest, atol=0.08)


@pytest.mark.parametrize(
    ("block", "heads", "std", "excess"),
    [(0, 4, 0.08, 1.0), (1, 4, 0.08, 1.1), (2, 4, 0.08, 1.2), (1, 1, 0.125, 1.4)],
)
def test_inner_products_stray_more_with_each_block(
    block: int, heads: int, std: float, excess: float
) -> None:
    """E tr C_t^2 at the last position, for equal weights, of what LayerNorm passes on."""
    width, length = 64, 32
    traces = []
    for seed in range(32):
        model = Transformer(width, 3, heads, length, std, std, seed)
        model()
        y = norm(model.streams[block]).detach()
        y = y - y.mean(0)
        traces.append(((y @ y.T).square().sum() / length**2).item())
    passed = follow(3, width, length, std, std, "pre", "gelu_tanh", 4.0, EPSILON, None, False, 1.0)
    factors = gram_fluctuations(
        passed.streams, [attention.softmax for attention, _ in passed.forward], passed.slopes,
        channels=width, heads=heads, strength=passed.blocks.strength, width_ratios=(1.0, 4.0),
    )  # fmt: skip
    inputs = passed.forward[block][0].inputs
    equal = softmax_of(inputs, 0.0)
    found = jacobian_traces(inputs, equal, width, factors[block])[-1, -1]
    assert found == pytest.approx(np.mean(traces), rel=0.15)
    normal = jacobian_traces(inputs, equal, width, np.ones_like(inputs))[-1, -1]
    assert found == normal if excess == 1 else found > excess * normal


@pytest.mark.parametrize(("spread", "tolerance"), [(0.0, 1e-9), (0.3, 0.013)])
def test_pairs_of_positions_have_the_moments_of_two_gaussians(
    spread: float, tolerance: float
) -> None:
    """By a double integral; positions of one variance to rounding, of others nearly."""
    root = np.sqrt(0.4 * np.exp(np.linspace(-spread, spread, 6)))
    correlation = (FACTOR @ FACTOR.T).numpy()
    correlation /= np.sqrt(np.outer(correlation.diagonal(), correlation.diagonal()))
    x, weight = np.polynomial.hermite_e.hermegauss(80)
    weight = np.outer(weight, weight) / weight.sum() ** 2
    known = resolve("gelu_tanh")
    for average, function in (
        (activation_covariance, known.function),
        (activation_slopes, known.derivative),
    ):
        found = average(known, correlation * np.outer(root, root))
        for i, j in np.ndindex(6, 6):
            c = min(correlation[i, j], 1.0)
            second = c * x[:, None] + np.sqrt(1 - c**2) * x[None, :]
            pair = function(root[i] * x[:, None]) * function(root[j] * second)
            assert found[i, j] == pytest.approx((weight * pair).sum(), abs=tolerance)


def test_a_stream_of_nothing_has_what_an_activation_makes_of_zero() -> None:
    """Without embeddings all pre-activations are 0; a position of its own size is by itself."""
    known = resolve(np.cos)
    np.testing.assert_allclose(activation_covariance(known, np.zeros((2, 2))), np.ones((2, 2)))
    found = activation_covariance(known, np.diag([0.0, 0.5]))
    mean = np.exp(-0.25)  # E cos u, and E cos^2 u = (1 + E cos 2u) / 2
    np.testing.assert_allclose(found, [[1, mean], [mean, (1 + np.exp(-1)) / 2]], rtol=1e-10)


def test_slopes_where_all_is_so_small_that_nothing_is_left_of_its_square() -> None:
    """GELU has slope 1/2 there. As of embeddings of std 1e-90 behind LayerNorm."""
    known = resolve("gelu_tanh")
    for covariance in (np.zeros((2, 2)), np.full((2, 2), 1e-320)):
        np.testing.assert_allclose(activation_slopes(known, covariance), np.full((2, 2), 0.25))
    with np.errstate(divide="raise", invalid="raise"):
        found = residual_gradient_variance(2, 64, 16, 1e-90)
    np.testing.assert_allclose(found, 1.0)


def test_heads_of_keys_gather_what_their_queries_send_back() -> None:
    sizes = (2, 64, 16, 0.05)
    alone = weight_gradient_variance(*sizes, n_head=8)
    shared = weight_gradient_variance(*sizes, n_head=8, n_kv_head=2)
    np.testing.assert_allclose(shared.value, 4 * np.asarray(alone.value))
    assert shared.query[0] == pytest.approx(alone.query[0])
    assert shared.key[1] == pytest.approx(4 * shared.query[1])
    assert shared.query[1] > alone.query[1]  # fewer values: their products stray more
    np.testing.assert_allclose(weight_gradient_variance(*sizes).query,
                               weight_gradient_variance(*sizes, n_head=1).query)  # fmt: skip
    with pytest.raises(UsageError, match="n_kv_head must be at most 8"):
        weight_gradient_variance(*sizes, n_head=8, n_kv_head=9)
