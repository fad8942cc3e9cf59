"""`matrices="all"` on some eighty architectures: every weight once, its numbers its own."""

from __future__ import annotations

import hashlib
import json
import logging
import warnings
from collections import defaultdict
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tiny_transformers as tiny
import torch
from architectures import ARCHITECTURES, Architecture
from torch import nn

from initscope.errors import UsageError
from initscope.models import MLP
from initscope.models.parameters import find_parameters
from initscope.models.places import VECTOR_KINDS
from initscope.tracking import VarianceTracker, weight_matrices
from initscope.tracking.matrices import find_weight_matrices, unwrapped

EVERY = pytest.mark.parametrize("name", ARCHITECTURES)


def build(name: str) -> nn.Module:
    torch.manual_seed(0)
    return ARCHITECTURES[name].build()


def loss_of(model: nn.Module, architecture: Architecture) -> torch.Tensor:
    """A number that depends on what the model gives."""
    batch = architecture.batch()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        outputs = model(**batch) if isinstance(batch, dict) else model(batch)
    if getattr(outputs, "loss", None) is not None:
        return outputs.loss
    outputs = getattr(outputs, "last_hidden_state", outputs)
    outputs = outputs[0] if isinstance(outputs, tuple) else outputs
    return outputs.square().mean()


def vectors_of(model: nn.Module) -> set[int]:
    return {
        id(tensor)
        for place in find_parameters(model)
        if place.kind in VECTOR_KINDS
        for tensor in place.tensors
    }


@EVERY
def test_all_matrices_hold_every_weight_once(name: str) -> None:
    model = build(name)
    vectors = vectors_of(model)
    for parameter in model.parameters():
        parameter.data.zero_()
    found = list(weight_matrices(model, "all"))
    for _, _, view in found:
        view.add_(1.0)
    for path, parameter in model.named_parameters():
        assert (parameter == (0.0 if id(parameter) in vectors else 1.0)).all(), path
    names = [(layer, role) for layer, role, _ in found]
    assert len(names) == len(set(names))
    both = find_weight_matrices(model, "all", vectors=True)
    assert sum(matrix.n_elements for matrix in both) == sum(p.numel() for p in model.parameters())
    assert all(matrix.n_elements == matrix.weight.numel() for matrix in both)


@EVERY
def test_numbers_are_those_of_the_parameters(name: str) -> None:
    """Each matrix against numpy, and together against what autograd gave the parameters."""
    architecture, model = ARCHITECTURES[name], build(name).train()
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    optimizer = torch.optim.SGD(model.parameters(), lr=0.0)
    options = {"matrices": "all", "vectors": True, "every": 1, "distribution_every": 1}
    quantities = ("weight", "gradient", "update", "activation")
    with VarianceTracker(model, optimizer, quantities=quantities, **options) as tracker:
        loss_of(model, architecture).backward()
        optimizer.step()
    frame = tracker.to_frame().query("step == 1").set_index(["kind", "stat", "layer", "role"])
    values = frame["value"]
    assert values.index.is_unique
    squares: dict[int, float] = defaultdict(float)
    for matrix in find_weight_matrices(model, "all", vectors=True):
        weight = matrix.weight.double().numpy()
        key = matrix.layer, matrix.role
        size = np.sqrt(np.mean(weight**2)) + 1e-30
        assert values["weight", "std", *key] == pytest.approx(
            weight.std(), rel=2e-5, abs=1e-6 * size
        )
        assert values["weight", "mean", *key] == pytest.approx(weight.mean(), abs=2e-5 * size)
        assert values["weight", "quantile_0.5", *key] == pytest.approx(
            np.median(weight), abs=1e-5 * size
        )
        if matrix.parameter.grad is not None:
            rms = values["gradient", "rms", *key]
            squares[id(matrix.parameter)] += matrix.n_elements * rms**2
    for path, parameter in model.named_parameters():
        if parameter.grad is not None:
            expected = parameter.grad.double().square().sum().item()
            assert squares[id(parameter)] == pytest.approx(expected, rel=1e-4, abs=1e-30), path


def test_the_default_names_are_pinned() -> None:
    pinned = json.loads(Path(__file__).with_name("default_roles.json").read_text())
    assert pinned.keys() == ARCHITECTURES.keys()
    for name, expected in pinned.items():
        rows = [
            [m.layer, m.role, m.name, m.unit_dim, repr(m.unit_range)]
            for m in find_weight_matrices(build(name))
        ]
        assert hashlib.sha256(json.dumps(rows).encode()).hexdigest()[:16] == expected, name


def roles(model: nn.Module, layer: int, matrices: object = "all") -> list[str]:
    return [role for at, role, _ in weight_matrices(model, matrices) if at == layer]


