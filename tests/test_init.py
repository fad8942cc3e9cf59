"""Initialization: each weight has the distribution, the std and the fans that its scheme states."""

from __future__ import annotations

import contextlib
import itertools
import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from torch import nn

from initscope import theory
from initscope.errors import UsageError
from initscope.init import (
    DISTRIBUTIONS,
    MODES,
    SCHEMES,
    fans,
    initialize_,
    variance_scaling_,
    weight_layers,
)
from initscope.models import MLP, gpt2
from initscope.sweep import SweepSpec
from initscope.theory.scheme import Scheme
from initscope.theory.schemes import check_options

transformers = pytest.importorskip("transformers")

# Each statistical check is wrong once in 10^6 draws, and the draws are fixed by a seed.
P_VALUE = 1e-6


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def assert_drawn(weight: torch.Tensor, std: float, distribution: str) -> None:
    """`weight` holds independent draws of mean 0 and standard deviation `std`."""
    values = weight.detach().double().flatten().numpy()
    n = len(values)
    if distribution == "truncated":
        expected = stats.truncnorm(-2, 2)
        expected = stats.truncnorm(-2, 2, scale=std / expected.std())
        assert np.abs(values).max() <= 2 * std / stats.truncnorm(-2, 2).std() * (1 + 1e-2)
        spread = math.sqrt((expected.moment(4) / std**4 - 1) / n)
        assert abs(np.mean(values**2) / std**2 - 1) < -stats.norm.ppf(P_VALUE) * spread
    elif distribution == "normal":
        expected = stats.norm(scale=std)
        low, high = stats.chi2(n).ppf([P_VALUE, 1 - P_VALUE]) / n
        assert low < np.mean(values**2) / std**2 < high
    else:
        expected = stats.uniform(-math.sqrt(3) * std, 2 * math.sqrt(3) * std)
        # The largest of n draws misses the bound by more than 20/n once in e^20.
        largest = np.abs(values).max() / (math.sqrt(3) * std)
        assert 1 - 20 / n < largest < 1 + 1e-6
        # x^2 of U(-a, a) has mean a^2 / 3 = std^2 and variance 4 std^4 / 5.
        spread = -stats.norm.ppf(P_VALUE) * math.sqrt(0.8 / n)
        assert abs(np.mean(values**2) / std**2 - 1) < spread
    assert stats.kstest(values, expected.cdf).pvalue > P_VALUE


@contextlib.contextmanager
def unchanged(model: nn.Module) -> Iterator[None]:
    """Nothing of the model is another afterwards."""
    before = [p.clone() for p in model.parameters()]
    yield
    for parameter, old in zip(model.parameters(), before, strict=True):
        torch.testing.assert_close(parameter, old, rtol=0, atol=0, equal_nan=True)


@contextlib.contextmanager
def refused(model: nn.Module, message: str) -> Iterator[None]:
    """Refused by this message, before anything of the model was changed."""
    with unchanged(model), pytest.raises(UsageError, match=message):
        yield


# --- The distribution of a weight ----------------------------------------------------------


@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("distribution", DISTRIBUTIONS)
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("shape", [(40, 200), (24, 30, 3, 3)], ids=["linear", "conv"])
def test_variance_scaling_divides_by_the_fan(
    shape: tuple[int, ...], mode: str, distribution: str, transposed: bool
) -> None:
    kernel = math.prod(shape[2:])
    fan_out, fan_in = shape[0] * kernel, shape[1] * kernel
    if transposed:
        fan_in, fan_out = fan_out, fan_in
    fan = {"fan_in": fan_in, "fan_out": fan_out, "fan_avg": (fan_in + fan_out) / 2}[mode]
    weight = torch.full(shape, math.nan)
    returned = variance_scaling_(
        weight, 1.7, mode, distribution, transposed=transposed, generator=generator()
    )
    assert returned is weight
    assert_drawn(weight, math.sqrt(1.7 / fan), distribution)


@given(st.lists(st.integers(1, 7), min_size=2, max_size=5), st.booleans(), st.sampled_from(MODES))
def test_fans_of_any_shape(shape: list[int], transposed: bool, mode: str) -> None:
    weight = torch.empty(shape)
    fan_in, fan_out = fans(weight, transposed=transposed)
    swapped = fans(weight.transpose(0, 1), transposed=not transposed)
    assert (fan_in, fan_out) == swapped
    if not transposed:  # one output unit reads fan_in numbers
        assert fan_in == weight[0].numel()
        assert fan_out == weight[:, 0].numel()
    variance_scaling_(weight, 1.0, mode, "uniform", transposed=transposed, generator=generator())
    fan = {"fan_in": fan_in, "fan_out": fan_out, "fan_avg": (fan_in + fan_out) / 2}[mode]
    assert weight.abs().max() <= math.sqrt(3 / fan) * (1 + 1e-6)


