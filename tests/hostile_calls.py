"""What every public function of the package is called with: valid arguments, and hostile ones.

A row a function: fresh valid arguments, cheap ones. `hostile_values` is what stands in their place
one after the other, and `outcome` says what became of the call.
"""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import functools
import importlib
import inspect
import math
import pkgutil
import re
import resource
import tempfile
import traceback
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from matplotlib.figure import Figure
from torch import nn

import initscope
from initscope import chapter as chapters
from initscope import monte_carlo, theory
from initscope.analysis.comparison import compare, layer_ratios, run_measures
from initscope.analysis.deviations import deviations
from initscope.analysis.effects import own_rates, paired_effects
from initscope.analysis.growth import growth_parts
from initscope.analysis.stability import stability_bands
from initscope.analysis.sweeps import to_tidy
from initscope.analysis.trajectories import expansion_rates, layer_spread
from initscope.claims import Cases, Claim, Effect, Finding
from initscope.errors import UsageError
from initscope.models import MLP, gpt2
from initscope.predict.forecast import ModelPrediction, predict
from initscope.sweep import Optimizer, SweepSpec, run_sweep
from initscope.tracking.alerts import AlertWatch, not_finite
from initscope.tracking.callback import VarianceCallback
from initscope.tracking.layer_records import VarianceRecord, record_variances
from initscope.tracking.tracker import VarianceTracker


@dataclasses.dataclass(frozen=True)
class Row:
    """How one public function is called.

    Attributes
    ----------
    base
        Makes valid arguments, by name.
    call
        What is called with them; by default what the row is named after.
    says
        Other words by which a message may name an argument.
    nan
        Why NaN is an answer, if it is one.
    valid
        False where no valid call is cheap: everything has to be refused.
    passes_on
        Arguments that are the caller's own program: what they raise is passed on as it is.
    """

    base: Callable[[], dict[str, Any]] = dict
    call: Callable[..., Any] | None = None
    says: Mapping[str, Sequence[str]] = dataclasses.field(default_factory=dict)
    nan: str = ""
    valid: bool = True
    passes_on: Sequence[str] = ()


# --- What there is ---------------------------------------------------------------------------


def public_callables() -> dict[str, Any]:
    """Every public function, class and method of the package, by the place it is defined in."""
    found: dict[str, Any] = {}
    for info in pkgutil.walk_packages(initscope.__path__, "initscope."):
        if any(part.startswith("_") for part in info.name.split(".")[1:]):
            continue
        module = importlib.import_module(info.name)
        names = getattr(module, "__all__", None)
        if names is None:
            names = [
                name
                for name, value in vars(module).items()
                if not name.startswith("_") and getattr(value, "__module__", None) == info.name
            ]
        for name in names:
            value = getattr(module, name)
            if not (inspect.isfunction(value) or inspect.isclass(value)):
                continue
            place = f"{value.__module__}.{value.__qualname__}"
            if place.startswith("initscope."):
                found[place] = value
            if inspect.isclass(value):
                found |= _methods(place, value)
    return found


def _methods(place: str, kind: type) -> Iterator[tuple[str, Any]]:
    """Methods of a class that take arguments, those it inherits left out."""
    for name, value in vars(kind).items():
        function = getattr(value, "__func__", value)
        if name.startswith("_") or not inspect.isfunction(function):
            continue
        if len(inspect.signature(function).parameters) > (not isinstance(value, staticmethod)):
            yield f"{place}.{name}", getattr(kind, name)


# --- Valid arguments -------------------------------------------------------------------------


def once(make: Callable[[], pd.DataFrame]) -> Callable[[], pd.DataFrame]:
    """Make a table once, and hand out copies."""
    made = functools.cache(make)
    return lambda: made().copy()


@once
def sweep() -> pd.DataFrame:
    spec = SweepSpec(
        hidden=((8,), (8, 8)),
        stds=(0.01, 0.3),
        schemes=("xavier", "kaiming"),
        optimizers=(Optimizer("sgd", 0.1),),
        seeds=2,
        epochs=2,
        probes=3,
    )
    return run_sweep(spec, progress=False)


def three_layers() -> pd.DataFrame:
    """As weight_std gives it, of three layers."""
    index = pd.MultiIndex.from_product([("q", "v"), (1, 2, 3)], names=["role", "layer"])
    growth = np.array([1.1, 1.3, 1.2, 1.4, 1.1, 1.3])
    return pd.DataFrame({0: 0.1, 10: 0.1 * growth, 20: 0.2}, index).rename_axis(columns="step")


def losses_by_step() -> pd.Series:
    return pd.Series([5.0, 3.0, 2.0], [0, 10, 20])


def curve_errors_table() -> pd.DataFrame:
    """As curve_distances gives it."""
    return pd.DataFrame({"noise": [0.1, 0.3], "no change": [0.2, 0.1]}, index=["q", "v"])


def weibull_scales(*components: str) -> pd.DataFrame:
    """As load_weibull_scales gives it, for a recipe of few updates."""
    columns = {"model": "shakespeare", "component": components, "scale": 0.03, "shape": 1.2}
    return pd.DataFrame(columns)


def intervals() -> pd.DataFrame:
    """As measured_over_predicted and implied_decays give them."""
    table = pd.DataFrame({"model": "shakespeare", "component": ["qkv", "o"], "low": [0.09, 0.1]})
    table = table.assign(high=1.1 * table["low"], configured=0.1)
    return table.assign(ratio_low=table["low"], ratio_high=table["high"])


def std() -> pd.DataFrame:
    """As weight_std gives it."""
    index = pd.MultiIndex.from_product([("q", "v"), (1, 2)], names=["role", "layer"])
    steps = pd.Index((0, 10, 20), name="step")
    rates = np.array([0.01, 0.02, -0.01, 0.0])
    return pd.DataFrame(0.02 * np.exp(rates[:, None] * np.array(steps)), index, steps)


def windows() -> pd.DataFrame:
    """As growth_in_windows gives it."""
    columns = pd.MultiIndex.from_tuples([(0, 10), (10, 20)], names=["after", "until"])
    return pd.DataFrame(std().iloc[:, 1:].to_numpy(), std().index, columns)


def variances() -> pd.DataFrame:
    """As a tracker gives it."""
    rows = []
    for step in (0, 10, 20):
        for layer in (1, 2):
            for role in ("q", "k", "v"):
                for stat in ("std", "rms"):
                    rows.append((step, layer, role, "weight", stat, 0.02 + step / 1000))
                for stat in ("decay", "alignment", "step") if step else ():
                    rows.append((step, layer, role, "update", stat, 1e-7))
    return pd.DataFrame(rows, columns=["step", "layer", "role", "kind", "stat", "value"])


def histograms() -> pd.DataFrame:
    counts = np.arange(40).tolist()
    rows = [(step, 1, "q", -0.1, 0.1, counts) for step in (0, 10)]
    return pd.DataFrame(rows, columns=["step", "layer", "role", "low", "high", "counts"])


@once
def profiles() -> pd.DataFrame:
    return monte_carlo.variance_profiles([4] * 4, networks=8)


@functools.cache
def weight_ratios() -> pd.DataFrame:
    return layer_ratios(of_schemes(), "xavier", "kaiming", "weight_std")


@functools.cache
def against_theory() -> pd.DataFrame:
    widths = [4] * 4
    return monte_carlo.against_theory(
        profiles(),
        theory.propagate(widths, "relu", "kaiming"),
        theory.finite_width_interval(widths, "relu", "kaiming"),
    )


@functools.cache
@functools.cache
def _pretrained() -> pd.DataFrame:
    return initscope.widgets.GPTTraining(width=16, steps=10).train()


def _equilibrium_widget() -> Any:
    return initscope.widgets.AdamWEquilibrium()


@functools.cache
def small_gpt2() -> Any:
    torch.manual_seed(0)
    return gpt2("nano12", n_layer=1, n_embd=8, n_head=2, n_positions=4, vocab_size=16)


@functools.cache
def growing() -> dict[str, Any]:
    model = small_gpt2()
    return {"model": model, "optimizer": torch.optim.AdamW(model.parameters())}


def trained() -> tuple[Any, torch.optim.Optimizer]:
    """A model, and an optimizer that has made a step."""
    model = copy.deepcopy(small_gpt2())
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
    tokens = torch.arange(4)[None]
    model(tokens, labels=tokens).loss.backward()
    optimizer.step()
    return model, optimizer


def mlp() -> MLP:
    torch.manual_seed(0)
    return MLP([3, 4, 2])


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def bands() -> pd.DataFrame:
    """Two stability bands, with all that is known of one."""
    table = pd.DataFrame({"depth": [3, 4], "widths": ["64-64-64-10", "64-64-64-64-10"]})
    table = table.assign(learning_rate=0.1, batch_size=10, n_train=1000, epochs=1)
    table = table.assign(open_low=False, open_high=False, low=0.01, high=0.3, decades=1.5)
    return table.assign(low_from=0.009, low_to=0.02, high_from=0.2, high_to=0.4)


def by_epoch() -> pd.DataFrame:
    return pd.DataFrame({"epochs": [2], "accuracy_by_epoch": [[0.1, 0.7, 0.9]]})


def claim_texts() -> dict[str, str]:
    return {"expected": "It holds.", "refuted_by": "It does not."}


def finding() -> dict[str, Any]:
    """A finding that rests on this file."""
    return {
        "claim": "a-claim",
        "digest": "0" * 20,
        "kind": "claims",
        "in_scope": Cases(2, 1),
        "beyond": None,
        "summary": "Two of three.",
        "effect": Effect("a size", 1.0, 0.5, 1.5),
        "runs": 3,
        "figure": "fig-a",
        "records": {"a.parquet": "0" * 64},
        "profile": "cpu",
    }


def layered(columns: Sequence[str], **names: Sequence[Any]) -> pd.DataFrame:
    """A table with a row a combination of names and layer, and numbers in `columns`."""
    index = pd.MultiIndex.from_product([*names.values(), range(1, 4)], names=[*names, "layer"])
    values = np.linspace(0.5, 1.5, len(index))
    return pd.DataFrame(dict.fromkeys(columns, values), index).reset_index()


def loss_table() -> pd.DataFrame:
    return pd.DataFrame({"step": [0, 10], "loss": [5.0, 3.0]})


@once
def measures() -> pd.DataFrame:
    return run_measures(sweep())


@once
def differences() -> pd.DataFrame:
    return compare(measures(), "kaiming", "xavier", "test_accuracy", resamples=20)