def test_experts_are_one_matrix_each() -> None:
    model = build("Mixtral")
    experts = model.model.layers[1].mlp.experts
    found = {role: view for layer, role, view in weight_matrices(model, "all") if layer == 2}
    for k in range(3):
        gate, into = experts.gate_up_proj.detach()[k].chunk(2)
        assert torch.equal(found[f"mlp_gate:expert_{k}"], gate)
        assert torch.equal(found[f"mlp_in:expert_{k}"], into)
        assert torch.equal(found[f"mlp_out:expert_{k}"], experts.down_proj.detach()[k])
    assert "mlp_in:expert_0" not in roles(model, 2, "attention")


def test_gates_of_interleaved_experts_are_every_other_unit() -> None:
    model = build("GPT-OSS")
    fused = model.model.layers[0].mlp.experts.gate_up_proj.detach()
    found = {role: view for layer, role, view in weight_matrices(model, "all") if layer == 1}
    assert torch.equal(found["mlp_gate:expert_2"].flatten(1), fused[2, :, ::2])
    assert torch.equal(found["mlp_in:expert_2"].flatten(1), fused[2, :, 1::2])


def test_latent_attention_is_told_apart() -> None:
    model = build("DeepSeek-V3")
    assert roles(model, 1)[:6] == ["q_a", "q_b", "kv_a", "k_b", "v_b", "attention_out"]
    fused = model.model.layers[0].self_attn.kv_b_proj.weight.detach().unflatten(0, (4, 16))
    found = {role: view for layer, role, view in weight_matrices(model, "all") if layer == 1}
    assert torch.equal(found["k_b"], fused[:, :8])
    assert torch.equal(found["v_b"], fused[:, 8:])


def test_state_spaces_have_layers() -> None:
    found = roles(build("Mamba"), 2)
    assert {"mixer.A_log", "mixer.D", "mixer.conv1d", "mixer.in_proj", "mixer.out_proj"} < set(
        found
    )


@pytest.mark.parametrize(
    ("name", "towers"), [("CLIP", ("text", "vision")), ("LLaVA", ("vision", "language"))]
)
def test_towers_are_in_the_role(name: str, towers: tuple[str, str]) -> None:
    model = build(name)
    for tower in towers:
        for layer in (1, 2):
            assert {f"{tower}_{role}" for role in ("q", "k", "v")} <= set(
                roles(model, layer, "attention")
            )
    with VarianceTracker(model, distribution_every=1) as tracker:
        pass  # default settings
    assert set(tracker.histograms_to_frame()["role"]) == {
        f"{tower}_{role}" for tower in towers for role in ("q", "k", "v")
    }


def test_stages_of_a_pyramid_count_on() -> None:
    model = build("Swin")
    for layer in (1, 2, 3):
        assert roles(model, layer, "attention")[:3] == ["q", "k", "v"]
    assert "q" not in roles(model, 4)


@pytest.mark.parametrize("name", ["LoRA on Llama", "LoRA on GPT-2", "LoRA with embeddings on Llama",
                                  "LoRA on a convolution", "DoRA on Llama"])  # fmt: skip
def test_an_adapter_has_base_a_b_and_their_product(name: str) -> None:
    model = build(name)
    generator = torch.Generator().manual_seed(0)
    for path, parameter in model.named_parameters():
        if "lora_B" in path:
            nn.init.normal_(parameter, 0.1, 1.0, generator=generator)
    with VarianceTracker(model, quantities=["weight"]) as tracker:
        pass
    frame = tracker.to_frame().set_index(["layer", "role", "stat"])["value"]
    layers = {
        path: module
        for path, module in model.named_modules()
        if hasattr(module, "get_delta_weight")
    }
    products = [key for key in frame.index if key[1].endswith("lora_BA") and key[2] == "std"]
    names = {(m.layer, m.role): m for m in find_weight_matrices(model)}
    assert products
    for layer, role, _ in products:
        b = names[layer, role.replace("lora_BA", "lora_B")]
        (path,) = [path for path in layers if b.name.startswith(f"{path}.lora")]
        delta = layers[path].get_delta_weight("default").detach().double()
        if getattr(layers[path], "fan_in_fan_out", False):
            delta = delta.T  # out x in, as B is
        part = delta if b.unit_range is None else b.unit_range.of(delta, 0)
        part = part.flatten(1).numpy()
        assert frame[layer, role, "std"] == pytest.approx(part.std(), rel=1e-5)
        assert frame[layer, role, "mean"] == pytest.approx(part.mean(), rel=1e-4, abs=1e-7)
        assert frame[layer, role, "rms"] == pytest.approx(np.sqrt((part**2).mean()), rel=1e-5)
    n_adapted = len(layers)
    assert len({(layer, role[:-1]) for layer, role, _ in products}) >= n_adapted