def test_a_scale_of_zero_gives_zeros() -> None:
    for distribution in DISTRIBUTIONS:
        assert not variance_scaling_(torch.ones(4, 5), 0.0, distribution=distribution).any()


# --- The schemes ---------------------------------------------------------------------------

SHAPE = (60, 150)  # of a weight with 150 inputs and 60 outputs
CASES = [
    ("lecun", {"distribution": "uniform", "gain": 2.0}, 2 * math.sqrt(1 / 150), "uniform"),
    ("xavier", {"distribution": "uniform", "gain": 5 / 3}, 5 / 3 * math.sqrt(2 / 210), "uniform"),
    ("kaiming", {"mode": "fan_out"}, math.sqrt(2 / 60), "normal"),
    ("kaiming", {"mode": "fan_avg", "gain": 1.0}, math.sqrt(1 / 105), "normal"),
    ("kaiming", {"distribution": "uniform"}, math.sqrt(2 / 150), "uniform"),
    ("he", {}, math.sqrt(2 / 150), "normal"),
    ("glorot", {"distribution": "uniform"}, math.sqrt(2 / 210), "uniform"),
    ("trunc_normal", {}, 0.02, "truncated"),
    ("trunc_normal", {"std": 0.3}, 0.3, "truncated"),
    ("gpt2", {}, 0.02, "normal"),
    ("gpt2", {"std": 0.3}, 0.3, "normal"),
    ("kaiming", {"mode": "fan_out", "distribution": "uniform"}, math.sqrt(2 / 60), "uniform"),
]


@pytest.mark.parametrize(("scheme", "options", "std", "distribution"), CASES, ids=str)
def test_options_of_a_scheme_enter_its_formula(
    scheme: str, options: dict[str, object], std: float, distribution: str
) -> None:
    model = nn.Linear(150, 60)
    assert initialize_(model, scheme, generator=generator(), **options) == {
        "weight": pytest.approx(std, rel=1e-12),
        "bias": 0.0,
    }
    assert_drawn(model.weight, std, distribution)


@pytest.mark.parametrize("scheme", ["normal", "lecun", "xavier", "kaiming", "orthogonal", "gpt2"])
def test_defaults_agree_with_torch(scheme: str) -> None:
    """Same draws as `torch.nn.init` from the same generator."""
    reference = torch.empty(SHAPE)
    fill = {
        "normal": lambda: nn.init.normal_(reference, 0.0, 0.1, generator=generator(3)),
        "lecun": lambda: nn.init.kaiming_normal_(
            reference, nonlinearity="linear", generator=generator(3)
        ),
        "xavier": lambda: nn.init.xavier_normal_(reference, generator=generator(3)),
        "kaiming": lambda: nn.init.kaiming_normal_(
            reference, nonlinearity="relu", generator=generator(3)
        ),
        "orthogonal": lambda: nn.init.orthogonal_(reference, generator=generator(3)),
        "gpt2": lambda: nn.init.normal_(reference, 0.0, 0.02, generator=generator(3)),
    }
    fill[scheme]()
    model = nn.Linear(150, 60)
    options = {"std": 0.1} if scheme == "normal" else {}
    initialize_(model, scheme, generator=generator(3), **options)
    torch.testing.assert_close(model.weight.detach(), reference, rtol=1e-6, atol=0)


@pytest.mark.parametrize("shape", [(8, 20), (20, 8), (9, 9), (1, 5), (6, 4, 3, 3), (50, 2, 3, 3)])
def test_orthogonal(shape: tuple[int, ...]) -> None:
    layer: nn.Module
    if len(shape) == 2:
        layer = nn.Linear(shape[1], shape[0])
    else:
        layer = nn.Conv2d(shape[1], shape[0], shape[2])
    given = initialize_(layer, "orthogonal", gain=1.5, generator=generator())
    matrix = layer.weight.detach().double().flatten(1)
    shorter = matrix if matrix.shape[0] <= matrix.shape[1] else matrix.T
    identity = torch.eye(len(shorter), dtype=torch.double)
    torch.testing.assert_close(shorter @ shorter.T, 1.5**2 * identity, rtol=0, atol=1e-5)
    assert matrix.square().mean().sqrt().item() == pytest.approx(given["weight"], rel=1e-5)


@pytest.mark.parametrize("kernel", [(1, 1), (2, 1), (1, 2), (3, 3)])
@pytest.mark.parametrize(("inputs", "outputs"), [(5, 8), (40, 3)])
def test_orthogonal_of_a_transposed_convolution(
    inputs: int, outputs: int, kernel: tuple[int, int]
) -> None:
    """Its weight has the inputs first; rows are orthogonal that each make one output."""
    layer = nn.ConvTranspose2d(inputs, outputs, kernel)
    given = initialize_(layer, "orthogonal", gain=1.5, generator=generator())
    matrix = layer.weight.detach().double().transpose(0, 1).flatten(1)
    shorter = matrix if matrix.shape[0] <= matrix.shape[1] else matrix.T
    square = given["weight"] ** 2 * max(matrix.shape)
    identity = torch.eye(len(shorter), dtype=torch.double)
    torch.testing.assert_close(shorter @ shorter.T, square * identity, rtol=0, atol=1e-5)
    assert matrix.square().mean().sqrt().item() == pytest.approx(given["weight"], rel=1e-5)