def effects() -> pd.DataFrame:
    return paired_effects(measures(), "xavier", "kaiming", "test_accuracy", 0.005)


def tails() -> pd.DataFrame:
    """Of one matrix, what its tails are computed from."""
    names = ("kurtosis", "quantile_0.001", "quantile_0.999", "std")
    rows = [
        (0, 1, "q", "weight", name, value)
        for name, value in zip(names, (3, -1, 1, 0.5), strict=True)
    ]
    return pd.DataFrame(rows, columns=["step", "layer", "role", "kind", "stat", "value"])


def deviating() -> pd.DataFrame:
    """As a comparison of networks with theory has it."""
    rows = {"direction": ["forward", "backward"], "layer": [1, 1], "inside": [0.9, 1.0]}
    rows |= {name: [1.0, 2.0] for name in ("mean", "median", "theory", "low")}
    return pd.DataFrame(rows | {"standard_error": 0.1, "high": [3.0, 4.0]})


def of_schemes() -> pd.DataFrame:
    table = sweep()
    return table[table["scheme"] != "normal"]


def bands_table() -> pd.DataFrame:
    columns = {"low": 0.01, "median": 0.015, "high": 0.02, "predicted": 0.016, "equilibrium": 0.1}
    rows = {("a run", role): columns for role in "QK"}
    return pd.DataFrame.from_dict(rows, orient="index")


def spreads(**renamed: str) -> pd.DataFrame:
    columns = ["measured", "error", "predicted", "wide", "low", "high"]
    table = layered(columns, activation=("relu", "tanh"), width=(10, 100))
    return table.rename(columns=renamed)


def stream() -> pd.DataFrame:
    names = ("measured", "predicted", "uncorrelated", "low", "high", "reduced")
    return pd.DataFrame(dict.fromkeys(names, np.linspace(0.1, 0.9, 5)))


QUANTITIES = ("query", "key", "value", "logit", "attention", "mlp")


def blocks() -> pd.DataFrame:
    rows = [
        {"depth": depth, "quantity": name, "value": float(depth)}
        for name in QUANTITIES
        for depth in (1, 2)
    ]
    return pd.DataFrame(rows)


def depths(column: str) -> pd.DataFrame:
    rows = [
        {"rule": rule, "blocks": count, column: float(count)}
        for rule in ("with", "without")
        for count in (2, 4)
    ]
    return pd.DataFrame(rows)


def labelled(*columns: str) -> pd.DataFrame:
    x = np.linspace(0.1, 1, 5)
    return pd.concat(
        pd.DataFrame({"label": label, "layer": range(5)} | dict.fromkeys(columns, x))
        for label in "ab"
    )


def phases() -> pd.DataFrame:
    w, b = (grid.ravel() for grid in np.meshgrid(np.linspace(0.1, 4, 4), np.linspace(0, 1, 3)))
    return pd.DataFrame({"activation": "ReLU", "sigma_w2": w, "sigma_b2": b, "chi": w / 2})


def edges() -> pd.DataFrame:
    columns = {"activation": ["ReLU"], "sigma_w2": [2.0], "sigma_b2": [0.0], "stable": [True]}
    return pd.DataFrame(columns)


def trainability() -> pd.DataFrame:
    rows = [
        {"sigma_w2": w, "depth": depth, "accuracy": 0.5}
        for w in (0.5, 1.0, 2.0)
        for depth in (4, 8)
    ]
    return pd.DataFrame(rows)


def scales() -> pd.DataFrame:
    columns = {"label": "a", "sigma_w2": [0.5, 1.0, 2.0], "depth_scale": [1.0, 9.0, 3.0]}
    return pd.DataFrame(columns).assign(depth=[4.0, 6.0, 8.0])


def formats() -> pd.DataFrame:
    rows = [
        {"format": name, "depth": depth, "low": 0.1 / depth, "high": 1.0, "network": 0}
        for name in ("float32", "float16")
        for depth in (4, 8)
    ]
    return pd.DataFrame(rows)


def moments_table() -> pd.DataFrame:
    columns = {
        "width": [10],
        "mean": [-3.0],
        "variance": [9.0],
        "first_mean": [-2.0],
        "first_variance": [7.0],
    }
    return pd.DataFrame(columns)


def split() -> pd.DataFrame:
    """Growth in two windows of a matrix in two layers."""
    rows = [
        {"after": after, "until": after + 10, "role": "q", "layer": layer, "rate_squares": 0.5}
        for after in (0, 10)
        for layer in (1, 2)
    ]
    return pd.DataFrame(rows).assign(growth=0.8, shadow=0.4, rest_64=0.3)


def parts() -> pd.DataFrame:
    return growth_parts(split(), 64)


def by_role() -> pd.DataFrame:
    return std().groupby(level="role").median()


def slopes_table() -> pd.DataFrame:
    return pd.DataFrame({"rate": [1.0, 2.0, 4.0], "std": [1.0, 1.5, 2.0], "seed": 0})


def weight_shape() -> pd.DataFrame:
    return pd.DataFrame({"kurtosis": [3.0, 3.5], "tail": [1.0, 1.1]}, index=[0, 10])


def seeds_table() -> pd.DataFrame:
    return pd.DataFrame({seed: expansion_rates(std(), 20) for seed in range(3)})


def predictions() -> dict[str, list[float]]:
    return {name: [0.5, 0.4, 0.3][: name.count("-")] for name in of_schemes()["widths"].unique()}


def arrays_file() -> str:
    arrays = {f"{split}_inputs": np.zeros((4, 2)) for split in ("train", "test")}
    arrays |= {f"{split}_labels": np.array([0, 1, 0, 1]) for split in ("train", "test")}
    path = Path(tempfile.mkdtemp()) / "mine.npz"
    np.savez(path, **arrays)
    return str(path)


def tiny_config() -> dict[str, Any]:
    return {"model_type": "gpt2", "n_layer": 1, "n_embd": 8, "n_head": 2, "vocab_size": 9}


@functools.cache
def small_prediction() -> ModelPrediction:
    return predict(tiny_config(), learning_rate=1e-3, steps=40, seq_len=2)


NO_ANGLE = "the cosine of an angle with a vector of zeros is not defined, as documented"
NO_FIXED_POINT = "missing='nan' asks for it"

USUAL: dict[str, Any] = {
    "activation": "tanh",
    "alignment": 0.1,
    "bands": bands,
    "betas": (0.9, 0.99),
    "bias_std": 0.1,
    "depth": 2,
    "differences": differences,
    "diffusion": 1.0,
    "effects": effects,
    "first": "xavier",
    "folder": "not-there",
    "gain": 1.0,
    "input_variance": 1.0,
    "interval": (0.1, 0.0, 0.2),
    "layer_norm": True,
    "layer_norm_epsilon": 1e-5,
    "level": 0.9,
    "logit_std": 1.0,
    "logs": [1.0, 2.0, 4.0],
    "lr": 1e-3,
    "measure": "test_accuracy",
    "measures": measures,
    "missing": "raise",
    "mlp_ratio": 4.0,
    "model": small_gpt2,
    "n_embd": 8,
    "n_layer": 1,
    "networks": 2,
    "output_gradient_variance": 1.0,
    "q": 1.0,
    "residual": True,
    "residual_scaling": True,
    "residual_std": 0.02,
    "roles": ("q",),
    "scales": lambda: weibull_scales("qkv", "o"),
    "scheme": "kaiming",
    "second": "kaiming",
    "seed": 0,
    "seq_len": 2,
    "share": 0.9,
    "sigma_b2": 0.1,
    "sigma_w2": 1.5,
    "snr": 0.1,
    "std": std,
    "std0": 0.02,
    "stds": lambda: [std(), std()],
    "table": sweep,
    "tensor": lambda: torch.zeros(3, 4),
    "tokens": lambda: torch.zeros(1, 4, dtype=torch.long),
    "transposed": True,
    "until": 10,
    "values": [1.0, 2.0],
    "weight_decay": 0.1,
    "weight_std": 0.5,
    "width": 4,
    "widths": [3, 4, 2],
}
"""What an argument of this name is in most calls: a value, or a function that makes it."""


def usual(*names: str, **others: Any) -> Callable[[], dict[str, Any]]:
    """Make arguments: those of these names as in `USUAL`, and others; what can be called is."""
    arguments = {name: USUAL[name] for name in " ".join(names).split()} | others
    return lambda: {
        name: value() if callable(value) else copy.deepcopy(value)
        for name, value in arguments.items()
    }


