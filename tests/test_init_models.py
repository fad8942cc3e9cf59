"""`initialize_` on models of any make: every parameter is set, kept for a reason, or named."""

from __future__ import annotations

import inspect
import math
import multiprocessing
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tiny_transformers as tiny
import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils import parametrizations, prune

from initscope.errors import UsageError
from initscope.init import SCHEMES, Initialization, initialize_
from initscope.models.architectures import ZERO_CENTRED_NORMS

transformers = tiny.transformers
SIZES = tiny.SIZES


def draw(
    model: nn.Module, scheme: str = "kaiming", seed: int = 0, **options: Any
) -> Initialization:
    return initialize_(model, scheme, generator=torch.Generator().manual_seed(seed), **options)


def rms(tensor: torch.Tensor) -> float:
    return float(tensor.detach().double().square().mean().sqrt())


def state(model: nn.Module) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def changed(model: nn.Module, before: dict[str, torch.Tensor]) -> set[str]:
    now = model.state_dict()
    return {name for name, tensor in before.items() if not torch.equal(tensor, now[name])}


# --- Parametrizations ------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore:.*weight_norm. is deprecated")
@pytest.mark.parametrize("norm", [parametrizations.weight_norm, nn.utils.weight_norm])
def test_a_weight_behind_weight_norm_has_the_std_that_was_asked(norm: Any) -> None:
    layer = norm(nn.Linear(200, 300))
    report = draw(layer, "normal", std=0.5)
    layer(torch.zeros(1, 200))
    assert rms(layer.weight) == pytest.approx(0.5, rel=0.02)
    assert report == {"weight": 0.5, "bias": 0.0}
    assert report.drawn["weight"] == pytest.approx(rms(layer.weight), rel=1e-5)
    bare = nn.Linear(200, 300)
    draw(bare, "normal", std=0.5)
    torch.testing.assert_close(layer.weight, bare.weight, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("computed", "why"),
    [
        (parametrizations.spectral_norm, "SpectralNorm makes another weight"),
        (parametrizations.orthogonal, "Orthogonal"),
        (nn.utils.spectral_norm, "computed before every pass"),
        (lambda layer: prune.l1_unstructured(layer, "weight", 0.5), "computed before every pass"),
    ],
    ids=["spectral_norm", "orthogonal", "older spectral_norm", "pruning"],
)
def test_a_weight_whose_scale_is_not_free_is_named_and_left(computed: Any, why: str) -> None:
    model = nn.Sequential(nn.Linear(8, 8), computed(nn.Linear(8, 8)))
    before = state(model)
    with pytest.raises(UsageError, match=rf"1 parameters of Sequential would be left .*{why}"):
        draw(model, "normal", std=5.0, strict=True)
    assert not changed(model, before)
    report = draw(model, "normal", std=5.0)
    assert list(report) == ["0.weight", "0.bias", "1.bias"]
    assert why in report.left["1.weight"]
    assert changed(model, before) <= {"0.weight", "0.bias", "1.bias"}


def test_an_orthogonal_weight_takes_an_orthogonal_one() -> None:
    layer = parametrizations.orthogonal(nn.Linear(8, 8))
    assert draw(layer, "orthogonal").left == {}
    torch.testing.assert_close(layer.weight @ layer.weight.T, torch.eye(8), rtol=0, atol=1e-5)


def test_a_weight_of_zeros_cannot_be_kept_as_a_length_and_a_direction() -> None:
    layer = parametrizations.weight_norm(nn.Linear(8, 8))
    assert "weight" in draw(layer, "normal", std=0.0).left
    assert layer.weight.isfinite().all()


# --- Roles -----------------------------------------------------------------------------------

ENDS = {
    "gpt2": ("attn.c_proj", "mlp.c_proj"),
    "llama": ("o_proj", "down_proj"),
    "gpt_neox": ("attention.dense", "4h_to_h"),
    "bert": ("output.dense",),
    "phi3": ("o_proj", "down_proj"),
    "bloom": ("attention.dense", "4h_to_h"),
    "falcon, groups": ("attention.dense", "4h_to_h"),
    "bigcode, heads": ("attn.c_proj", "mlp.c_proj"),
    "codegen": ("out_proj", "fc_out"),
    "opt": ("out_proj", "fc2"),
}