# --- Every rule of the table -----------------------------------------------------------------

ROLES = {
    "attn.c_attn": ("q", "k", "v"),
    "attn.c_proj": ("attention_out",),
    "mlp.c_fc": ("mlp_in",),
    "mlp.c_proj": ("mlp_out",),
    "wte": ("token_embedding",),
    "wpe": ("position_embedding",),
    "lm_head": ("output",),
}
"""What the weights of GPT-2 are, by a part of their names."""

L, D = 3, 96  # of the GPT-2 below: three blocks of width 96
XAVIER = {"q": 192, "k": 192, "v": 192, "attention_out": 192, "mlp_in": 480, "mlp_out": 480}
ENDS = ("attention_out", "mlp_out")
OUTSIDE = ("token_embedding", "position_embedding", "output")

Expected = Callable[[str, int, int, int], float]
"""The std of a weight from its role, its block from 1, and its fans."""


def xavier(role: str) -> float:
    return math.sqrt(2 / XAVIER[role])


def scaled_xavier(factor: float, embedding: float = D**-0.5) -> Expected:
    """Xavier, times a factor in all but queries and keys; and the embeddings."""
    return lambda role, block, fan_in, fan_out: (
        D**-0.5
        if role == "output"
        else embedding
        if role in OUTSIDE
        else xavier(role) * (1 if role in "qk" else factor)
    )


SMALL = math.sqrt(2 / (5 * D))
FIXUP = {"q": D**-0.5, "k": D**-0.5, "v": (D * 2 * L) ** -0.5, "mlp_in": (D * L) ** -0.5}
FIXUP |= {"token_embedding": D**-0.5, "position_embedding": D**-0.5}

ROWS: dict[str, tuple[dict[str, object], Expected]] = {
    "normal": ({"std": 0.3}, lambda role, block, i, o: 0.3),
    "lecun": ({}, lambda role, block, i, o: i**-0.5),
    "xavier": ({}, lambda role, block, i, o: math.sqrt(2 / (i + o))),
    "kaiming": ({}, lambda role, block, i, o: math.sqrt(2 / i)),
    "orthogonal": ({"gain": 1.5}, lambda role, block, i, o: 1.5 * max(i, o) ** -0.5),
    "trunc_normal": ({"std": 0.1}, lambda role, block, i, o: 0.1),
    "gpt2": (
        {"std": 0.1},
        lambda role, block, i, o: 0.1 / (math.sqrt(2 * L) if role in ENDS else 1),
    ),
    "lir": ({"std": 0.1}, lambda role, block, i, o: 0.1 / math.sqrt(block or 1)),
    "ds_init": (
        {},
        lambda role, block, i, o: D**-0.5 if role in OUTSIDE else xavier(role) / math.sqrt(block),
    ),
    "t_fixup": ({}, scaled_xavier(0.67 * L**-0.25, D**-0.5 * (9 * L) ** -0.25)),
    "fixup": ({}, lambda role, block, i, o: FIXUP.get(role, 0.0)),
    "deepnorm": ({}, scaled_xavier((8 * L) ** -0.25)),
    "small_init": ({}, lambda role, block, i, o: SMALL),
    "small_wang": ({}, lambda role, block, i, o: 2 / (L * D**0.5) if role in ENDS else SMALL),
    "spike_no_more": (
        {},
        lambda role, block, i, o: (
            1.0 if "embedding" in role else SMALL / math.sqrt(2 * L) if role in ENDS else SMALL
        ),
    ),
    "mup": ({"base_width": 24}, lambda role, block, i, o: 0.02 if role in OUTSIDE else 0.01),
    "completep": (
        {"base_width": 24, "base_depth": 2, "std": 0.2},
        lambda role, block, i, o: 0.2 if role in OUTSIDE else 0.1,
    ),
}
"""A row a rule: options, and its formula, written down once more."""

LAYER_SCHEMES = [name for name, rule in SCHEMES.items() if rule.scope == "layers"]


def untied() -> nn.Module:
    """A GPT-2 of three blocks whose output layer has a weight of its own."""
    return gpt2("nano12", n_layer=L, tie_word_embeddings=False)


def with_linear_layers(model: nn.Module) -> nn.Module:
    """The same model, its `Conv1D` layers replaced by `nn.Linear`."""
    for name, module in list(model.named_modules()):
        if type(module).__name__ == "Conv1D":
            parent, _, leaf = name.rpartition(".")
            setattr(model.get_submodule(parent), leaf, nn.Linear(*module.weight.shape))
    return model