ROWS: dict[str, Row] = {
    # theory
    "theory.gains.activation_moments": Row(usual("activation q")),
    "theory.gains.gain": Row(usual("activation q", direction="backward")),
    "theory.length_map.length_map": Row(usual("activation sigma_w2 sigma_b2", q=0.5)),
    "theory.length_map.fixed_point": Row(
        usual("activation sigma_w2 sigma_b2 missing", q0=1.0, q_range=(1e-10, 1e10)),
        says={"activation": ("length map",), "q_range": ("q0",)},
    ),
    "theory.criticality.chi": Row(usual("activation sigma_w2 sigma_b2 q missing", c=1.0)),
    "theory.correlation_map.correlation_map": Row(usual("activation sigma_w2 sigma_b2 q", c=0.5)),
    "theory.correlation_map.correlation_fixed_point": Row(
        usual("activation sigma_w2 sigma_b2 missing"), says={"activation": ("length map",)}
    ),
    "theory.criticality.depth_scale": Row(
        usual("activation sigma_w2 sigma_b2 missing", kind="length"),
        says={"activation": ("length map",)},
    ),
    "theory.criticality.critical_point": Row(
        usual("activation", sigma_b2=0.05, q_range=(1e-10, 1e10)),
        says={"activation": ("critical point",), "q_range": ("between",)},
        nan="q of a homogeneous activation, for which every q is a fixed point",
    ),
    "theory.propagation.propagate": Row(
        usual(
            "activation weight_std bias_std input_variance output_gradient_variance",
            widths=[4, 4, 4],
        ),
        says={"weight_std": ("scheme",)},
    ),
    "theory.stability.stability_band": Row(
        usual(
            "input_variance output_gradient_variance",
            widths=[4, 4, 4],
            activation="relu",
            bias_std=0.0,
            decades=1.0,
            number_format=None,
        ),
        says={"number_format": ("number format",)},
    ),
    "theory.finite_width.log_norm_moments": Row(
        usual(
            "weight_std bias_std input_variance",
            widths=[4, 4, 4],
            activation="relu",
            per_layer=False,
        ),
        says={"weight_std": ("scheme",)},
    ),
    "theory.finite_width.finite_width_interval": Row(
        usual(
            "weight_std bias_std input_variance output_gradient_variance",
            widths=[4, 4, 4],
            activation="relu",
            coverage=0.9,
        ),
        says={"weight_std": ("scheme",)},
    ),
    "theory.jacobian.jacobian_moments": Row(
        usual("depth width activation sigma_w2 sigma_b2 q", weights="gaussian")
    ),
    "theory.propagation.log_variances": Row(
        usual("width depth weight_std bias_std residual layer_norm", activation="relu")
    ),
    "theory.propagation.residual_propagate": Row(
        usual("width depth weight_std bias_std residual layer_norm", activation="relu")
    ),
    "theory.schemes.scheme_std": Row(usual("scheme gain", fan_in=4, fan_out=2)),
    "theory.transformer_scaling.depth_scaling": Row(
        usual("n_embd", scheme="gpt2", n_layer=2, std=0.02)
    ),
    "theory.transformer_scaling.mu_parametrization": Row(
        usual("lr", width=8, base_width=4, std=0.02, head_dim=4)
    ),
    "theory.transformer.residual_stream_variance": Row(
        usual(
            "n_layer n_embd seq_len residual_std mlp_ratio layer_norm_epsilon",
            std=0.02,
            position_std=0.02,
            activation="relu",
            token_repeat=0.0,
            gated=False,
            attention_ratio=1.0,
            per_position=False,
        )
    ),
    "theory.logits.attention_logit_variance": Row(
        usual("n_embd input_variance", std=0.02, key_std=0.02, head_dim=4)
    ),
    "theory.logits.initial_loss": Row(usual("n_embd input_variance", vocab_size=100, std=0.02)),
    "theory.softmax.critical_logit_std": Row(usual(n_keys=8)),
    "theory.softmax.attention_participation": Row(usual("logit_std", n_keys=8, limit=False)),
    "theory.transformer_gradient.weight_gradient_variance": Row(
        usual(
            "n_layer n_embd seq_len residual_std mlp_ratio layer_norm_epsilon",
            std=0.02,
            activation="relu",
            position_std=0.02,
            gated=True,
            attention_ratio=1.0,
        )
    ),
    "theory.transformer_gradient.residual_gradient_variance": Row(
        usual(
            "n_layer n_embd seq_len residual_std mlp_ratio layer_norm_epsilon",
            std=0.02,
            norm="pre",
            activation="relu",
            position_std=0.02,
            gated=True,
            attention_ratio=1.0,
        )
    ),
    "theory.adamw.adamw_update_rms": Row(usual("betas snr")),
    "theory.adamw.adamw_equilibrium_rms": Row(
        usual("weight_decay diffusion alignment betas", lr=0.01)
    ),
    "theory.adamw.adamw_rotation": Row(
        usual("weight_decay betas snr diffusion alignment", lr=0.01)
    ),
    "theory.adamw.adamw_variance_trajectory": Row(
        usual(
            "std0 weight_decay betas snr diffusion alignment",
            lr=0.01,
            drift=1e-3,
            epsilon=1e-3,
            gradient_rms=[1.0, 0.5, 0.1, 0.1, 0.0],
            steps=5,
        )
    ),
    "theory.adamw.adamw_momentum_alignment": Row(usual("betas", after_step=True)),
    "theory.implied_decay.implied_weight_decay": Row(
        usual("std0 betas", std=0.03, lr=[0.01, 0.02]), nan="no decay gives this std, as documented"
    ),
    "theory.adamw.data_memory": Row(usual("weight_decay alignment", lr=[0.01, 0.02])),
    # init and models
    "init.fans": Row(usual("tensor transposed")),
    "init.variance_scaling_std": Row(usual("tensor transposed", scale=2.0, mode="fan_in")),
    "init.variance_scaling_": Row(
        usual(
            "tensor transposed",
            scale=2.0,
            mode="fan_in",
            distribution="normal",
            generator=generator,
        )
    ),
    "theory.schemes.check_options": Row(usual("scheme", options={"gain": 1.0})),
    "init.weight_layers": Row(
        usual(model=mlp), call=lambda model: list(initscope.init.weight_layers(model))
    ),
    "initialization_report.Initialization": Row(),
    "init.initialize_": Row(
        usual(
            "scheme bias_std gain",
            model=mlp,
            generator=generator,
            strict=True,
            mode="fan_out",
            distribution="normal",
        ),
        says={"model": ("layer",)},
    ),
    "models.mlp.MLP": Row(usual("widths activation")),
    "sweep.spec.Optimizer": Row(
        usual(name="sgd", learning_rate=0.1, momentum=0.9), says={"name": ("optimizer",)}
    ),
    "theory.scheme.Scheme": Row(
        usual(name="kaiming", options={"gain": 1.0}),
        says={"name": ("scheme",), "options": ("option",)},
    ),
    "theory.scheme.Scheme.of": Row(usual(value="xavier"), says={"value": ("scheme",)}),
    "analysis.sweeps.to_tidy": Row(
        usual("table"), nan="dead units of the last layer, as documented"
    ),
    "models.gpt.gpt2": Row(
        usual(
            "n_layer n_embd layer_norm_epsilon",
            preset="nano12",
            n_head=2,
            n_positions=4,
            vocab_size=16,
            resid_pdrop=0.0,
            activation_function="relu",
        )
    ),
    "models.gpt.post_norm_gpt": Row(usual(like=small_gpt2)),
    # random networks
    "monte_carlo.variances.variance_profiles": Row(
        usual(
            "widths activation weight_std bias_std networks seed input_variance",
            "output_gradient_variance",
        ),
        says={"weight_std": ("scheme",)},
    ),
    "monte_carlo.variances.residual_profiles": Row(
        usual("depth activation weight_std bias_std residual layer_norm networks seed", width=3),
        says={"weight_std": ("scheme",)},
    ),
    "monte_carlo.correlations.correlation_profiles": Row(
        usual(
            "widths activation weight_std bias_std networks seed input_variance", correlation=0.5
        ),
        says={"weight_std": ("scheme",)},
        nan=NO_ANGLE,
    ),
    "monte_carlo.comparison.against_theory": Row(
        usual(
            profiles=profiles,
            theory=lambda: theory.propagate([4] * 4, "relu", "kaiming"),
            interval=lambda: theory.finite_width_interval([4] * 4, "relu", "kaiming"),
        )
    ),
    "monte_carlo.number_formats.representable_band": Row(
        usual(
            "widths seed",
            activation="relu",
            number_format="float16",
            networks=1,
            std_range=(1e-3, 1e3),
            precision=0.5,
        ),
        says={"number_format": ("number format",)},
        nan="a network that no std keeps in range, as documented",
    ),
    "monte_carlo.jacobian.layer_jacobians": Row(usual(model=mlp, inputs=lambda: torch.ones(3))),
    "monte_carlo.jacobian.jacobian_spectra": Row(
        usual(
            "widths scheme gain bias_std input_variance networks seed", activation="relu", at=(1,)
        ),
        says={"at": ("layer",)},
    ),
    "monte_carlo.residual_stream.stream_profile": Row(usual("model tokens")),
    "monte_carlo.residual_stream.stream_gradients": Row(
        usual("model tokens", labels=lambda: torch.zeros(1, 4, dtype=torch.long))
    ),
    "monte_carlo.attention.draw_participation": Row(
        usual("logit_std seed", n_keys=4, draws=3, head_dim=2)
    ),
    "monte_carlo.residual_stream.weight_gradients": Row(
        usual("model tokens", labels=lambda: torch.zeros(1, 4, dtype=torch.long))
    ),
    "monte_carlo.residual_stream.draw_narrow_models": Row(
        usual(
            "width n_layer seq_len seed",
            quantity="stream",
            draws=1,
            std=0.02,
            batch=1,
            scaled=True,
            post_norm=False,
        ),
        says={"width": ("n_embd",)},
    ),
    # what is measured in a model
    "tracking.layers.layer_variances": Row(
        usual(
            model=mlp,
            inputs=lambda: torch.ones(2, 3),
            labels=lambda: torch.tensor([0, 1]),
            loss_fn=lambda: nn.functional.cross_entropy,
            step=0,
        ),
        says={"loss_fn": ("loss",), "inputs": ("batch",)},
        nan="what overflows is reported as inf or NaN, as documented",
        passes_on=("model", "loss_fn"),
    ),
    "tracking.layer_records.record_variances": Row(
        usual(model=mlp), call=lambda model: _entered(record_variances(model))
    ),
    "tracking.layer_records.VarianceRecord.to_frame": Row(
        usual(step=3), call=lambda step: VarianceRecord().to_frame(step)
    ),
    "tracking.growth.GrowthSplit": Row(
        lambda: growing() | {"lags": (2, 4), "roles": None, "every": 2},
        says={"lags": ("lag",), "roles": ("role",)},
    ),
    "tracking.budget.variance_budget": Row(
        lambda: (
            dict(zip(("model", "optimizer"), trained(), strict=True)) | {"step": 1, "before": None}
        ),
        says={"optimizer": ("optimizer", "update of"), "model": ("model", "optimizer")},
    ),
    "tracking.tracker.VarianceTracker": Row(
        lambda: (
            dict(zip(("model", "optimizer"), trained(), strict=True))
            | {
                "every": 1,
                "embeddings_every": None,
                "quantities": ("weight", "gradient", "update"),
                "matrices": "attention",
                "vectors": False,
                "distribution_every": 2,
                "quantiles": (0.5,),
                "histograms": ("q",),
                "step": 0,
                "out_folder": None,
                "overwrite": False,
            }
        ),
        call=lambda **arguments: _tracked(VarianceTracker(**arguments)),
        says={
            "optimizer": ("optimizer", "update of"),
            "model": ("model", "role of histograms", "optimizer"),
            "histograms": ("role",),
            "quantities": ("quantity",),
            "out_folder": ("folder",),
        },
    ),
    "tracking.tracker.VarianceTracker.after_optimizer_step": Row(
        usual(updated=True),
        call=lambda updated: VarianceTracker(small_gpt2()).after_optimizer_step(updated=updated),
    ),
    "tracking.alerts.Alert": Row(
        usual(name="a", test=lambda: lambda rows: rows["value"] > 1, records=2, action="stop")
    ),
    "tracking.alerts.rotation_above": Row(usual(limit=0.3, records=3, action="warn")),
    "tracking.alerts.gradient_below": Row(
        usual(epsilon=1e-8, times=10.0, records=3, action="warn")
    ),
    "tracking.alerts.not_finite": Row(usual(action="warn")),
    "tracking.alerts.std_leaves_band": Row(
        usual(predicted=variances, factor=2.0, records=1, action="warn")
    ),
    "tracking.alerts.usual_alerts": Row(usual(epsilon=1e-8)),
    "tracking.alerts.AlertWatch": Row(
        usual(alerts=lambda: [not_finite()]), call=lambda alerts: AlertWatch(alerts)
    ),
    "tracking.alerts.AlertWatch.see": Row(
        usual(rows=variances), call=lambda rows: AlertWatch([not_finite()]).see(rows)
    ),
    "tracking.alerts.AlertWatch.watch": Row(
        usual(tracker="none"),
        call=lambda tracker: AlertWatch([not_finite()]).watch(tracker),
        valid=False,
    ),
    "tracking.json_lines.JsonLinesCallback": Row(usual(path="log.jsonl")),
    "tracking.callback.VarianceCallback": Row(
        usual(
            out_folder="variances",
            every=1,
            embeddings_every=3,
            quantities=("weight",),
            matrices="all",
            vectors=True,
            distribution_every=2,
            quantiles=(0.5,),
            histograms=("q",),
            overwrite=False,
            log=True,
            alerts=lambda: [not_finite()],
        ),
        says={"quantities": ("quantity",)},
    ),
    "tracking.callback.VarianceCallback.log_through": Row(
        usual(trainer="none"),
        call=lambda trainer: VarianceCallback("variances").log_through(trainer),
        valid=False,
    ),
    "tracking.matrices.weight_matrices": Row(
        usual("model", matrices="all", vectors=True),
        call=lambda **arguments: list(initscope.tracking.matrices.weight_matrices(**arguments)),
    ),
    "tracking.matrices.find_weight_matrices": Row(usual("model", matrices="all", vectors=True)),
    "tracking.tables.read_variances": Row(usual("folder"), valid=False),
    "tracking.tables.read_histograms": Row(usual("folder"), valid=False),
    "analysis.summary.run_summary": Row(
        usual(variances=variances), nan="of what was not recorded, as documented"
    ),
    "analysis.summary.compared_runs": Row(
        usual(first=variances, second=variances),
        says={"first": ("variances", "two runs"), "second": ("variances", "two runs")},
    ),
    "widgets.page.page": Row(
        usual(
            widget=lambda: initscope.widgets.AdamWEquilibrium(),
            title="a run",
            tables=lambda: {"q": std()},
            reload_after=2.0,
        )
    ),
    "data.arrays.load_arrays": Row(usual(path=arrays_file, standardize=True)),
    "data.arrays.load_columns": Row(
        usual(
            splits=lambda: {name: {"x": [[0.0], [1.0]], "y": [0, 1]} for name in ("train", "test")},
            inputs="x",
            labels="y",
            train="train",
            test="test",
            standardize=True,
        ),
        says=dict.fromkeys(("train", "test", "inputs", "labels"), ("split", "column")),
    ),
    "sweep.modules.optimizer_by_name": Row(
        usual(name="adam", parameters=lambda: [torch.zeros(2, requires_grad=True)], lr=0.1),
        says={"lr": ("options", "lr")},
    ),
    "sweep.modules.sweep_modules": Row(
        usual(
            build=lambda: lambda: MLP([13, 4, 3]),
            data="wine",
            stds=[0.1],
            schemes=["kaiming"],
            optimizers=lambda: [{"name": "SGD", "lr": 0.1}],
            seeds=1,
            epochs=1,
            batch_size=32,
            loss_points=2,
            progress=False,
        ),
        says={
            "stds": ("std",),
            "schemes": ("scheme", "std", "gain"),
            "optimizers": ("optimizer", "torch.optim"),
            "data": ("data", "class scores"),
        },
        nan="the std of what is given by a scheme, as documented",
        passes_on=("build", "optimizers"),
    ),
    "coordinates.coordinate_check": Row(
        usual(
            build=lambda: lambda width: MLP([3, width, 2]),
            widths=[2, 4],
            steps=1,
            optimizer=lambda: lambda model: torch.optim.SGD(model.parameters(), 0.1),
            batches=lambda: [(torch.ones(2, 3), torch.tensor([0, 1]))],
            loss=lambda: lambda output, _: output.square().mean(),
            seeds=2,
        ),
        nan="the slope of what is 0, or of what overflows",
        passes_on=("build", "optimizer", "batches", "loss"),
    ),
    # predict
    "predict.config.TransformerConfig.read": Row(usual(config=tiny_config)),
    "predict.forecast.predict": Row(
        usual(
            "weight_decay betas residual_scaling seq_len",
            config=tiny_config,
            learning_rate=1e-3,
            steps=4,
            schedule="linear",
            warmup_steps=1,
            final_learning_rate=1e-4,
            epsilon=1e-8,
            dtype="float16",
            batch_tokens=8,
            std=0.02,
        ),
        says={
            "betas": ("beta",),
            "dtype": ("number format",),
            "std": ("std", "n_embd"),
            "config": ("config", "model_type"),
            "learning_rate": ("final_learning_rate",),
        },
        nan="of a family that is not known, the gradients are not either, as documented",
    ),
    "predict.forecast.ModelPrediction.variances": Row(
        usual(steps=[0, 2]), call=lambda steps: small_prediction().variances(steps)
    ),
    "predict.forecast.ModelPrediction.beside": Row(
        usual(record=variances),
        call=lambda record: small_prediction().beside(record),
        says={"record": ("record", "variances", "steps")},
    ),
    "predict.forecast.unchanged_share": Row(
        usual(std=0.02, step=1e-3, dtype="bfloat16"), says={"dtype": ("number format",)}
    ),
    # analysis
    "analysis.trajectories.weight_std": Row(
        usual("roles", variances=variances), says={"roles": ("role",)}
    ),
    "analysis.trajectories.statistic_table": Row(
        usual("roles", variances=variances, kind="weight", stat="std"), says={"roles": ("role",)}
    ),
    "analysis.trajectories.expansion_rates": Row(usual("std", until=20), says={"std": ("until",)}),
    "analysis.trajectories.settling_steps": Row(usual("std", tolerance=0.1)),
    "analysis.trajectories.layer_spread": Row(usual("std")),
    "analysis.trajectories.depth_correlation": Row(
        usual(values=lambda: expansion_rates(std(), 20)),
        nan="a constant or a single layer has no rank correlation, as documented",
    ),
    "analysis.intervals.mean_error": Row(usual("values")),
    "analysis.intervals.variance_error": Row(usual(variance=1.0, n=9)),
    "analysis.intervals.central_range": Row(usual("values")),
    "analysis.intervals.bootstrap_interval": Row(
        usual("level", resampled=[1.0, 2.0], n=9),
        nan="the interval of values that are not finite, as documented",
    ),
    "analysis.intervals.pooled_mean": Row(usual("values", errors=[0.5, 1.0])),
    "analysis.intervals.mean_interval": Row(
        usual("values level"), nan="the interval of values that are not finite, as documented"
    ),
    "analysis.noise.predicted_std": Row(
        usual(
            "std weight_decay betas diffusion snr alignment",
            lr=lambda: [0.01] * 20,
            epsilon=0.1,
            gradient_rms=std,
        )
    ),
    "analysis.rate_decay.late_std": Row(usual("std", since=10)),
    "analysis.rate_decay.power_slopes": Row(
        lambda: {"runs": slopes_table(), "value": "std", "over": "rate", "by": ["seed"]},
        says={"value": ("runs",), "over": ("runs",), "by": ("runs",)},
    ),
    "analysis.growth.growth_parts": Row(usual(split=split, lag=64, since=0)),
    "analysis.growth.order_beside_shadow": Row(
        lambda: {"parts": [parts(), parts()], "roles": ["q"], "times": 3.0},
        says={"roles": ("role",)},
    ),
    "analysis.growth.outward_rest": Row(
        lambda: {"parts": [parts(), parts()], "roles": ["q"], "share": 0.75},
        says={"roles": ("role",)},
    ),
    "analysis.published_runs.weibull_std": Row(usual("share", scale=0.02)),
    "analysis.published_runs.share_of_std": Row(
        usual(
            scales=lambda: weibull_scales("o", "ffn_in", "ffn_out"),
            checkpoints=lambda: pd.DataFrame({"step": [0, 1], "std": [0.02, 0.03]}),
            model="shakespeare",
        )
    ),
    "analysis.published_runs.measured_over_predicted": Row(usual("scales share")),
    "analysis.published_runs.implied_decays": Row(
        usual("scales share"), nan="no decay gives this std, as documented"
    ),
    "analysis.published_runs.implied_gradients": Row(
        usual("scales share"), nan="epsilon explains no std as large as without it, as documented"
    ),
    "analysis.published_runs.predicted_through_training": Row(
        usual(
            "weight_decay",
            std=lambda: pd.DataFrame({"step": [0, 1], "std": [0.02, 0.03]}),
            recipe="shakespeare",
            peak_lr=1e-3,
        )
    ),
    "analysis.published_runs.alignment_in_training": Row(
        usual(
            logs=lambda: pd.DataFrame(
                {"run": ["a"], "step": [1], "alignment": [2.0], "length": [0.1], "decay": [0.1]}
            ),
            beta1=0.9,
        )
    ),
    "analysis.published_runs.recipe_table": Row(),
    "analysis.diffusion.growth_in_windows": Row(
        usual("std weight_decay", lr=lambda: [0.1] * 20, edges=[0, 10]), says={"std": ("edges",)}
    ),
    "analysis.diffusion.growth_exponents": Row(
        usual(growth=windows, lr=lambda: np.linspace(0.1, 0.2, 20)),
        nan="the rate is the same in all windows, or their growth is below 0, as documented",
    ),
    "analysis.diffusion.baseline_curves": Row(usual("std", lr=lambda: [0.1] * 20)),
    "analysis.diffusion.curve_distances": Row(usual("std", curves=lambda: {"a": std()})),
    "analysis.diffusion.curve_errors": Row(usual("std", curve=std)),
    "analysis.diffusion.growth_by_rate": Row(
        usual(growth=windows, lr=lambda: np.linspace(0.1, 0.2, 20))
    ),
    "analysis.losses.first_below": Row(
        usual(losses=losses_by_step, level=4.5, window=2),
        nan="losses that do not fall below, as documented",
    ),
    "data.bigrams.bigram_loss": Row(
        usual(train=lambda: [np.arange(4) % 2], validation=lambda: [np.arange(4) % 2], vocab_size=2)
    ),
    "analysis.qkv_claims.without_first_layer": Row(usual("std")),
    "analysis.qkv_claims.shallow_first": Row(usual("until", stds=lambda: [three_layers()] * 2)),
    "analysis.qkv_claims.narrow_bands": Row(usual("stds", ratio=1.5)),
    "analysis.qkv_claims.late_changes": Row(usual("std", since=10), says={"std": ("since",)}),
    "analysis.qkv_claims.bands_at_rest": Row(usual("stds", since=10, tolerance=0.05)),
    "analysis.interval_rules.lies_below": Row(usual("interval", bound=0.02)),
    "analysis.interval_rules.lies_above": Row(usual("interval", bound=0.02)),
    "analysis.interval_rules.improves": Row(usual("interval", margin=0.02)),
    "analysis.qkv_claims.bad_ends_foretold": Row(
        usual("until", stds=lambda: {"a": std()}, losses=lambda: {"a": losses_by_step()})
    ),
    "analysis.qkv_claims.driven_exponent": Row(
        usual(exponents=[1.3, 1.4], low=0.8, high=1.6, noise=2.0), says={"exponents": ("values",)}
    ),
    "analysis.qkv_claims.noise_curve_loses": Row(usual(distances=lambda: [curve_errors_table()])),
    "analysis.qkv_claims.narrow_but_for_first": Row(usual("stds", ratio=1.5, wide="q")),
    "analysis.qkv_claims.expected_order": Row(
        usual("until", stds=lambda: [three_layers()] * 2, above={"q": 0.5}, below={"v": 0}),
        nan="the order of matrices that do not move, as documented",
    ),
    "analysis.interval_rules.mean_within": Row(usual("interval", low=0.05, high=0.15)),
    "analysis.interval_rules.difference_within": Row(usual("interval", low=0.05, high=0.15)),
    "analysis.intervals.difference_interval": Row(
        usual(first=[1.0, 2.0, 3.0], second=[0.0, 0.5]),
        nan="the interval of values that are not finite, as documented",
    ),
    "analysis.trajectories.spread_over_growth": Row(
        usual("std"), nan="layers that have not moved, as documented"
    ),
    "analysis.trajectories.growth_since_start": Row(usual("std")),
    "analysis.trajectories.over_layers": Row(usual("std")),
    "analysis.rates.best_rates": Row(usual("measures")),
    "analysis.rates.failure_share": Row(usual("measures")),
    "analysis.rates.accuracy_of_schemes": Row(
        usual("measures"), nan="the error of a single run, as documented"
    ),
    "analysis.seeds.over_seeds": Row(
        usual(runs=sweep, column="test_accuracy", by="std"), says={"by": ("column",)}
    ),
    "analysis.seeds.median_grid": Row(
        usual(runs=sweep, index="depth", columns="std", values="test_accuracy"),
        says={"index": ("column",), "values": ("column",)},
        nan="a cell without runs, as documented",
    ),
    "analysis.seeds.divergence_share": Row(usual("table")),
    "analysis.seeds.losses_over_seeds": Row(usual("table")),
    "analysis.seeds.gradient_norm_means": Row(
        usual(table=lambda: sweep().query("depth == 2")),
        nan="a layer that has no gradient in any seed, as documented",
    ),
    "analysis.seeds.gradient_ratios_over_seeds": Row(
        usual(table=lambda: sweep().query("depth == 2"))
    ),
    "analysis.seeds.layer_medians": Row(
        usual(tidy=lambda: to_tidy(sweep())),
        nan="the share of dead units of a last layer, which has no ReLU",
    ),
    "analysis.seeds.paired_losses": Row(
        usual("first second", table=lambda: sweep().query("depth == 2")),
        says={"first": ("scheme",), "second": ("scheme",), "table": ("scheme",)},
        nan="a loss that is not finite, as documented",
    ),
    "analysis.stability.stability_bands": Row(
        usual("table", tolerance=0.1, choose="test_accuracy", resamples=5),
        nan="a configuration in which nothing trains has no band, as documented",
    ),
    "analysis.stability.after_epoch": Row(usual(table=by_epoch, epoch=1)),
    "analysis.stability.band_cases": Row(usual("bands")),
    "analysis.stability.edge_cases": Row(usual("bands", factor=2.0)),
    "analysis.plateau.left_edges_of_law": Row(
        usual("bands", fit=lambda: bands()["depth"] == 3, by="depth"),
        says={"bands": ("bands", "table"), "by": ("by", "column")},
        nan="a depth whose rate of escape is not known, as documented",
    ),
    "analysis.plateau.right_edges_of_law": Row(
        usual("bands", fit=lambda: bands()["depth"] == 3),
        says={"bands": ("bands", "table")},
        nan="a band without an edge, as documented",
    ),
    "analysis.plateau.band_constants": Row(usual("bands")),
    "analysis.plateau.within_decades": Row(usual(off=lambda: pd.Series([0.1, 0.2]), margin=0.15)),
    "analysis.plateau.decades_off": Row(
        usual(measured=lambda: pd.Series([0.1, 0.2]), predicted=lambda: pd.Series([0.1, 0.3])),
        nan="the logarithm of what is negative",
    ),
    "claims.Claim": Row(
        usual(key="a-claim", kind="predictions", texts=claim_texts),
        says={"texts": ("texts", "must have")},
    ),
    "claims.Cases": Row(usual(support=2, contradict=1, undecided=0, allowed=0)),
    "claims.Cases.of": Row(usual(outcomes=[True, None], allowed=0)),
    "claims.Effect": Row(
        usual(what="a size", value=1.0, low=0.5, high=1.5, unit="nats"),
        says={name: (name, "interval") for name in ("value", "low", "high")},
    ),
    "claims.Finding": Row(finding, says={"records": ("records", "file")}),
    "claims.Finding.of": Row(
        usual(
            claim=lambda: Claim("a-claim", "predictions", claim_texts()),
            in_scope=lambda: Cases(2, 1),
            beyond=None,
            summary="Two of three.",
            runs=3,
            figure="fig-a",
            files=lambda: [__file__],
            effect=None,
            profile="cpu",
        )
    ),
    "claims.Finding.write": Row(
        usual(folder="records"), call=lambda folder: Finding(**finding()).write(folder)
    ),
    "claims.Finding.read": Row(usual(path="not-there"), valid=False),
    "claims.read_claims": Row(
        usual(path="not-there"), says={"path": ("path", "file")}, valid=False
    ),
    "claims.verified_findings": Row(
        usual(notebooks=".", chapters={"05_std_sweep": "results"}),
        says={"notebooks": ("notebooks", "file"), "chapters": ("chapters", "file")},
        valid=False,
    ),
    "chapter.findings_table": Row(
        usual(
            claims=lambda: {"a-claim": Claim("a-claim", "predictions", claim_texts())},
            findings=lambda: [Finding(**finding())],
        )
    ),
    "analysis.comparison.run_measures": Row(
        usual("table", losses=(1.0,), accuracies=(0.5,), chance_share=0.2),
        nan="a ratio of gradients that vanish, as documented",
    ),
    "analysis.comparison.layer_ratios": Row(
        usual("table first second", stat="weight_std"),
        says={"first": ("scheme",), "second": ("scheme",), "stat": ("column", "stat")},
        nan="0 / 0, as documented",
    ),
    "analysis.comparison.compare": Row(
        usual(
            "measures first second measure level seed",
            statistic="mean",
            best_rate=None,
            resamples=20,
        ),
        says={"first": ("scheme",), "second": ("scheme",), "measures": ("scheme",)},
    ),
    # data
    "data.dataset.load": Row(usual("seed", name="wine", source=None), says={"name": ("data set",)}),
    "data.tabular.load_wine": Row(usual("seed", test_size=0.25)),
    "data.tabular.load_digits": Row(usual("seed", test_size=0.25)),
    "data.text.load_text": Row(
        usual(source=lambda: Path("not-there")), valid=False, says={"source": ("unknown text",)}
    ),
    "data.text_sources.is_on_hub": Row(
        usual(source=lambda: Path("not-there")), valid=False, says={"source": ("unknown text",)}
    ),
    "data.passages.Passages": Row(
        usual(sources=lambda: (np.arange(8, dtype=np.uint16),), context=3, what="the text")
    ),
    "data.passages.ShuffledPassages": Row(
        usual(
            "seed",
            passages=lambda: initscope.data.passages.Passages((np.arange(8, dtype=np.uint16),), 3),
            n=4,
        ),
        call=lambda **arguments: initscope.data.passages.ShuffledPassages(**arguments)[0],
    ),
    "data.tokenizers.load_tokenizer": Row(
        usual(name="bytes"),
        says={"name": ("tokenizer",)},
        call=lambda name: initscope.data.tokenizers.load_tokenizer(name).digest,
    ),
    "records.recorded": Row(
        usual(
            path="record.parquet",
            specification={"a": 1},
            measure=lambda: lambda: pd.DataFrame({"a": [1.0]}),
        ),
        passes_on=("measure",),
    ),
    "schema.sweep_schema": Row(usual(validation_size=5)),
    "schema.evaluation_steps": Row(usual(epochs=2, steps_per_epoch=3, per_epoch=1)),
    "sweep.schedule.probe_steps": Row(usual(n_steps=10, probes=3)),
    "sweep.schedule.loss_steps": Row(usual(n_steps=10, loss_points=3)),
    "models.gpt.training_flops_per_token": Row(usual("model")),
    "devices.peak_flops": Row(usual(device_name="NVIDIA H100 80GB HBM3", precision="bfloat16")),
    # figures
    "plots.criticality.maps": Row(
        usual(
            length=lambda: labelled("q", "image"),
            correlation=lambda: labelled("c", "image"),
            fixed_points=lambda: labelled("q", "c"),
        )
    ),
    "plots.criticality.correlation_with_depth": Row(
        usual(
            theory=lambda: labelled("correlation"),
            networks=lambda: labelled("correlation", "mean", "low", "high"),
        )
    ),
    "plots.criticality.phase_diagrams": Row(usual(frame=phases, edges=edges)),
    "plots.criticality.depth_scales": Row(usual(frame=scales)),
    "plots.criticality.trainability_map": Row(usual(table=trainability, limits=scales)),
    "plots.finite_width.fan_of_networks": Row(
        usual(profiles=lambda: {4: profiles()}, tables=lambda: {4: against_theory()}, shown=3)
    ),
    "plots.finite_width.log_norm_histograms": Row(
        usual(samples=lambda: {10: np.linspace(-9, 3, 50)}, moments=moments_table, depth=50)
    ),
    "plots.finite_width.log_spread_by_depth": Row(usual(table=spreads)),
    "plots.finite_width.singular_values": Row(
        usual(
            spectra=lambda: {
                (name, weights): np.array([[2.0, 1.0, 0.0]])
                for name in ("linear", "ReLU")
                for weights in ("Gaussian", "orthogonal")
            },
            floor=1e-4,
        )
    ),
    "plots.finite_width.jacobian_spread": Row(usual(table=lambda: spreads(width="weights"))),
    "plots.propagation.theory_against_networks": Row(usual(tables=lambda: {"a": against_theory()})),
    "plots.propagation.number_format_bands": Row(
        usual(theory=formats, measured=formats, critical=0.3)
    ),
    "plots.schemes.training_name": Row(usual(optimizer="sgd", momentum=0.9)),
    "plots.schemes.variance_ratios": Row(usual(ratios=weight_ratios, predictions=predictions)),
    "plots.pairs.paired_curves": Row(
        usual("first second", table=of_schemes), says={"first": ("scheme",), "second": ("scheme",)}
    ),
    "plots.schemes.differences_by_depth": Row(
        usual(rows=lambda: {"accuracy": differences()}, by="training")
    ),
    "plots.rates.winners": Row(
        usual("differences measures", first="kaiming", second="xavier"),
        says={"first": ("scheme",), "second": ("scheme",)},
    ),
    "plots.prediction.with_guess": Row(
        usual(figure=lambda: Figure(), along="x", panels=None, unit=1.0)
    ),
    "plots.plateau.escape_times": Row(
        usual(
            escapes=lambda: pd.DataFrame({"ratio": [0.5, 0.7], "updates": [40.0, 20.0]}).assign(
                depth=4, bias_factor=0.0
            )
        )
    ),
    "plots.plateau.edges_against_law": Row(
        usual(bands=lambda: bands().assign(law_low=0.01, law_high=0.3, law_low_of_depth=0.01)),
        says={"bands": ("bands", "widths")},
    ),
    "plots.noise_and_drift.std_by_rate": Row(
        lambda: {
            "runs": pd.DataFrame({"role": ["q", "q"], "rate": [1.0, 2.0], "std": 0.1}).assign(
                decay=0.1, noise=0.2
            ),
            "tolerance": 0.15,
        }
    ),
    "plots.noise_and_drift.growth_by_part": Row(
        lambda: {"parts": [parts()], "roles": ["q"]}, says={"roles": ("role",)}
    ),
    "plots.noise_and_drift.std_by_schedule": Row(
        lambda: {"stds": {"a": by_role()}, "noise": {"a": by_role()}, "roles": ["q"]},
        says={
            "roles": ("role",),
            "stds": ("std under", "role"),
            "noise": ("std under", "stds", "role"),
        },
    ),
    "plots.noise_and_drift.shrinkage_by_epsilon": Row(
        lambda: {
            "ratios": pd.DataFrame({"role": ["q"], "epsilon": 1e-4, "measured": 0.5}).assign(
                predicted=0.6
            ),
            "tolerance": 0.15,
        }
    ),
    "plots.published_runs.ratios_by_component": Row(usual(ratios=intervals)),
    "plots.published_runs.decays_by_component": Row(usual(decays=intervals, printed=0.01)),
    "plots.published_runs.std_through_training": Row(
        usual(
            runs=lambda: pd.DataFrame(
                {"run": ["a", "a"], "step": [1, 10], "ratio": [1.0, 0.9]}
            ).assign(measured=0.02, predicted=0.02)
        )
    ),
    "plots.published_runs.alignment_through_training": Row(
        usual(
            alignment=lambda: pd.DataFrame(
                {"run": ["a", "a"], "step": [1, 10], "share": 0.9}
            ).assign(over_length=20.0, noise=20.0, noise_share=0.9),
            stated=(0.88, 0.94),
        )
    ),
    "plots.rates.usable_rates": Row(
        usual("measures", first="kaiming", second="xavier", share=0.2),
        says={"first": ("scheme",), "second": ("scheme",)},
    ),
    "plots.pairs.gradients_and_weights": Row(
        usual("first second", table=of_schemes, weights=weight_ratios),
        says={"first": ("scheme",), "second": ("scheme",)},
    ),
    "plots.schemes.scheme_accuracies": Row(
        usual("measures", labels={"kaiming": "Kaiming", "xavier": "Xavier"})
    ),
    "analysis.extremes.row_of_largest": Row(
        usual(table=loss_table, column="loss", of_size=True), says={"table": ("column",)}
    ),
    "analysis.extremes.row_of_smallest": Row(
        usual(table=loss_table, column="loss", of_size=False), says={"table": ("column",)}
    ),
    "analysis.extremes.one_row": Row(
        usual(table=lambda: loss_table().iloc[:1], loss=5.0),
        says={"table": ("column",), "loss": ("column",)},
    ),
    "analysis.verdicts.ahead": Row(usual("differences", better="highest")),
    "analysis.verdicts.count_ahead": Row(usual("differences", better="lowest")),
    "analysis.verdicts.where_one_trains": Row(usual("measures")),
    "analysis.trajectories.order_of_layers": Row(usual("stds until")),
    "analysis.effects.own_rates": Row(usual("measures measure", better="highest")),
    "analysis.effects.at_own_rates": Row(
        usual("measures", rates=lambda: own_rates(measures(), "test_accuracy"))
    ),
    "analysis.effects.holm": Row(usual(p_values=[0.01, 0.04])),
    "analysis.effects.paired_effects": Row(
        usual("measures first second measure", over=0.005, kind="difference", level=0.95),
        says={"first": ("scheme",), "second": ("scheme",), "measures": ("scheme",)},
    ),
    "analysis.effects.standing": Row(usual("effects", low=-0.005, high=0.005)),
    "analysis.delays.escape_rates": Row(
        usual(table=lambda: sweep().query("scheme == 'normal'"), loss=0.5, largest=0.6)
    ),
    "analysis.delays.nearest_rates": Row(
        usual(
            "effects",
            rates=lambda: pd.DataFrame({"dataset": "wine", "depth": [2, 3], "rate": [0.8, 0.7]}),
        ),
        says={"effects": ("data set",), "rates": ("data set",)},
    ),
    "analysis.delays.steady_products": Row(
        usual("effects", share=0.25), nan="products that are NaN"
    ),
    "analysis.delays.beyond_the_law": Row(
        usual(
            effects=lambda: effects().assign(
                law=1.0, n_steps=8, unreached_first=0, unreached_second=0
            )
        )
    ),
    "plots.effects.ratios_by_depth": Row(
        usual(
            effects=lambda: effects().assign(effect=1.2, low=1.1, high=1.3, predicted=1.1),
            margin=1.05,
        ),
        says={"effects": ("widths",)},
    ),
    "plots.effects.delays_by_rate": Row(
        usual(effects=lambda: effects().assign(law=1.0)), says={"effects": ("widths",)}
    ),
    "analysis.delays.xavier_delays": Row(usual("effects", rate=0.4), says={"effects": ("widths",)}),
    "analysis.deviations.deviations": Row(usual(tables=lambda: {"a": deviating()})),
    "analysis.deviations.worst_deviations": Row(
        usual(table=lambda: deviations({"a": deviating()})), says={"table": ("column",)}
    ),
    "analysis.trainability.border_interval": Row(
        usual(
            "level",
            runs=lambda: pd.DataFrame(
                {"sigma_w2": 1.0, "depth": [4, 4], "seed": [0, 1], "accuracy": [0.9, 0.1]}
            ),
            threshold=0.5,
            resamples=20,
            seed=1,
        )
    ),
    "analysis.trainability.trainability_border": Row(
        usual(
            runs=lambda: pd.DataFrame({"sigma_w2": 1.0, "depth": [4, 8], "accuracy": [0.9, 0.1]}),
            threshold=0.5,
        ),
        nan="no depth fails, or none trains",
    ),
    "analysis.trajectories.tail_shape": Row(
        usual(variances=tails, role="q", layer=1), says={"variances": ("role", "layer")}
    ),
    "analysis.log_norms.log_band_moments": Row(
        usual(
            interval=lambda: theory.finite_width_interval([4, 4, 2], "relu", "kaiming"),
            direction="backward",
        )
    ),
    "analysis.log_norms.share_held": Row(usual("logs", mean=2.0, variance=1.0)),
    "sweep.full_batch.layer_rates": Row(
        usual(model=lambda: MLP([4, 2]), rate=0.1, weight_factors=1.0, bias_factors=[2.0])
    ),
    "analysis.log_norms.log_moments": Row(usual("logs")),
    "analysis.log_norms.fourth_moment": Row(usual(variances=[1.0, 2.0, 4.0])),
    "analysis.log_norms.pair_factor": Row(usual("logs", share=0.5)),
    "theory.escape.escape_rate": Row(usual(ratio=0.1, depth=3, lr=0.1, updates=90)),
    "theory.escape.escape_ratio": Row(usual(updates=90, depth=3, lr=0.1, rate=1.0)),
    "theory.escape.escape_updates": Row(usual(ratio=0.1, depth=3, lr=0.1, rate=1.0)),
    "theory.rescaling.fan_ratios": Row(usual(widths=[4, 4, 2])),
    "theory.rescaling.xavier_as_kaiming": Row(usual(widths=[4, 4, 2], optimizer="adam")),
    "theory.phase_diagram.critical_line": Row(usual("activation", q=[0.5, 1.0])),
    "theory.phase_diagram.correlation_path": Row(
        usual("activation sigma_w2 sigma_b2", correlation=0.5, depth=3, q=0.5)
    ),
    "plots.style.themed": Row(usual(svg="<svg><style></style></svg>")),
    "plots.style.use_in_notebook": Row(),
    "chapter.source_note": Row(
        usual(chapter="05", profile="cpu", files=["a.parquet", "b.parquet"]),
        call=lambda chapter, profile, files: chapters.source_note(
            chapter, profile, *(files if isinstance(files, list) else [files])
        ),
    ),
    "theory.stability.critical_std": Row(usual(widths=[4, 4, 2])),
    "analysis.sweeps.widths_of": Row(usual(name="4-4-2"), says={"name": ("widths",)}),
    "analysis.sweeps.short_widths": Row(usual(widths="4-4-4-2")),
    "analysis.sweeps.nearest": Row(usual(values=lambda: pd.Series([0.1, 1.0]), wanted=[0.2])),
    "plots.sweeps.accuracy_against_std": Row(usual("table")),
    "plots.sweep_runs.variance_through_layers": Row(usual("table", stds=(0.01,))),
    "plots.sweep_runs.loss_curves": Row(usual("table", stds=(0.01,))),
    "plots.sweeps.accuracy_map": Row(usual("table", by="depth")),
    "plots.sweeps.divergence": Row(usual("table")),
    "plots.sweeps.bands": Row(usual(frame=lambda: stability_bands(sweep()))),
    "plots.sweep_runs.variance_through_training": Row(usual("table", stds=(0.01,))),
    "plots.transformer.stream_against_theory": Row(usual(table=stream)),
    "plots.transformer.block_quantities": Row(
        usual(measured=blocks, predicted=lambda: {name: [1.0, 2.0] for name in QUANTITIES})
    ),
    "plots.transformer.depth_of_stream": Row(
        usual(table=lambda: depths("measured"), lines=lambda: depths("predicted"))
    ),
    "plots.transformer.attention_saturation": Row(
        usual(
            lines=lambda: pd.DataFrame(
                {"keys": 8, "logit_std": [1.0, 2.0], "predicted": [0.2, 0.4], "limit": 0.5}
            ),
            table=lambda: pd.DataFrame(
                {"keys": 8, "logit_std": [1.0], "kind": "a", "measured": 0.2, "error": 0.1}
            ),
        )
    ),
    "plots.transformer.weight_gradients_by_block": Row(
        usual(
            measured=lambda: pd.DataFrame({"value": [1.0, 2.0], "query": [0.1, 0.2]}, [1, 2]),
            predicted=lambda: pd.DataFrame({"value": [1.0, 2.0], "query": [0.1, 0.2]}, [1, 2]),
            ratios=lambda: pd.DataFrame(
                {"model": "a", "block": [1, 2], "measured": 0.1, "predicted": [0.1, 0.2]}
            ),
        )
    ),
    "plots.transformer.gradients_along_stream": Row(
        usual(
            table=lambda: spreads(activation="norm", layer="depth", width="scale").astype(
                {"scale": str}
            )
        )
    ),
    "plots.weights.role_name": Row(usual(role="mlp_in")),
    "plots.weights.weights_through_training": Row(usual("std", predicted=std)),
    "plots.weights.by_layer": Row(
        usual(seeds=seeds_table, label="rate", reference=0.5, from_zero=True)
    ),
    "plots.weight_bands.layer_spreads": Row(usual(runs=lambda: [layer_spread(std())])),
    "plots.weights.weight_distribution": Row(
        usual(histograms=histograms, shape=weight_shape, shown_steps=[0, 10]),
        says={"shown_steps": ("steps",)},
    ),
    "plots.pretraining.signals_through_training": Row(usual(tables=lambda: {"a": std().loc["q"]})),
    "plots.weight_bands.bands_through_training": Row(
        usual(runs=lambda: {"decay 0.1": {"a run": (std(), std())}})
    ),
    "plots.weight_bands.final_bands": Row(usual(bands=bands_table)),
    "plots.pretraining.training_losses": Row(
        usual(
            groups=lambda: {"a": [loss_table()]},
            ends=lambda: {"a": pd.DataFrame({"left": [300.0], "loss": [1.6]})},
            level=2.4,
        )
    ),
    "plots.diffusion.errors_through_training": Row(
        usual(errors=lambda: {"a": [pd.DataFrame([[0.0, 0.3]], ["q"], [0, 10])]})
    ),
    "plots.diffusion.growth_against_rate": Row(
        usual(growth=lambda: {"a": [pd.DataFrame([[4e-6, 1e-6]], ["q"], [0.002, 0.001])]})
    ),
    # widgets
    "widgets.adamw_equilibrium.widget.AdamWEquilibrium": Row(
        usual(
            "lr weight_decay std0 diffusion",
            schedule="constant",
            steps=100,
            warmup=10,
            final=0.1,
            beta1=0.9,
            beta2=0.95,
            snr=0.0,
            alignment=0.0,
            drift=1e-3,
            epsilon=0.1,
            final_gradient=0.5,
            decay_schedule="rate",
            log_steps=False,
            preset="custom",
        )
    ),
    "widgets.adamw_equilibrium.widget.AdamWEquilibrium.equilibrium": Row(
        usual("lr", gradient_rms=0.5),
        call=lambda **given: _equilibrium_widget().equilibrium(**given),
    ),
    "widgets.attention_saturation.widget.AttentionSaturation": Row(
        usual("logit_std", n_keys=64, seed=1)
    ),
    "widgets.base.show": Row(
        usual(widget=lambda: initscope.widgets.SignalPropagation(depth=2, width=16), still=Figure)
    ),
    "widgets.gpt_training.widget.GPTTraining": Row(
        usual(
            std=0.1,
            learning_rate=3e-3,
            weight_decay=1.0,
            width=16,
            optimizer="adamw",
            rival="none",
            steps=10,
            seed=0,
            residual_scaling=True,
        )
    ),
    "widgets.gpt_training.widget.GPTTraining.train": Row(
        usual(every=5),
        call=lambda every: initscope.widgets.GPTTraining(width=16, steps=10).train(every),
        nan="before the first update there is no loss",
    ),
    "widgets.gpt_training.widget.GPTTraining.figure": Row(
        usual(table=lambda: _pretrained().copy()),
        call=lambda table: initscope.widgets.GPTTraining(width=16, steps=10).figure(table),
    ),
    "widgets.log_norm_distribution.widget.LogNormDistribution": Row(
        usual(width=16, depth=4, activation="relu", networks=3, seed=1)
    ),
    "widgets.log_norm_distribution.widget.LogNormDistribution.moments": Row(
        usual(per_layer=True),
        call=lambda **given: initscope.widgets.LogNormDistribution(depth=4).moments(**given),
    ),
    "widgets.phase_diagram.widget.PhaseDiagram": Row(
        usual("sigma_w2", activation="tanh", sigma_b2=0.05, correlation=0.5, depth=20, width=64)
    ),
    "widgets.phase_diagram.widget.PhaseDiagram.figure": Row(
        usual(networks=lambda: monte_carlo.correlation_profiles([16] * 5, networks=2)),
        call=lambda networks: initscope.widgets.PhaseDiagram(depth=4, width=16).figure(networks),
    ),
    "widgets.prediction.widget.Prediction": Row(
        usual(
            question="How much?",
            truth=0.5,
            kind="value",
            low=0.1,
            high=1.0,
            log=True,
            guess=0.2,
            guess_high=0.3,
            thresholds=(1.2, 2.0),
            unit="%",
            label="std",
            explanation="So.",
            code="",
            revealed=False,
        ),
        says={"low": ("axis",), "high": ("axis",)},
    ),
    "widgets.qkv_training.widget.QKVTraining": Row(
        usual(recorded=None), valid=False, says={"recorded": ("records", "recorded")}
    ),
    "widgets.qkv_training.widget.QKVTraining.from_folder": Row(
        usual("folder"), valid=False, says={"folder": ("holds no record",)}
    ),
    "widgets.qkv_training.widget.QKVTraining.from_folders": Row(
        usual(folders={"a": "not-there"}), valid=False, says={"folders": ("holds no record",)}
    ),
    "widgets.qkv_training.widget.QKVTraining.from_record": Row(
        usual(
            "roles",
            frame=variances,
            histograms=histograms,
            predictions=variances,
            points=3,
            histogram_points=2,
            layer=1,
            step=10,
        ),
        says={"roles": ("role",), "frame": ("histograms",)},
    ),
    "widgets.qkv_training.pretrained_runs.adamw_prediction": Row(
        usual("weight_decay betas snr diffusion alignment", frame=variances, lr=lambda: [0.01] * 20)
    ),
    "widgets.residual_stream.widget.ResidualStream": Row(
        usual(std=0.02, norm="pre", n_layer=2, scaled=True, n_embd=384)
    ),
    "widgets.signal_propagation.widget.SignalPropagation": Row(
        usual(depth=4, width=16, std=0.1, activation="relu", seed=1)
    ),
    "widgets.signal_propagation.widget.SignalPropagation.figure": Row(
        usual(networks=lambda: monte_carlo.variance_profiles([16] * 5, "relu", 0.1, networks=2)),
        call=lambda networks: initscope.widgets.SignalPropagation(depth=4, width=16).figure(
            networks
        ),
    ),
    "widgets.stability_map.widget.StabilityMap": Row(
        usual(recorded=None), valid=False, says={"recorded": ("StabilityMap",)}
    ),
    "widgets.stability_map.widget.StabilityMap.from_tables": Row(
        usual(tables=lambda: {"mine": sweep()}, points=3, precision=0.05, std=0.3),
        says={"tables": ("'mine'", "activation")},
    ),
    "widgets.wine_training.widget.WineTraining.figure": Row(
        usual(table=lambda: sweep().query("depth == 2")),
        call=lambda table: initscope.widgets.WineTraining(depth=2).figure(table),
    ),
    "widgets.wine_training.widget.WineTraining": Row(
        usual(
            "depth",
            scheme="normal",
            std=0.1,
            width=8,
            optimizer="sgd",
            learning_rate=0.1,
            batch_size=32,
            epochs=2,
            seeds=1,
        )
    ),
}
ROWS = {f"initscope.{name}": row for name, row in ROWS.items()}
"""One a public function, class or method that takes arguments, by where it is defined."""