def test_a_product_that_is_not_measured_is_said(caplog: pytest.LogCaptureFixture) -> None:
    model = build("LoRA on Llama")
    caplog.set_level(logging.INFO, "initscope.tracking")
    assert VarianceTracker(model).coverage.without_product == ()
    assert "product" not in caplog.text
    own = {"mine": r"layers.0.self_attn.q_proj.lora_B"}
    with VarianceTracker(model, matrices=own, quantities=["weight"]) as tracker:
        pass
    assert set(tracker.to_frame()["role"]) == {"mine", "mine_lora_BA"}
    for path, parameter in list(model.named_parameters()):
        if "lora_A" in path:  # an A of another rank than that of B
            module = model.get_submodule(path.rpartition(".")[0])
            module.weight = nn.Parameter(torch.cat([parameter, parameter]))
    caplog.clear()
    assert len(VarianceTracker(model).coverage.without_product) == 4
    first = "model.layers.0.self_attn.q_proj.lora_B.default.weight"
    assert f"; the product of base_model.model.{first} and 3 more with its other" in caplog.text


def test_roles_of_ones_own() -> None:
    model = tiny.llama()
    found = find_weight_matrices(model, {"attention": r"self_attn\.[qk]_proj", "out": "lm_head"})
    assert [(m.layer, m.role) for m in found] == [
        (0, "out"),
        *((layer, f"attention:model.layers.{layer - 1}.self_attn.{part}_proj.weight")
          for layer in (1, 2) for part in "qk"),
    ]  # fmt: skip
    with VarianceTracker(model, matrices={"value": r"v_proj"}, every=1) as tracker:
        pass
    assert set(tracker.to_frame()["role"]) == {"value"}
    assert len(tracker.coverage.left) == 14


@pytest.mark.parametrize(
    ("matrices", "message"),
    [
        ("al", "unknown matrices 'al'. Did you mean 'all'"),
        (3, "unknown matrices 3"),
        ({}, "must name a role at least"),
        ({"q": 3}, "must map roles to regular expressions, not 'q' to 3"),
        ({"q": "("}, r"'\(' of role 'q' is no regular expression"),
        ({"q": "nowhere"}, "no parameter of GPT2LMHeadModel has a name with 'nowhere'"),
        ({"a": "wte", "b": "wte"}, r"transformer\.wte\.weight is both of role 'a' and 'b'"),
    ],
)
def test_a_choice_that_means_nothing_is_one_clear_error(matrices: object, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        VarianceTracker(tiny.gpt2(), matrices=matrices)


# --- what is said ------------------------------------------------------------------------------


@EVERY
def test_all_weights_are_covered_and_what_is_not_is_said(
    name: str, caplog: pytest.LogCaptureFixture
) -> None:
    model = build(name)
    caplog.set_level(logging.INFO, "initscope.tracking")
    whole = VarianceTracker(model, matrices="all").coverage
    assert whole.share == 1.0
    vectors = vectors_of(model)
    inside = unwrapped(model)
    assert whole.vectors == sum(p.numel() for p in inside.parameters() if id(p) in vectors)
    part = VarianceTracker(model).coverage
    assert part.followed + sum(part.left.values()) == part.weights == whole.weights
    first, second = [r for r in caplog.records if r.name == "initscope.tracking"]
    assert str(whole) == first.message
    assert (second.levelno == logging.WARNING) == (part.share < 0.99)


def test_the_line_names_what_is_left_out() -> None:
    coverage = VarianceTracker(build("Mixtral")).coverage
    line = str(coverage)
    assert f"hold {100 * coverage.share:.2f}% of the" in line
    assert 0.2 < coverage.share < 0.3
    assert "left out: model.layers.0.mlp.experts.gate_up_proj and 3 more" in line
    model = MLP([4, 3, 2])
    model[0].requires_grad_(False)
    assert "(66.7% of these frozen)" in str(VarianceTracker(model).coverage)
    assert "gains and biases" not in str(
        VarianceTracker(model, matrices="all", vectors=True).coverage
    )


def test_gains_and_biases_on_request() -> None:
    model = tiny.gpt2()
    with VarianceTracker(model, matrices="all", vectors=True, quantities=["weight"]) as tracker:
        pass
    frame: pd.DataFrame = tracker.to_frame().query("stat == 'mean' and layer == 1")
    gains = frame.set_index("role")["value"]
    assert gains["ln_1"] == 1.0
    assert gains["attn.c_attn.bias"] == gains["ln_1.bias"] == 0.0