def test_every_rule_has_a_row() -> None:
    assert list(ROWS) == list(SCHEMES)


@pytest.mark.parametrize(
    ("layer", "dtype"),
    [("Conv1D", torch.float32), ("Linear", torch.float64), ("Conv1D", torch.bfloat16)],
    ids=str,
)
@pytest.mark.parametrize("scheme", SCHEMES)
def test_every_matrix_has_the_std_and_distribution_of_its_rule(
    scheme: str, layer: str, dtype: torch.dtype
) -> None:
    options, expected = ROWS[scheme]
    model = (untied() if layer == "Conv1D" else with_linear_layers(untied())).to(dtype)
    returned = initialize_(model, scheme, generator=generator(7), **options)
    alone = SCHEMES[scheme].scope == "layers"  # then a fused weight is one layer
    matrices = {n: std for n, std in returned.items() if model.get_parameter(n).dim() == 2}
    kept = {"layers": {"transformer.wte.weight", "transformer.wpe.weight"}}
    assert set(matrices) == {n for n, p in model.named_parameters() if p.dim() == 2} - kept.get(
        SCHEMES[scheme].scope, set()
    )
    for name, std in matrices.items():
        matrix = model.get_parameter(name).detach().double()
        if layer == "Conv1D" and ".c_" in name:
            matrix = matrix.T  # Conv1D stores (in, out)
        roles = next(roles for place, roles in ROLES.items() if place in name)
        parts = matrix.chunk(1 if alone else len(roles))
        block = int(name.split(".")[2]) + 1 if ".h." in name else 0
        stds = [
            expected(role, block, part.shape[1], part.shape[0])
            for role, part in zip(roles, parts, strict=False)
        ]
        assert std == pytest.approx(math.sqrt(np.mean(np.square(stds))), rel=1e-12)
        for part, one in zip(parts, stds, strict=True):
            if not one:
                assert not part.any()
            elif scheme == "orthogonal":
                shorter = part if len(part) <= len(part.T) else part.T
                gram = shorter @ shorter.T / options["gain"] ** 2
                torch.testing.assert_close(
                    gram,
                    torch.eye(len(gram)).double(),
                    rtol=0,
                    atol=2e-2 if dtype.itemsize < 4 else 1e-5,
                )
            else:
                assert_drawn(part, one, "truncated" if scheme == "trunc_normal" else "normal")


@pytest.mark.parametrize("scheme", ["kaiming", "trunc_normal", "orthogonal"])
@pytest.mark.parametrize("kind", [nn.Conv2d, nn.ConvTranspose2d])
def test_weights_of_float64_are_drawn_to_its_last_digit(kind: type[nn.Module], scheme: str) -> None:
    layer = kind(4, 4, 3).double()
    initialize_(layer, scheme, **ROWS[scheme][0])
    assert (layer.weight != layer.weight.float()).double().mean() > 0.9


@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_generator_decides_the_draws_and_leaves_the_global_state_alone(scheme: str) -> None:
    model, options = untied(), ROWS[scheme][0]
    state = torch.get_rng_state()
    draws = []
    for seed in (5, 5, 6):
        given = initialize_(model, scheme, bias_std=0.1, generator=generator(seed), **options)
        draws.append({name: model.get_parameter(name).detach().clone() for name in given})
    assert torch.equal(torch.get_rng_state(), state)
    for name, std in given.items():
        assert torch.equal(draws[0][name], draws[1][name])
        if std:  # no draw of it is left from the seed before
            assert not (draws[0][name] == draws[2][name]).any()


@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_model_without_data_is_refused(scheme: str) -> None:
    with torch.device("meta"):
        model = untied()
    with pytest.raises(UsageError, match=r"has no data, on the device meta: call model\.to_empty"):
        initialize_(model, scheme, **ROWS[scheme][0])


@pytest.mark.parametrize("scheme", SCHEMES)
def test_no_option_takes_what_is_none(scheme: str) -> None:
    options = ROWS[scheme][0]
    model = untied()
    for name in SCHEMES[scheme].options:
        for wrong in ("x", None, math.nan, -1.0, [], math.inf):
            with refused(model, f"{name} "):
                initialize_(model, scheme, **(options | {name: wrong}))
    for name in SCHEMES[scheme].needs:
        with refused(model, f"needs {name}: give {name}="):
            initialize_(model, scheme, **{n: v for n, v in options.items() if n != name})


@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_rule_for_blocks_wants_blocks(scheme: str) -> None:
    model = MLP([40, 30, 20])
    if SCHEMES[scheme].scope != "blocks":
        assert set(initialize_(model, scheme, **ROWS[scheme][0])) == {
            name for name, _ in model.named_parameters()
        }
        return
    with refused(model, r"residual blocks, .* c_proj, .*: MLP has none"):
        initialize_(model, scheme, **ROWS[scheme][0])