def _entered(manager: Any) -> Any:
    with manager as found:
        return type(found).__name__


def _tracked(tracker: VarianceTracker) -> pd.DataFrame:
    with tracker:
        pass
    return tracker.to_frame()


# --- Hostile ones ----------------------------------------------------------------------------


class OfTheCaller(Exception):
    """What a function of the caller raises."""


def _raises(*arguments: Any) -> Any:
    raise OfTheCaller("from the callable")


class Unprintable:
    """Its repr raises."""

    def __repr__(self) -> str:
        raise RuntimeError("no repr")


ANYWHERE: dict[str, Callable[[], Any]] = {
    "None": lambda: None,
    "text": lambda: "no_such_name",
    "empty text": lambda: "",
    "a number as text": lambda: "1",
    "bytes": lambda: b"relu",
    "True": lambda: True,
    "NaN": lambda: math.nan,
    "inf": lambda: math.inf,
    "-inf": lambda: -math.inf,
    "0": lambda: 0,
    "-1": lambda: -1,
    "1.5": lambda: 1.5,
    "10**12": lambda: 10**12,
    "10**400": lambda: 10**400,
    "1e300": lambda: 1e300,
    "-1e300": lambda: -1e300,
    "1e-300": lambda: 1e-300,
    "complex": lambda: 1j,
    "empty list": list,
    "nested list": lambda: [[1, 2], [3]],
    "list with NaN": lambda: [1.0, math.nan],
    "list with None": lambda: [None, 1.0],
    "list of text": lambda: ["no_such_name"],
    "tuple": lambda: (1.0, 2.0, 3.0),
    "dict": lambda: {"a": 1},
    "empty dict": dict,
    "dict of None": lambda: {"a": None},
    "set": lambda: {1, 2},
    "object": object,
    "no repr": Unprintable,
    "type": lambda: int,
    "iterator": lambda: iter([1, 2]),
    "lambda that raises": lambda: _raises,
    "lambda of another shape": lambda: lambda *x: [1, 2, 3],
    "lambda that gives None": lambda: lambda *x: None,
    "lambda that gives NaN": lambda: lambda x, *more: x * math.nan,
    "missing file": lambda: Path("nowhere"),
    "numpy of no axes": lambda: np.array(2.0),
    "numpy of NaN": lambda: np.array(math.nan),
    "numpy (3,)": lambda: np.array([0.1, 0.2, 0.3]),
    "numpy (2, 3)": lambda: np.full((2, 3), 0.5),
    "numpy empty": lambda: np.zeros(0),
    "numpy (0, 3)": lambda: np.zeros((0, 3)),
    "numpy of text": lambda: np.array(["a"]),
    "numpy complex": lambda: np.array([1 + 1j]),
    "numpy of objects": lambda: np.array([None, {}]),
    "numpy bool": lambda: np.array([True, False]),
    "numpy timedelta": lambda: np.array(1, dtype="m8[s]"),
    "numpy float16": lambda: np.float16(1.0),
    "numpy structured": lambda: np.zeros(2, dtype=[("a", float)]),
    "numpy generator": lambda: np.random.default_rng(0),
    "torch generator": lambda: torch.Generator().manual_seed(3),
    "torch float": lambda: torch.ones(2, 3),
    "torch scalar": lambda: torch.tensor(0.5),
    "torch int": lambda: torch.ones(2, dtype=torch.int64),
    "torch bool": lambda: torch.ones(2, 2, dtype=torch.bool),
    "torch complex": lambda: torch.ones(2, 2, dtype=torch.complex64),
    "torch empty": lambda: torch.zeros(0),
    "torch (0, 3)": lambda: torch.zeros(0, 3),
    "torch NaN": lambda: torch.full((2, 3), math.nan),
    "torch meta": lambda: torch.ones(2, 3, device="meta"),
    "torch with gradient": lambda: torch.ones(2, 3, requires_grad=True),
    "torch sparse": lambda: torch.eye(3).to_sparse(),
    "module without layers": nn.Identity,
    "module on meta": lambda: nn.Linear(3, 2, device="meta"),
    "module": lambda: nn.Linear(7, 2),
    "table without rows": pd.DataFrame,
    "table of another kind": lambda: pd.DataFrame({"a": [1.0]}),
    "series": lambda: pd.Series([0.1, 0.2]),
    "dict of tables": lambda: {"a": pd.DataFrame({"a": [1.0]})},
    "dict of empty tables": lambda: {"a": pd.DataFrame()},
}
"""What may stand in the place of any argument."""


