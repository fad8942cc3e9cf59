from __future__ import annotations

import pytest
import tiny_transformers as tiny
import torch
import transformers
from tiny_transformers import FAMILIES, build
from torch import nn

from initscope.errors import UsageError
from initscope.tracking import weight_matrices
from initscope.tracking.matrices import find_weight_matrices

TOKENS = torch.arange(10).reshape(2, 5)
BLOCK = ["q", "k", "v", "attention_out", "mlp_in", "mlp_out"]


def roles_of(model: nn.Module) -> dict[int, list[str]]:
    found: dict[int, list[str]] = {}
    for layer, role, _ in weight_matrices(model):
        found.setdefault(layer, []).append(role)
    return found


def logits(model: nn.Module) -> torch.Tensor:
    with torch.no_grad():
        return model(input_ids=TOKENS).logits.double()


def views(model: nn.Module, role: str) -> list[torch.Tensor]:
    found = [view for _, name, view in weight_matrices(model) if name == role]
    assert found
    return found


# --- the views are what the model computes q, k and v with ----------------------------------


@pytest.mark.parametrize("family", FAMILIES)
def test_scores_depend_on_the_product_of_q_and_k_alone(family: str) -> None:
    # Twice q and half k leave every attention score as it is; twice v does not. Powers of two
    # are exact, so that a view with a single wrong row shows.
    model = build(family)
    before = logits(model)
    for view in views(model, "q"):
        view.mul_(2.0)
    assert not torch.allclose(logits(model), before, rtol=1e-3)
    for view in views(model, "k"):
        view.mul_(0.5)
    torch.testing.assert_close(logits(model), before, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("family", FAMILIES)
def test_v_and_the_output_projection_are_a_product_too(family: str) -> None:
    model = build(family)
    before = logits(model)
    for view in views(model, "v"):
        view.mul_(2.0)
    assert not torch.allclose(logits(model), before, rtol=1e-3)
    for view in views(model, "attention_out"):
        view.mul_(0.5)
    torch.testing.assert_close(logits(model), before, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("family", FAMILIES)
def test_the_views_cover_every_matrix_once_and_copy_nothing(family: str) -> None:
    model = build(family)
    for _, _, view in weight_matrices(model):
        assert not view.requires_grad
        view.fill_(7.0)
    total = 0
    for name, parameter in model.named_parameters():
        if parameter.dim() == 2:
            assert (parameter == 7.0).all(), name
            total += parameter.numel()
        else:
            assert not (parameter == 7.0).any(), name
    assert sum(view.numel() for _, _, view in weight_matrices(model)) == total


# --- roles and shapes ------------------------------------------------------------------------


def test_gpt2_by_layer_and_role() -> None:
    model = tiny.gpt2()
    found = [(layer, role, tuple(view.shape)) for layer, role, view in weight_matrices(model)]
    block = [("q", 32, 32), ("k", 32, 32), ("v", 32, 32), ("attention_out", 32, 32)]
    block += [("mlp_in", 32, 128), ("mlp_out", 128, 32)]
    expected = [(0, "token_embedding", (64, 32)), (0, "position_embedding", (32, 32))]
    expected += [(layer, role, (n, m)) for layer in (1, 2) for role, n, m in block]
    assert found == expected  # the tied output layer appears once, as the embedding


def test_gpt2_parts_are_those_that_the_model_splits() -> None:
    model = tiny.gpt2()
    found = {(layer, role): view for layer, role, view in weight_matrices(model)}
    for layer, block in enumerate(model.transformer.h, start=1):
        parts = block.attn.c_attn.weight.detach().split(32, dim=1)
        for role, part in zip("qkv", parts, strict=True):
            assert torch.equal(found[layer, role], part)


def test_llama_has_narrower_keys_and_values_and_a_gate() -> None:
    model = tiny.llama()
    roles = ["q", "k", "v", "attention_out", "mlp_gate", "mlp_in", "mlp_out"]
    assert roles_of(model) == {0: ["token_embedding"], 1: roles, 2: roles, 3: ["output"]}
    shapes = {role: tuple(view.shape) for _, role, view in weight_matrices(model)}
    assert shapes["q"] == (32, 32)
    assert shapes["k"] == shapes["v"] == (16, 32)


def test_gpt_neox_parts_are_interleaved_by_head() -> None:
    model = tiny.gpt_neox()
    first = {role: view for layer, role, view in weight_matrices(model) if layer == 1}
    fused = model.gpt_neox.layers[0].attention.query_key_value.weight.detach()
    for head in range(4):
        for number, role in enumerate("qkv"):
            rows = fused[head * 24 + number * 8 : head * 24 + (number + 1) * 8]
            assert torch.equal(first[role][head], rows)


def test_bert_by_layer_and_role() -> None:
    expected = {0: ["token_embedding", "position_embedding", "token_type_embedding"]}
    expected |= {1: BLOCK, 2: BLOCK, 3: ["cls.predictions.transform.dense"]}
    assert roles_of(tiny.bert()) == expected
    # An output layer of its own is one more matrix, and makes of BERT's encoder no second stack.
    expected[3].append("output")
    untied = roles_of(tiny.bert(tie_word_embeddings=False))
    assert untied[1] == BLOCK
    assert len(untied[3]) == 2


def test_an_untied_output_layer_comes_after_the_last_block() -> None:
    found = roles_of(tiny.gpt2(tie_word_embeddings=False))
    assert found[3] == ["output"]


def test_encoder_and_decoder_are_told_apart() -> None:
    config = transformers.T5Config(
        d_model=32, d_kv=8, d_ff=48, num_layers=2, num_heads=4, vocab_size=64
    )
    found = roles_of(transformers.T5ForConditionalGeneration(config))
    wanted = {
        f"{stack}_{role}" for stack in ("encoder", "decoder", "decoder_cross") for role in "qkv"
    }
    assert wanted <= set(found[1])
    assert wanted <= set(found[2])


def test_torch_s_own_encoder() -> None:
    layer = nn.TransformerEncoderLayer(32, 4, 48, batch_first=True)
    model = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
    assert roles_of(model) == {1: BLOCK, 2: BLOCK}
    fused = model.layers[1].self_attn.in_proj_weight.detach()
    assert torch.equal(views(model, "v")[1], fused[64:])


def test_experts_are_told_apart() -> None:
    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.attention = nn.ModuleDict({n: nn.Linear(4, 4) for n in ("query", "key", "value")})
            self.experts = nn.ModuleList(nn.ModuleDict({"fc1": nn.Linear(4, 4)}) for _ in range(2))

    roles = roles_of(nn.ModuleList([Block()]))[1]
    assert roles[:3] == ["q", "k", "v"]
    assert roles[3:] == ["mlp_in:0.experts.0.fc1.weight", "mlp_in:0.experts.1.fc1.weight"]


@pytest.mark.parametrize("where", ["model", "block", "module"])
def test_wrapped_and_compiled_models_are_the_model_inside(where: str) -> None:
    model = tiny.gpt2()
    expected = [(m.layer, m.role, m.parameter) for m in find_weight_matrices(model)]
    if where == "model":
        wrapped = torch.compile(nn.DataParallel(model))
    elif where == "block":
        wrapped = model
        model.transformer.h[0] = torch.compile(model.transformer.h[0])
    else:
        model.compile()
        wrapped = model
    found = [(m.layer, m.role, m.parameter) for m in find_weight_matrices(wrapped)]
    assert [(a, b) for a, b, _ in found] == [(a, b) for a, b, _ in expected]
    assert all(a[2] is b[2] for a, b in zip(found, expected, strict=True))


# --- gradients and outputs of a part ---------------------------------------------------------


@pytest.mark.parametrize("family", ["gpt2", "gpt_neox", "phi3", "falcon, groups"])
def test_an_output_is_split_as_the_weight_is(family: str) -> None:
    model = build(family)
    inputs = torch.randn(3, 5, 32)
    for matrix in find_weight_matrices(model):
        if matrix.role in ("q", "k", "v"):
            transposed = matrix.unit_dim == 1
            weight = matrix.weight if transposed else matrix.weight.transpose(-1, -2)
            expected = torch.einsum("bti,...io->bt...o", inputs, weight)
            found = matrix.of_output(matrix.module(inputs))
            torch.testing.assert_close(found.flatten(2), expected.flatten(2))


# --- bad input -------------------------------------------------------------------------------


@pytest.mark.parametrize("model", [nn.Identity(), nn.LayerNorm(3), nn.Bilinear(2, 2, 2)])
def test_a_model_without_a_matrix_is_one_clear_error(model: nn.Module) -> None:
    with pytest.raises(UsageError, match=r"has no weight matrix .* nothing to track"):
        weight_matrices(model)


def test_an_unknown_order_of_fused_weights_is_one_clear_error() -> None:
    class OtherAttention(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.query_key_value = nn.Linear(4, 12)

    model = nn.ModuleList([nn.ModuleDict({"attention": OtherAttention()})])
    with pytest.raises(UsageError, match="an order that is not known for OtherAttention"):
        weight_matrices(model)


@pytest.mark.filterwarnings("ignore:Initializing zero-element tensors")
def test_a_weight_without_elements_is_not_followed() -> None:
    model = nn.AdaptiveLogSoftmaxWithLoss(8, 100, [10, 50, 90])  # 8 / 4^2 inputs of the second tail
    assert model.tail[1][0].weight.shape == (0, 8)
    followed = [role for _, role, _ in weight_matrices(model, "all")]
    assert followed == ["head", "tail.0.0", "tail.0.1"]


def test_sharded_weights_are_one_clear_error() -> None:
    model = tiny.gpt2()
    model.transformer.h[0].mlp.c_fc.weight.data = torch.empty(0)
    with pytest.raises(UsageError, match=r"mlp\.c_fc\.weight: weights are sharded"):
        weight_matrices(model)