@pytest.mark.parametrize(
    ("scheme", "options", "text"),
    [
        ("gpt2", {"residual_scaling": False}, "gpt2(residual_scaling=False)"),
        ("mup", {"base_width": 64}, "mup(base_width=64)"),
        ("normal", {"std": np.float32(0.5)}, "normal(std=0.5)"),
    ],
)
def test_a_scheme_keeps_what_its_rule_takes(
    scheme: str, options: dict[str, Any], text: str
) -> None:
    kept = Scheme(scheme, options)
    assert str(kept) == text
    assert check_options(scheme, dict(kept.options)) == options
    assert Scheme.of(kept.plain) == kept


@pytest.mark.parametrize("scheme", SCHEMES)
def test_sweeps_and_theory_know_the_rule(scheme: str) -> None:
    options, expected = ROWS[scheme]
    assert dict(Scheme(scheme, options).options) == {
        name: value for name, value in options.items() if value != SCHEMES[scheme].options[name]
    }
    in_a_sweep = {"schemes": [{"name": scheme, **options}]}
    if scheme in LAYER_SCHEMES:
        assert theory.scheme_std(scheme, 150, 60, **options) == pytest.approx(
            expected("hidden", 0, 150, 60), rel=1e-12
        )
        with pytest.raises(UsageError, match="depth-scaling scheme"):
            theory.depth_scaling(scheme, L, D, **options)
        if scheme != "normal":  # whose stds are given as such
            assert SweepSpec(hidden=((4,),), **in_a_sweep).schemes[0].name == scheme
        return
    scaling = theory.depth_scaling(scheme, L, D, **options)
    for field, role in {
        "query_key": "q",
        "value": "v",
        "attention_out": "attention_out",
        "mlp_in": "mlp_in",
        "mlp_out": "mlp_out",
    }.items():
        stds = [expected(role, block, 0, 0) for block in range(1, L + 1)]
        np.testing.assert_allclose(getattr(scaling, field), stds, rtol=1e-12)
    assert scaling.embedding == pytest.approx(expected("token_embedding", 0, 0, 0), rel=1e-12)
    with pytest.raises(UsageError, match="one for a transformer"):
        theory.scheme_std(scheme, 150, 60, **options)
    with pytest.raises(UsageError, match=r"schemes cannot hold .*: it is for a GPT-2"):
        SweepSpec(hidden=((4,),), **in_a_sweep)


# --- Models --------------------------------------------------------------------------------


def convolutional() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 40, 5),
        nn.BatchNorm2d(40),
        nn.Conv1d(8, 30, 3, bias=False),
        nn.Embedding(11, 7),
        nn.Linear(50, 70),
    )


def test_fans_of_convolutions_biases_set_and_other_parameters_left_alone() -> None:
    model = convolutional()
    untouched = {n: p.clone() for n, p in model.named_parameters() if n[0] in "13"}
    given = initialize_(model, "kaiming", bias_std=0.5, generator=generator())
    assert given == pytest.approx(
        {
            "0.weight": math.sqrt(2 / 75),
            "0.bias": 0.5,
            "2.weight": math.sqrt(2 / 24),
            "4.weight": math.sqrt(2 / 50),
            "4.bias": 0.5,
        },
        rel=1e-12,
    )
    parameters = dict(model.named_parameters())
    for name, std in given.items():
        assert_drawn(parameters[name], std, "normal")
    for name, before in untouched.items():
        assert torch.equal(parameters[name], before)
    assert initialize_(model, "lecun")["4.bias"] == 0.0
    assert not parameters["4.bias"].any()


def tiny_gpt2(**options: object) -> nn.Module:
    config = transformers.GPT2Config(
        n_layer=2, n_embd=96, n_head=4, n_positions=16, vocab_size=101, **options
    )
    return transformers.GPT2LMHeadModel(config)


@pytest.mark.parametrize("mode", ["fan_in", "fan_out"])
def test_fans_of_a_real_gpt2(mode: str) -> None:
    """`Conv1D` stores (in, out): its fans are those of the map x W, not of torch's layout."""
    model = tiny_gpt2()
    before = {name: p.clone() for name, p in model.named_parameters()}
    given = initialize_(model, "kaiming", mode=mode, generator=generator())
    parameters = dict(model.named_parameters())
    n = 96
    layers = {"attn.c_attn": (n, 3 * n), "attn.c_proj": (n, n), "mlp.c_fc": (n, 4 * n)}
    layers |= {"mlp.c_proj": (4 * n, n)}
    expected = {}
    for block, (name, (n_in, n_out)) in itertools.product(range(2), layers.items()):
        layer = model.transformer.h[block].get_submodule(name)
        assert type(layer).__name__ == "Conv1D"
        assert layer(torch.zeros(1, n_in)).shape == (1, n_out)
        fan = n_in if mode == "fan_in" else n_out
        expected[f"transformer.h.{block}.{name}.weight"] = math.sqrt(2 / fan)
        expected[f"transformer.h.{block}.{name}.bias"] = 0.0
    expected["lm_head.weight"] = math.sqrt(2 / (n if mode == "fan_in" else 101))
    assert given == pytest.approx(expected, rel=1e-12)
    for name, std in expected.items():
        if std:
            assert_drawn(model.get_parameter(name), std, "normal")
        else:
            assert not parameters[name].any()
    # The token embedding is the same tensor as the output layer's weight; nothing else changes.
    assert model.lm_head.weight is model.transformer.wte.weight
    kept = set(before) - set(expected) - {"transformer.wte.weight"}
    assert {"transformer.wpe.weight", "transformer.ln_f.weight"} <= kept
    assert all(torch.equal(parameters[name], before[name]) for name in kept)