@pytest.mark.parametrize("family", ENDS)
def test_residual_branches_are_scaled_by_role(family: str) -> None:
    model = tiny.FAMILIES[family]()
    for parameter in model.parameters():
        nn.init.constant_(parameter, math.nan)
    report = draw(model, "gpt2", std=0.1, strict=True)
    assert report.share_set == 1.0
    assert not report.kept
    assert not report.notes
    for name, parameter in model.named_parameters():
        if parameter.dim() == 1:
            gain = name.endswith("weight")
            assert torch.equal(parameter, torch.full_like(parameter, float(gain))), name
            continue
        end = name.removesuffix(".weight").endswith(ENDS[family])
        assert report[name] == pytest.approx(0.1 / 2 if end else 0.1)
        padding = model.get_submodule(name.removesuffix(".weight"))
        n_zeros = 0 if getattr(padding, "padding_idx", None) is None else parameter.shape[1]
        share = 1 - n_zeros / parameter.numel()
        assert rms(parameter) / math.sqrt(share) == pytest.approx(report[name], rel=0.15), name
        assert report.drawn[name] == pytest.approx(rms(parameter) / math.sqrt(share), rel=1e-4)


def test_encoder_and_decoder_count_their_own_branches() -> None:
    config = transformers.T5Config(
        d_model=32, d_kv=8, d_ff=48, num_layers=2, num_decoder_layers=3, num_heads=4, vocab_size=64
    )
    model = transformers.T5ForConditionalGeneration(config)
    report = draw(model, "gpt2", std=1.0)
    assert report["encoder.block.1.layer.0.SelfAttention.o.weight"] == pytest.approx(4**-0.5)
    assert report["decoder.block.0.layer.1.EncDecAttention.o.weight"] == pytest.approx(9**-0.5)
    assert report["decoder.block.2.layer.2.DenseReluDense.wo.weight"] == pytest.approx(9**-0.5)
    report = draw(model, "lir", std=1.0)
    assert report["decoder.block.2.layer.0.SelfAttention.q.weight"] == pytest.approx(3**-0.5)
    assert report["encoder.block.1.layer.1.DenseReluDense.wi.weight"] == pytest.approx(2**-0.5)


def test_layers_that_run_many_times_count_as_often() -> None:
    config = transformers.AlbertConfig(**(SIZES | {"num_hidden_layers": 8}), embedding_size=16)
    model = transformers.AlbertForMaskedLM(config)
    report = draw(model, "gpt2", std=1.0)
    end = "albert.encoder.albert_layer_groups.0.albert_layers.0.ffn_output.weight"
    assert report[end] == pytest.approx(16**-0.5)


def test_grouped_queries_have_their_own_fans() -> None:
    model = tiny.llama()
    report = draw(model, "deepnorm")
    layer = "model.layers.0.self_attn."
    assert report[f"{layer}q_proj.weight"] == pytest.approx(math.sqrt(2 / 64))
    assert report[f"{layer}k_proj.weight"] == pytest.approx(math.sqrt(2 / 48))
    assert report[f"{layer}v_proj.weight"] == pytest.approx(math.sqrt(2 / 48) * 16**-0.25)
    fused = tiny.FAMILIES["gpt_neox"]()
    draw(fused, "deepnorm")
    weight = fused.gpt_neox.layers[0].attention.query_key_value.weight
    q, k, v = weight.unflatten(0, (4, 3, 8)).unbind(1)  # of one head after the other
    assert rms(q) == pytest.approx(math.sqrt(2 / 64), rel=0.1)
    assert rms(k) == pytest.approx(math.sqrt(2 / 64), rel=0.1)
    assert rms(v) == pytest.approx(math.sqrt(2 / 64) / 2, rel=0.1)


def test_the_layers_before_the_blocks_are_not_the_output() -> None:
    """Fixup gives 0 to the last layer: not to the patches of a ViT, nor to BERT's pooler."""
    config = transformers.ViTConfig(
        hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=48,
        image_size=16, patch_size=8,
    )  # fmt: skip
    model = transformers.ViTForImageClassification(config)
    report = draw(model, "fixup")
    patches = "vit.embeddings.patch_embeddings.projection.weight"
    assert report[patches] == pytest.approx((3 * 64) ** -0.5)
    assert report["classifier.weight"] == 0
    assert not model.classifier.weight.any()
    bert = transformers.BertForSequenceClassification(transformers.BertConfig(**SIZES))
    report = draw(bert, "fixup")
    assert report["bert.pooler.dense.weight"] > 0
    assert report["classifier.weight"] == 0