def hostile_values(base: Any, columns: bool = True) -> dict[str, Callable[[], Any]]:
    """What to put in the place of `base`, a valid value; with ``columns``, column by column too."""
    found = dict(ANYWHERE)
    for place, table, put in tables_in(base):
        kinds = _tables(table) | (_columns(table) if columns else {})
        found |= {f"{place}{kind}": _in_place(put, make) for kind, make in kinds.items()}
    if type(base) in (tuple, list):
        found |= {
            "one more": lambda: type(base)([*base, *base]),
            "one in nothing": lambda: type(base)(base[:1]),
            "with None": lambda: type(base)([*base[:-1], None]),
            "with text": lambda: type(base)([*base[:-1], "no_such_name"]),
            "with NaN": lambda: type(base)([*base[:-1], math.nan]),
            "with 10**12": lambda: type(base)([*base[:-1], 10**12]),
            "with itself": lambda: type(base)([*base, base]),
        }
    return found


def tables_in(base: Any) -> Iterator[tuple[str, pd.DataFrame, Callable[[Any], Any]]]:
    """Tables of a valid value: where they are, they, and what puts another in their place."""
    if isinstance(base, pd.DataFrame):
        yield "", base, lambda other: other
    if isinstance(base, Mapping):
        for name, value in base.items():
            if isinstance(value, pd.DataFrame):
                yield "mapping: ", value, functools.partial(_with, base, name)