def test_an_untied_embedding_stays_as_it_is() -> None:
    model = tiny_gpt2(tie_word_embeddings=False)
    with unchanged(model.transformer.wte):
        assert "lm_head.weight" in initialize_(model, "normal", std=1.0)


# --- GPT-2, whole --------------------------------------------------------------------------


def gpt2_stds(n_layer: int, std: float) -> dict[str, float]:
    """Std of every parameter of a GPT-2: 0 for biases and norms, 1/sqrt(2 L) for `c_proj`."""
    out = std / math.sqrt(2 * n_layer)
    block = {"attn.c_attn": std, "attn.c_proj": out, "mlp.c_fc": std, "mlp.c_proj": out}
    stds = {"wte.weight": std, "wpe.weight": std, "ln_f.weight": 0.0, "ln_f.bias": 0.0}
    for layer, (name, value) in itertools.product(range(n_layer), block.items()):
        stds |= {f"h.{layer}.{name}.weight": value, f"h.{layer}.{name}.bias": 0.0}
    for layer, name in itertools.product(range(n_layer), ("ln_1", "ln_2")):
        stds |= {f"h.{layer}.{name}.weight": 0.0, f"h.{layer}.{name}.bias": 0.0}
    return {f"transformer.{name}": value for name, value in stds.items()}


@pytest.mark.parametrize(("n_layer", "std"), [(1, 0.02), (3, 0.02), (3, 0.1)])
def test_gpt2_has_its_stds_whatever_transformers_does(n_layer: int, std: float) -> None:
    """transformers 5.0 to 5.14 drop the 1/sqrt(2 n_layer): here every std is set again."""
    model = gpt2("nano12", n_layer=n_layer)
    for parameter in model.parameters():  # what was there before must not matter
        nn.init.constant_(parameter, math.nan)
    returned = initialize_(model, "gpt2", std=std, generator=generator())
    assert returned == pytest.approx(gpt2_stds(n_layer, std), rel=1e-12)
    assert set(returned) == {name for name, _ in model.named_parameters()}
    for name, parameter in model.named_parameters():
        if returned[name]:
            assert_drawn(parameter, returned[name], "normal")
        else:
            constant = 1.0 if ".ln_" in name and name.endswith("weight") else 0.0
            assert torch.equal(parameter, torch.full_like(parameter, constant))
    assert model.lm_head.weight is model.transformer.wte.weight


def test_gpt2_without_its_residual_scaling_has_one_std() -> None:
    model = gpt2("nano12", n_layer=3)
    returned = initialize_(model, "gpt2", std=0.05, residual_scaling=False, generator=generator())
    assert set(returned.values()) <= {0.05, 0.0}
    for block in model.transformer.h:
        assert block.mlp.c_proj.weight.std().item() == pytest.approx(0.05, rel=0.02)
    with pytest.raises(UsageError, match="residual_scaling must be true or false, not 0"):
        initialize_(model, "gpt2", residual_scaling=0)


def test_an_untied_gpt2_draws_its_output_layer_too() -> None:
    returned = initialize_(tiny_gpt2(tie_word_embeddings=False), "gpt2")
    assert returned == pytest.approx(gpt2_stds(2, 0.02) | {"lm_head.weight": 0.02})


def test_the_post_norm_ancestor_of_gpt2_gets_the_same_stds() -> None:
    config = transformers.OpenAIGPTConfig(
        n_layer=3, n_embd=96, n_head=4, n_positions=16, vocab_size=101
    )
    model = transformers.OpenAIGPTLMHeadModel(config)
    returned = initialize_(model, "gpt2", generator=generator())
    assert set(returned) == {name for name, _ in model.named_parameters()}
    for name, std in returned.items():
        if name.endswith("c_proj.weight"):
            assert std == pytest.approx(0.02 / math.sqrt(6))
            assert_drawn(model.get_parameter(name), std, "normal")