def test_a_scheme_that_knows_no_residual_branch_says_so() -> None:
    model = nn.Sequential(nn.Linear(4, 4))
    assert "no residual branch with attention or an MLP" in draw(model, "gpt2").notes[0]
    assert not draw(model, "gpt2", residual_scaling=False).notes
    assert not draw(model, "kaiming").notes


class Branch(nn.Module):
    """A residual block of a convolutional network, with a norm where its branch ends or begins."""

    def __init__(self, norm_last: bool) -> None:
        super().__init__()
        self.norm_last = norm_last
        self.norm, self.first = nn.BatchNorm2d(8), nn.Conv2d(8, 8, 3, padding=1)
        self.last = nn.Conv2d(8, 8, 3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.norm_last:
            return x + self.norm(self.last(self.first(x).relu()))
        return x + self.last(self.first(self.norm(x)).relu())


@pytest.mark.parametrize("norm_last", [True, False])
def test_residual_branches_of_a_convolutional_network_are_scaled(norm_last: bool) -> None:
    model = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), *[Branch(norm_last) for _ in range(9)])
    report = draw(model, "gpt2", std=0.1)
    for name, std in report.items():
        if name.endswith((".first.weight", ".last.weight")):
            assert std == pytest.approx(0.1 / 3 if "last" in name else 0.1)
    gain = 1 / 3 if norm_last else 1.0
    assert all(torch.equal(block.norm.weight, torch.full((8,), gain)) for block in model[1:])
    assert report.notes[0].startswith("9 residual branches of Sequential are known from the sums")
    plain = draw(model, "gpt2", std=0.1, residual_scaling=False)
    assert plain["1.last.weight"] == 0.1
    assert torch.equal(model[1].norm.weight, torch.ones(8))
    assert not plain.notes
    with pytest.raises(UsageError, match="'fixup' is for a model with residual blocks"):
        draw(model, "fixup")