def _with(base: Mapping[Any, Any], name: Any, value: Any) -> dict[Any, Any]:
    return {**base, name: value}


def _in_place(put: Callable[[Any], Any], make: Callable[[], Any]) -> Callable[[], Any]:
    return lambda: put(make())


def _tables(base: pd.DataFrame) -> dict[str, Callable[[], Any]]:
    return {
        "no rows": lambda: base.iloc[:0],
        "one row": lambda: base.iloc[:1],
        "rows twice": lambda: pd.concat([base, base]),
        "columns reversed": lambda: base.iloc[:, ::-1],
        "all NaN": lambda: base * math.nan if _numeric(base) else base.assign(**_nans(base)),
        "all text": lambda: base.astype(str),
        "all objects": lambda: base.astype(object),
        "index gone": lambda: base.reset_index(drop=True),
        "index is text": lambda: base.set_axis([f"r{k}" for k in range(len(base))]),
        "transposed": lambda: base.T,
        "numpy of it": base.to_numpy,
    }


def _columns(base: pd.DataFrame) -> dict[str, Callable[[], Any]]:
    return {
        f"{kind} {column}": functools.partial(change, base, [column])
        for column in base.columns
        for kind, change in IN_COLUMNS.items()
    }


def _assigned(base: pd.DataFrame, columns: Sequence[Any], value: Any) -> pd.DataFrame:
    table = base.copy()
    for column in columns:
        table[column] = value
    return table