def test_other_schemes_leave_embeddings_and_norms_alone() -> None:
    model = tiny_gpt2()
    nn.init.constant_(model.transformer.ln_f.weight, 3.0)
    with unchanged(model.transformer.wpe), unchanged(model.transformer.ln_f):
        for scheme in LAYER_SCHEMES:
            report = initialize_(model, scheme, **ROWS[scheme][0])
            why = f"scheme {scheme} is for layers, and leaves "
            assert report.kept["transformer.wpe.weight"] == f"{why}embeddings alone"
            assert report.kept["transformer.ln_f.weight"] == f"{why}norms alone"


def test_a_shared_weight_is_drawn_once() -> None:
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nn.Linear(20, 20), nn.Linear(20, 20)
            self.second.weight = self.first.weight
            self.third = nn.Linear(20, 20)

    model = Tied()
    given = initialize_(model, "normal", std=1.0, bias_std=0.1, generator=generator())
    assert list(given) == [
        "first.weight",
        "first.bias",
        "second.bias",
        "third.weight",
        "third.bias",
    ]
    alone = generator()
    for name, scale, shape in (
        ("first.weight", 1.0, (20, 20)),
        ("first.bias", 0.1, (20,)),
        ("second.bias", 0.1, (20,)),
        ("third.weight", 1.0, (20, 20)),
    ):
        drawn = torch.empty(shape).normal_(0, scale, generator=alone)
        assert torch.equal(model.get_parameter(name), drawn)


def test_returned_names_are_parameters() -> None:
    model = MLP([5, 4, 3])
    assert list(initialize_(model, "lecun")) == ["0.weight", "0.bias", "2.weight", "2.bias"]
    assert set(initialize_(nn.Linear(3, 2, bias=False), "lecun")) == {"weight"}
    assert [(name, transposed) for name, _, transposed in weight_layers(model)] == [
        ("0", False),
        ("2", False),
    ]


# --- Generators ----------------------------------------------------------------------------


def test_without_a_generator_torch_s_own_is_used() -> None:
    model = nn.Linear(30, 20)
    torch.manual_seed(11)
    initialize_(model, "lecun")
    first = model.weight.clone()
    initialize_(model, "lecun", generator=generator(11))
    assert torch.equal(model.weight, first)


def test_stds_scale_the_same_draws() -> None:
    """Runs of one seed of a sweep differ in nothing but the scale."""
    model = MLP([30, 20, 10])
    initialize_(model, "normal", std=1.0, generator=generator(2))
    unit = [p.clone() for p in model.parameters()]
    initialize_(model, "normal", std=0.25, generator=generator(2))
    for p, one in zip(model.parameters(), unit, strict=True):
        assert torch.equal(p, 0.25 * one)


def test_gradients_are_not_asked_for() -> None:
    model = nn.Linear(30, 20)
    initialize_(model, "orthogonal")
    assert model.weight.grad_fn is None
    assert model.weight.requires_grad


# --- What is refused -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("scheme", "options", "message"),
    [
        ("kaimin", {}, "unknown scheme 'kaimin'. Did you mean 'kaiming'"),
        ("He", {}, "unknown scheme 'He'. Did you mean 'he'"),
        (None, {}, "unknown scheme None"),
        (["kaiming"], {}, r"unknown scheme \['kaiming'\]"),
        ("lecun", {"std": 0.1}, "unknown option of scheme 'lecun' 'std'"),
        ("kaiming", {"fan": "fan_in"}, "unknown option of scheme 'kaiming' 'fan'. Did you mean"),
        ("normal", {}, r"scheme 'normal' needs std: give std=\.\.\."),
        ("normal", {"std": -0.1}, "std must be a finite number of at least 0, not -0.1"),
        ("normal", {"std": "0.1"}, "std must be a finite number of at least 0, not '0.1'"),
        ("normal", {"std": 0.1, "bias_std": -1.0}, "bias_std must be .* not -1.0"),
        ("normal", {"std": 0.1, "bias_std": math.nan}, "bias_std must be .* not nan"),
        ("kaiming", {"mode": "fanin"}, "unknown mode 'fanin'. Did you mean 'fan_in'"),
        ("xavier", {"distribution": "unifrom"}, "unknown distribution .* Did you mean 'uniform'"),
    ],
    ids=str,
)
def test_bad_input_is_refused_before_anything_changes(
    scheme: object, options: dict[str, object], message: str
) -> None:
    model = MLP([4, 3, 2])
    with refused(model, message):
        initialize_(model, scheme, **options)


@pytest.mark.parametrize("scale", [-1.0, math.nan, math.inf, "2"])
def test_bad_scales_are_refused(scale: object) -> None:
    with pytest.raises(UsageError, match="scale must be a finite number of at least 0"):
        variance_scaling_(torch.zeros(3, 3), scale)


def test_the_result_of_a_computation_is_refused() -> None:
    with pytest.raises(UsageError, match="tensor is the result of a computation"):
        variance_scaling_(2 * nn.Parameter(torch.ones(3, 3)), 1.0)