def test_norms_that_add_one_to_their_weight_get_zero() -> None:
    config = transformers.GemmaConfig(**SIZES, num_key_value_heads=2, head_dim=8)
    model = transformers.GemmaForCausalLM(config)
    draw(model, "gpt2")
    norm = model.model.norm
    x = torch.randn(3, 32, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(norm(x), F.rms_norm(x, (32,), eps=1e-6))


def test_all_norms_of_transformers_that_add_one_are_known() -> None:
    found = set()
    for path in Path(inspect.getfile(transformers)).parent.glob("models/*/modeling_*.py"):
        name = ""
        for line in path.read_text().splitlines():
            name = line.split()[1].partition("(")[0].rstrip(":") if line[:6] == "class " else name
            if any(s in line for s in ("(1.0 + self.weight", "(1 + self.weight", "weight + 1.0,")):
                found.add(name)
    assert found <= set(ZERO_CENTRED_NORMS)
    assert "GemmaRMSNorm" in found


# --- Layers ----------------------------------------------------------------------------------


def test_torch_s_attention_is_three_matrices_and_an_output() -> None:
    model = nn.TransformerEncoderLayer(64, 4, 128)
    report = draw(model, "xavier")
    assert report.share_set == pytest.approx(
        1 - 4 * 64 / sum(p.numel() for p in model.parameters())
    )
    assert report["self_attn.in_proj_weight"] == pytest.approx(math.sqrt(2 / 128))
    for part in model.self_attn.in_proj_weight.chunk(3):
        assert rms(part) == pytest.approx(math.sqrt(2 / 128), rel=0.05)
    draw(model, "orthogonal")
    for part in model.self_attn.in_proj_weight.chunk(3):
        torch.testing.assert_close(part @ part.T, torch.eye(64), rtol=0, atol=1e-5)
    report = draw(model, "deepnorm")
    for part, beta in zip(model.self_attn.in_proj_weight.chunk(3), (1, 1, 8**-0.25), strict=True):
        assert rms(part) == pytest.approx(beta * math.sqrt(2 / 128), rel=0.05)
    report = draw(nn.MultiheadAttention(16, 4, kdim=8, vdim=32, add_bias_kv=True), "lecun")
    assert report["k_proj_weight"] == pytest.approx(8**-0.5)
    assert report["v_proj_weight"] == pytest.approx(32**-0.5)
    assert set(report.left) == {"bias_k", "bias_v"}


@pytest.mark.parametrize("groups", [1, 4, 16])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("transposed", [False, True])
def test_convolutions_keep_the_variance_of_noise(
    groups: int, stride: int, transposed: bool
) -> None:
    """LeCun's variance over fan_in keeps the signal, over fan_out the gradient: seen in both."""
    kind = nn.ConvTranspose2d if transposed else nn.Conv2d
    layer = kind(16, 32, 4, stride, groups=groups, bias=False)
    draw(layer, "kaiming", gain=1.0)
    source = torch.Generator().manual_seed(1)
    x = torch.randn(64, 16, 16, 16, generator=source, requires_grad=True)
    y = layer(x)
    inner = y[:, :, 4:-4, 4:-4] if transposed else y  # fewer kernels overlap at the edges
    assert rms(inner) ** 2 == pytest.approx(1, rel=0.25)
    if stride == 1:
        draw(layer, "kaiming", gain=1.0, mode="fan_out")
        (gradient,) = torch.autograd.grad(layer(x), x, torch.randn(y.shape, generator=source))
        assert rms(gradient[:, :, 4:-4, 4:-4]) ** 2 == pytest.approx(1, rel=0.25)


@pytest.mark.parametrize("kind", [nn.Conv1d, nn.ConvTranspose1d])
def test_each_group_of_a_convolution_is_orthogonal(kind: type) -> None:
    layer = kind(8, 16, 3, groups=2)
    report = draw(layer, "orthogonal", gain=2.0)
    for group in layer.weight.detach().chunk(2):
        matrix = (group.transpose(0, 1) if kind is nn.ConvTranspose1d else group).flatten(1)
        torch.testing.assert_close(matrix @ matrix.T, 4 * torch.eye(8), rtol=0, atol=1e-4)
    assert report.drawn["weight"] == pytest.approx(report["weight"], rel=1e-5)


def mixtral() -> nn.Module:
    config = transformers.MixtralConfig(**SIZES, num_key_value_heads=2, num_local_experts=3)
    return transformers.MixtralForCausalLM(config)


def gpt_oss() -> nn.Module:
    config = transformers.GptOssConfig(
        **SIZES, num_key_value_heads=2, num_local_experts=3, head_dim=8
    )
    return transformers.GptOssForCausalLM(config)


@pytest.mark.parametrize("build", [mixtral, gpt_oss])
def test_each_expert_is_a_matrix(build: Any) -> None:
    model = build()
    report = draw(model, "lecun")
    experts = "model.layers.0.mlp.experts."
    assert report[f"{experts}gate_up_proj"] == pytest.approx(32**-0.5)
    assert report[f"{experts}down_proj"] == pytest.approx(48**-0.5)
    for expert in model.get_parameter(f"{experts}down_proj"):
        assert rms(expert) == pytest.approx(48**-0.5, rel=0.1)
    report = draw(model, "gpt2", std=0.1)
    assert report[f"{experts}down_proj"] == pytest.approx(0.1 / 2)
    assert report[f"{experts}gate_up_proj"] == pytest.approx(0.1)
    assert all("sinks" in name for name in report.left)
    draw(model, "orthogonal")
    for expert in model.get_parameter(f"{experts}down_proj").detach():
        shorter = expert if expert.shape[0] == 32 else expert.T
        torch.testing.assert_close(shorter @ shorter.T, torch.eye(32), rtol=0, atol=1e-5)


GROUPED = SIZES | {"num_key_value_heads": 2}
MANY = {
    # Experts and an MLP that all tokens pass are one branch: two of them in each of two blocks.
    "Qwen2Moe": (
        GROUPED
        | {"num_experts": 3, "moe_intermediate_size": 16, "shared_expert_intermediate_size": 24},
        {
            "model.layers.0.mlp.experts.down_proj": (16, 1 / 2),
            "model.layers.0.mlp.shared_expert.down_proj.weight": (24, 1 / 2),
            "model.layers.0.mlp.gate.weight": (32, 1),
        },
    ),
    "Llama4": (
        GROUPED
        | {"num_local_experts": 2, "intermediate_size_mlp": 40, "head_dim": 8}
        | {"interleave_moe_layer_step": 1},
        {
            "model.layers.0.feed_forward.experts.gate_up_proj": (32, 1),
            "model.layers.0.feed_forward.experts.down_proj": (48, 1 / 2),
        },
    ),
    "JetMoe": (
        GROUPED | {"kv_channels": 8, "num_local_experts": 2, "num_experts_per_tok": 1},
        {
            "model.layers.0.self_attention.experts.output_linear.weight": (16, 1 / 2),
            "model.layers.0.mlp.output_linear.weight": (48, 1 / 2),
            "model.layers.0.mlp.input_linear.weight": (32, 1),
        },
    ),
    # The blocks of a stage are a stack of their own.
    "Swin": (
        {"image_size": 32, "patch_size": 4, "embed_dim": 16, "depths": [2, 1], "num_heads": [2, 4]}
        | {"window_size": 4},
        {
            "swin.encoder.layers.0.blocks.1.mlp.fc2.weight": (64, 1 / 2),
            "swin.encoder.layers.1.blocks.0.mlp.fc2.weight": (128, 2**-0.5),
        },
    ),
}


@pytest.mark.parametrize("family", MANY)
def test_blocks_of_many_matrices(family: str) -> None:
    """Of each weight: its inputs, and the factor where a branch ends."""
    fields, expected = MANY[family]
    kind = {"Llama4": "Llama4Text"}.get(family, family)
    config = getattr(transformers, f"{kind}Config")(**fields)
    task = "ForImageClassification" if family == "Swin" else "ForCausalLM"
    model = getattr(transformers, family + task)(config)
    by_fan, by_role = draw(model, "lecun"), draw(model, "gpt2", std=1.0)
    for name, (fan_in, factor) in expected.items():
        assert by_fan[name] == pytest.approx(fan_in**-0.5), name
        assert by_role[name] == pytest.approx(factor), name
    assert not by_role.left


def test_experts_beside_an_mlp_are_one_branch_with_it() -> None:
    parts = {"attn": "o_proj", "mlp": "down_proj", "experts": "down_proj"}
    block = {part: nn.ModuleDict({name: nn.Linear(4, 4)}) for part, name in parts.items()}
    report = draw(nn.ModuleDict({"layers": nn.ModuleList([nn.ModuleDict(block)])}), "gpt2", std=1.0)
    assert report["layers.0.experts.down_proj.weight"] == pytest.approx(2**-0.5)
    assert report["layers.0.attn.o_proj.weight"] == pytest.approx(2**-0.5)


def test_experts_of_dbrx_are_stacked_in_two_dimensions() -> None:
    from transformers.models.dbrx import modeling_dbrx

    module = modeling_dbrx.DbrxExpertGLU(transformers.DbrxConfig().ffn_config)
    module.moe_num_experts, module.hidden_size, module.ffn_hidden_size = 3, 32, 48
    for name in ("w1", "v1", "w2"):
        setattr(module, name, nn.Parameter(torch.empty(3 * 48, 32)))
    model = nn.ModuleDict({"experts": module, "head": nn.Linear(3, 3)})
    report = draw(model, "lecun")
    assert report["experts.w1"] == report["experts.v1"] == pytest.approx(32**-0.5)
    assert report["experts.w2"] == pytest.approx(48**-0.5)
    expert = torch.randn(1000, 32) @ module.w1.view(3, 48, 32)[1].T @ module.w2.view(3, 48, 32)[1]
    assert rms(expert) == pytest.approx(1, rel=0.15)


def test_each_gate_of_a_recurrent_layer_is_a_matrix() -> None:
    model = nn.LSTM(20, 30, 2)
    report = draw(model, "xavier", strict=True)
    assert report.share_set == 1
    assert report["weight_ih_l0"] == pytest.approx(math.sqrt(2 / 50))
    assert report["weight_hh_l1"] == pytest.approx(math.sqrt(2 / 60))
    draw(model, "orthogonal")
    for gate in model.weight_hh_l0.chunk(4):
        torch.testing.assert_close(gate @ gate.T, torch.eye(30), rtol=0, atol=1e-5)


# --- What is kept ----------------------------------------------------------------------------


def test_frozen_parameters_are_kept_and_named() -> None:
    model = tiny.llama()
    model.model.layers[0].requires_grad_(False)
    before = state(model)
    report = draw(model, "gpt2", strict=True)
    frozen = {name for name in before if ".layers.0." in name}
    assert set(report.kept) == frozen
    assert set(report.kept.values()) == {"frozen: requires_grad is False"}
    assert not changed(model, before) & frozen
    with pytest.raises(UsageError, match=r"no parameter of Llama.* \(frozen: .*requires_grad_\("):
        draw(model.requires_grad_(False), "gpt2")


class Adapted(nn.Module):
    """A linear layer under an adapter, with the names of peft."""

    def __init__(self, base: nn.Linear, rank: int = 4) -> None:
        super().__init__()
        self.base_layer = base
        self.lora_A = nn.ModuleDict({"default": nn.Linear(base.in_features, rank, bias=False)})
        self.lora_B = nn.ModuleDict({"default": nn.Linear(rank, base.out_features, bias=False)})


@pytest.mark.parametrize("scheme", ["kaiming", "gpt2"])
@pytest.mark.parametrize("frozen", [True, False])
def test_an_adapter_starts_at_the_layer_under_it(scheme: str, frozen: bool) -> None:
    model = tiny.llama()
    for block in model.model.layers:
        for name in ("q_proj", "o_proj"):
            base = getattr(block.self_attn, name)
            base.requires_grad_(not frozen)
            setattr(block.self_attn, name, Adapted(base))
    nn.init.normal_(model.model.layers[0].self_attn.q_proj.lora_B["default"].weight)
    before = state(model)
    report = draw(model, scheme, strict=True)
    kept = {name for name in before if "base_layer" in name}
    assert kept <= set(report.kept)
    assert not changed(model, before) & kept
    for block in model.model.layers:
        for adapted in (block.self_attn.q_proj, block.self_attn.o_proj):
            assert not adapted.lora_B["default"].weight.any()
            std = 0.02 if scheme == "gpt2" else math.sqrt(2 / 32)
            assert rms(adapted.lora_A["default"].weight) == pytest.approx(std, rel=0.2)


@pytest.mark.parametrize("scheme", ["kaiming", "gpt2"])
def test_rows_of_padding_stay_zero(scheme: str) -> None:
    model = nn.ModuleDict({"in": nn.Embedding(40, 30, padding_idx=-1), "out": nn.Linear(30, 40)})
    model["out"].weight = model["in"].weight
    report = draw(model, scheme, seed=3)
    weight = model["in"].weight.detach()
    assert not weight[-1].any()
    (name,) = [name for name, std in report.items() if std]
    assert report.drawn[name] == pytest.approx(rms(weight[:-1]), rel=1e-5)
    model["in"].padding_idx = None
    draw(model, scheme, seed=3)  # the same draws but for this row
    assert torch.equal(model["in"].weight[:-1], weight[:-1])


def test_fixed_sinusoids_are_kept() -> None:
    config = transformers.WhisperConfig(
        d_model=32, encoder_layers=1, decoder_layers=1, encoder_attention_heads=4,
        decoder_attention_heads=4, encoder_ffn_dim=48, decoder_ffn_dim=48, vocab_size=64,
        num_mel_bins=8, pad_token_id=0, bos_token_id=1, eos_token_id=2, decoder_start_token_id=1,
        max_source_positions=20, max_target_positions=20,
    )  # fmt: skip
    model = transformers.WhisperForConditionalGeneration(config).requires_grad_(True)
    before = state(model)
    report = draw(model, "gpt2", strict=True)
    assert report.kept == {"model.encoder.embed_positions.weight": "fixed sinusoids"}
    assert "model.encoder.embed_positions.weight" not in changed(model, before)


def test_state_spaces_keep_their_rates_and_step_sizes() -> None:
    config = transformers.MambaConfig(
        hidden_size=32, num_hidden_layers=2, vocab_size=64, state_size=4
    )
    model = transformers.MambaForCausalLM(config)
    before = state(model)
    report = draw(model, "gpt2", std=0.1, strict=True)
    assert {name.split(".mixer.")[1] for name in report.kept} == {"A_log", "D", "dt_proj.bias"}
    assert not changed(model, before) & set(report.kept)
    assert report["backbone.layers.0.mixer.out_proj.weight"] == pytest.approx(0.1 / math.sqrt(2))
    assert report["backbone.layers.0.mixer.conv1d.weight"] == 0.1


# --- The report ------------------------------------------------------------------------------


class Odd(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(6, 5)
        self.table = nn.Parameter(torch.ones(3, 3))
        self.norm = nn.LayerNorm(6)


def test_the_report_has_every_parameter_once() -> None:
    model = Odd()
    report = draw(model, "kaiming")
    frame = report.to_frame().set_index("parameter")
    assert sorted(frame.index) == sorted(name for name, _ in model.named_parameters())
    assert frame["outcome"].to_dict() == {
        "layer.weight": "set", "layer.bias": "set", "table": "left",
        "norm.weight": "kept", "norm.bias": "kept",
    }  # fmt: skip
    assert frame["numbers"].sum() == sum(p.numel() for p in model.parameters())
    assert frame.loc["layer.weight", "std_drawn"] == pytest.approx(
        rms(model.layer.weight), rel=1e-5
    )
    assert report.share_set == pytest.approx(35 / 56)
    text = repr(report)
    assert "2 parameters set, 62.50% of all numbers" in text
    assert "left: table (not a parameter that is known of Odd)" in text
    assert "kept: norm.weight, norm.bias (scheme kaiming is for layers" in text
    assert max(map(len, text.splitlines())) <= 80
    before = state(model)
    with pytest.raises(UsageError, match=r"strict: 1 parameters of Odd .*table"):
        draw(model, "kaiming", strict=True)
    assert not changed(model, before)


@pytest.mark.parametrize("scheme", [n for n, rule in SCHEMES.items() if rule.scope != "layers"])
@pytest.mark.parametrize("family", ["llama", "bert", "opt", "falcon, one k and v"])
def test_every_rule_for_models_sets_every_parameter(scheme: str, family: str) -> None:
    model = tiny.FAMILIES[family]()
    needs = dict.fromkeys(SCHEMES[scheme].needs, 16)
    report = draw(model, scheme, strict=True, **needs)
    assert report.share_set == 1
    assert all(parameter.isfinite().all() for parameter in model.parameters())
    for name, std in report.items():
        assert report.drawn[name] == pytest.approx(std, rel=0.3), name


@pytest.mark.parametrize("std", [1e-30, 1e30])
def test_what_was_drawn_is_told_for_extreme_stds(std: float) -> None:
    assert draw(nn.Linear(50, 50), "normal", std=std).drawn["weight"] == pytest.approx(std, rel=0.1)


def test_weights_that_are_not_whole_are_one_clear_error() -> None:
    layer = nn.Linear(8, 8)
    layer.weight = nn.Parameter(layer.weight.detach().flatten()[:40])  # as FSDP1 leaves them
    with pytest.raises(UsageError, match=r"does not hold it whole.* before it is sharded"):
        draw(layer)
    layer.weight = nn.Parameter(torch.empty(0))
    with pytest.raises(UsageError, match=r"\(0,\), has no elements: this process holds"):
        draw(layer)
    with pytest.raises(UsageError, match="strict must be True or False, not 'yes'"):
        draw(nn.Linear(3, 3), strict="yes")


# --- Branches whose names say something else ------------------------------------------------


def test_the_branches_of_xlm_and_of_rwkv_end_where_they_do() -> None:
    """XLM keeps one list of all attentions and one of all MLPs; RWKV calls its ends otherwise."""
    xlm = transformers.XLMModel(
        transformers.XLMConfig(vocab_size=64, emb_dim=32, n_layers=3, n_heads=4)
    )
    rwkv = transformers.RwkvModel(
        transformers.RwkvConfig(
            vocab_size=64, hidden_size=32, num_hidden_layers=3, attention_hidden_size=32
        )
    )
    ends = {
        xlm: ("attentions.{}.out_lin.weight", "ffns.{}.lin2.weight"),
        rwkv: ("blocks.{}.attention.output.weight", "blocks.{}.feed_forward.value.weight"),
    }
    for model, names in ends.items():
        expected = {name.format(k) for name in names for k in range(3)}
        report = draw(model, "gpt2", std=0.1)
        scaled = {name for name, std in report.items() if std == pytest.approx(0.1 / 6**0.5)}
        assert scaled == expected
        assert all(report[name] in (0.0, 0.1) for name in report.keys() - scaled)
        assert "no residual branch" not in repr(report)
        by_block = draw(model, "lir", std=0.1)
        for name in names:
            assert by_block[name.format(2)] == pytest.approx(0.1 / 3**0.5)


# --- Shards ----------------------------------------------------------------------------------


def initialize_beside(folder: Path, rank: int, port: int) -> None:
    """Be one process of two that hold a model in shards."""
    from torch import distributed
    from torch.distributed.fsdp import fully_shard

    torch.set_num_threads(1)
    where = f"tcp://127.0.0.1:{port}"
    distributed.init_process_group("gloo", init_method=where, rank=rank, world_size=2)
    model = tiny.llama()
    mesh = distributed.device_mesh.init_device_mesh("cpu", (2,))
    for block in model.model.layers:
        fully_shard(block, mesh=mesh)
    fully_shard(model, mesh=mesh)
    report = draw(model, "gpt2", seed=7)
    full = {name: parameter.full_tensor() for name, parameter in model.named_parameters()}
    torch.save((full, dict(report), report.drawn), folder / f"{rank}.pt")
    distributed.barrier()
    distributed.destroy_process_group()


def initialize_split(folder: Path, rank: int, port: int) -> None:
    """Be one process of two that split every matrix of a block: tensor parallelism."""
    from torch import distributed
    from torch.distributed.tensor.parallel import (
        ColwiseParallel,
        RowwiseParallel,
        parallelize_module,
    )

    torch.set_num_threads(1)
    where = f"tcp://127.0.0.1:{port}"
    distributed.init_process_group("gloo", init_method=where, rank=rank, world_size=2)
    model = tiny.llama()
    mesh = distributed.device_mesh.init_device_mesh("cpu", (2,), mesh_dim_names=("tp",))
    by_columns = dict.fromkeys(("q_proj", "k_proj", "v_proj", "gate_proj", "up_proj"))
    for block in model.model.layers:
        for part in (block.self_attn, block.mlp):
            plan = {
                name: ColwiseParallel() if name in by_columns else RowwiseParallel()
                for name, module in part.named_children()
                if isinstance(module, nn.Linear)
            }
            parallelize_module(part, mesh, plan)
    report = draw(model, "gpt2", seed=7)
    full = {
        name: parameter.full_tensor() if hasattr(parameter, "full_tensor") else parameter
        for name, parameter in model.named_parameters()
    }
    held = model.model.layers[0].mlp.down_proj.weight.to_local().shape
    torch.save((full, dict(report), report.drawn), folder / f"{rank}.pt")
    torch.save(held, folder / f"held-{rank}.pt")
    distributed.barrier()
    distributed.destroy_process_group()


@pytest.mark.parametrize("process", [initialize_beside, initialize_split])
def test_two_processes_draw_the_weights_of_one(
    process: Callable[[Path, int, int], None],
    tmp_path: Path,
    server: multiprocessing.context.BaseContext,
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    both = [
        server.Process(target=process, args=(tmp_path, rank, port), daemon=True) for rank in (0, 1)
    ]
    for started in both:
        started.start()
    for started in both:
        started.join()
    assert [started.exitcode for started in both] == [0, 0]
    if process is initialize_split:  # half of the columns each
        width = tiny.SIZES["intermediate_size"]
        assert torch.load(tmp_path / "held-1.pt") == (tiny.SIZES["hidden_size"], width // 2)
    alone = tiny.llama()
    report = draw(alone, "gpt2", seed=7)
    for rank in (0, 1):
        full, stds, drawn = torch.load(tmp_path / f"{rank}.pt")
        assert stds == report
        assert drawn == pytest.approx(report.drawn, rel=1e-6)
        assert set(full) == {name for name, _ in alone.named_parameters()}
        for name, parameter in alone.named_parameters():
            assert torch.equal(full[name], parameter), name