IN_COLUMNS: dict[str, Callable[[pd.DataFrame, Sequence[Any]], pd.DataFrame]] = {
    "without": lambda base, columns: base.drop(columns=list(columns)),
    "None in": lambda base, columns: _assigned(base, columns, None),
    "text in": lambda base, columns: _assigned(base, columns, "x"),
}


def needed(columns: Sequence[Any], spared: Callable[[Sequence[Any]], bool]) -> list[Any]:
    """Those of the columns that cannot be spared; most can, and are asked for many at once."""
    if not columns or spared(columns):
        return []
    if len(columns) == 1:
        return list(columns)
    middle = len(columns) // 2
    return needed(columns[:middle], spared) + needed(columns[middle:], spared)


def _numeric(table: pd.DataFrame) -> bool:
    return all(pd.api.types.is_numeric_dtype(kind) for kind in table.dtypes)


def _nans(table: pd.DataFrame) -> dict[str, float]:
    return {str(c): math.nan for c in table if pd.api.types.is_float_dtype(table[c].dtype)}


# --- What became of it -----------------------------------------------------------------------

LONGEST = 700
"""Characters of a message: it is read in a terminal."""


def holds_nan(value: Any, depth: int = 0) -> bool:
    """Whether a result has NaN in it somewhere."""
    if isinstance(value, float | np.floating):
        return math.isnan(value)
    if isinstance(value, np.ndarray):
        return value.dtype.kind in "fc" and bool(np.isnan(value).any())
    if isinstance(value, torch.Tensor):
        return value.is_floating_point() and not value.is_meta and bool(value.isnan().any())
    if isinstance(value, pd.DataFrame | pd.Series):
        table = value if isinstance(value, pd.DataFrame) else value.to_frame()
        return bool(table.select_dtypes("number").isna().to_numpy().any())
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        value = vars(value)
    if isinstance(value, Mapping):
        value = list(value.values())
    if isinstance(value, tuple | list) and depth < 4:
        return any(holds_nan(part, depth + 1) for part in value)
    return False