def test_a_bias_std_beyond_the_numbers_of_the_type_is_refused_before_anything_changes() -> None:
    model = MLP([4, 3, 2]).half()
    with refused(model, "std or scale 20000 is beyond the range of torch.float16"):
        initialize_(model, "kaiming", bias_std=20_000.0)
    initialize_(model, "kaiming", bias_std=16_000.0, generator=generator())  # four of them fit
    assert all(p.isfinite().all() for p in model.parameters())


@pytest.mark.parametrize("model", [nn.ReLU(), nn.Sequential(), nn.Embedding(4, 3)], ids=repr)
def test_a_model_with_nothing_to_initialize(model: nn.Module) -> None:
    with pytest.raises(UsageError, match="has no linear or convolutional layer to initialize"):
        initialize_(model, "lecun")


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((), "at least two dimensions, not 0"),
        ((5,), "at least two dimensions, not 1"),
        ((0, 5), r"shape \(0, 5\) has no elements"),
        ((5, 0), r"shape \(5, 0\) has no elements"),
        ((5, 5, 0), "has no elements"),
    ],
)
def test_a_tensor_without_fans(shape: tuple[int, ...], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        fans(torch.zeros(shape))
    with pytest.raises(UsageError, match=message):
        variance_scaling_(torch.zeros(shape), 1.0)


@pytest.mark.filterwarnings("ignore:Initializing zero-element tensors")
@pytest.mark.parametrize("scheme", SCHEMES)
def test_an_empty_layer_is_refused_before_anything_changes(scheme: str) -> None:
    model = nn.Sequential(nn.Linear(4, 3), nn.Linear(3, 0))
    with refused(model, r"of 1, of shape \(0, 3\), has no elements: give the layer at least one"):
        initialize_(model, scheme, **ROWS[scheme][0])


def test_options_of_the_schemes() -> None:
    assert list(SCHEMES["kaiming"].options) == ["gain", "mode", "distribution"]
    assert SCHEMES["normal"].options == {"std": None}
    assert SCHEMES["gpt2"].options == {"std": 0.02, "residual_scaling": True}
    assert check_options("gpt2", {"std": 1}) == {"std": 1.0}


def test_layers_of_a_block_are_told_by_their_whole_names() -> None:
    """Also with cross-attention, in a block without a number, beside other layers of their shapes.

    DeepNorm gives Xavier, times (8 L)^(-1/4) but for queries and keys: here L is 1.
    """
    n, beta = 64, 8**-0.25
    sizes = {
        "attn": {"c_attn": (n, 3 * n), "c_proj": (n, n)},
        "crossattention": {"c_attn": (n, 2 * n), "q_attn": (n, n), "c_proj": (n, n)},
        "mlp": {"c_fc": (n, 4 * n), "a_gate": (n, 3 * n), "z_gate": (n, n), "c_proj": (4 * n, n)},
    }
    block = nn.ModuleDict(
        {
            part: nn.ModuleDict({name: nn.Linear(*size) for name, size in layers.items()})
            for part, layers in sizes.items()
        }
    )
    initialize_(nn.ModuleDict({"block": block}), "deepnorm", generator=generator())

    def std(part: str, name: str) -> list[float]:
        weight = block[part][name].weight
        parts = len(weight) // n if name == "c_attn" else 1
        return [float(matrix.detach().std()) for matrix in weight.chunk(parts)]

    def xavier(fan_out: int, fan_in: int = n) -> float:
        return math.sqrt(2 / (fan_in + fan_out))

    query = key = xavier(n)
    value = out = beta * xavier(n)
    expected = {
        "attn": {"c_attn": [query, key, value], "c_proj": [out]},
        "crossattention": {"c_attn": [key, value], "q_attn": [query], "c_proj": [out]},
        "mlp": {
            "c_fc": [beta * xavier(4 * n)],
            "a_gate": [beta * xavier(3 * n)],
            "z_gate": [beta * xavier(n)],
            "c_proj": [beta * xavier(n, 4 * n)],
        },
    }
    for part, layers in expected.items():
        for name, stds in layers.items():
            assert std(part, name) == pytest.approx(stds, rel=0.06), (part, name)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (nn.Sequential(nn.Linear(4, 4), nn.LazyLinear(5)), "1 has no shape yet: call the model"),
        (nn.Linear(4, 4).to(torch.float8_e4m3fn), "initialize the model in bfloat16"),
        (nn.Linear(4, 4, dtype=torch.complex64), "must hold floating-point numbers"),
    ],
    ids=["lazy", "float8", "complex"],
)
def test_layers_that_cannot_be_drawn_are_one_clear_error(model: nn.Module, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        initialize_(model, "kaiming")
    if isinstance(model, nn.Sequential):
        model(torch.zeros(1, 4))
        assert len(initialize_(model, "kaiming")) == 4