def is_table(value: Any) -> bool:
    parts = value.values() if isinstance(value, Mapping) else [value]
    return any(isinstance(part, pd.DataFrame | pd.Series) for part in parts)


def outcome(
    function: Callable[..., Any], row: Row, replaced: Mapping[str, Callable[[], Any]]
) -> tuple[str, str]:
    """Kind of the outcome, and what to say of it; kinds "valid" and "refused" are as they should.

    The others are the name of an exception; "NaN" for a result that is not what was asked for;
    "unclear" for a refusal of several lines, without end, or that names no argument.
    """
    arguments = row.base() | {name: make() for name, make in replaced.items()}
    try:
        result = (row.call or function)(**arguments)
        # A generator does what it does when it is gone through.
        result = list(result) if inspect.isgenerator(result) else result
    except UsageError as error:
        message = str(error)
        if "\n" in message or len(message) > LONGEST or len(message) < 10:
            return "unclear", f"{len(message)} characters: {message[:300]!r}"
        if not any(_names(message, name, row) for name in replaced):
            return "unclear", f"names no argument: {message}"
        return "refused", message
    except Exception as error:
        if row.passes_on and _is_of_caller(error, row.passes_on):
            return "refused", "by the function of the caller"
        return type(error).__name__, str(error)[:200]
    tables = any(is_table(arguments[name]) for name in replaced)
    if not row.nan and not tables and not isinstance(result, Figure) and holds_nan(result):
        return "NaN", repr(result)[:200]
    if not row.valid:
        return "accepted", repr(result)[:200]
    return "valid", ""


def _is_of_caller(error: BaseException, functions: Sequence[str]) -> bool:
    """Whether an error was raised outside of the package, or by one of these functions in C."""
    *_, last = traceback.extract_tb(error.__traceback__)
    inside = Path(initscope.__path__[0]) in Path(last.filename).parents
    return not inside or any(f"{name}(" in (last.line or "") for name in functions)


def _names(message: str, name: str, row: Row) -> bool:
    words = {name, name.replace("_", " "), name.rstrip("s"), *row.says.get(name, ())}
    return any(re.search(rf"(?<![a-z]){re.escape(word)}", message, re.I) for word in words)


@contextlib.contextmanager
def bounded_memory(more: int = 3 * 2**30) -> Iterator[None]:
    """What asks for absurd amounts gets an error, and not all of the machine."""
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + more, hard))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # overflow to inf is said in the documentation
            yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
