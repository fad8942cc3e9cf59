"""The residual stream of real transformers: against hand-made passes, and against theory."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from initscope.errors import UsageError
from initscope.init import initialize_
from initscope.models import MLP, gpt2, post_norm_gpt
from initscope.monte_carlo.residual_stream import (
    draw_narrow_models,
    stream_gradients,
    stream_profile,
    weight_gradients,
)
from initscope.theory import (
    activation_moments,
    attention_logit_variance,
    residual_gradient_variance,
    residual_stream_variance,
    weight_gradient_variance,
)

STD = 0.02 * 8**0.5  # at width 96 what 0.02 is at 768


def model_and_tokens(kind: str = "pre", **sizes: int) -> tuple[nn.Module, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    model = gpt2("nano12", **sizes)
    model = (model if kind == "pre" else post_norm_gpt(model)).double()
    initialize_(model, "gpt2", std=STD, generator=generator)
    tokens = torch.randint(model.config.vocab_size, (3, 24), generator=generator)
    return model, tokens


def test_the_stream_is_that_of_a_pass_by_hand() -> None:
    model, tokens = model_and_tokens(n_layer=2)
    frame = stream_profile(model, tokens).set_index(["quantity", "depth"])["value"]
    body = model.transformer
    with torch.no_grad():
        x = body.wte(tokens) + body.wpe(torch.arange(24))
        for depth, block in enumerate(body.h, start=1):
            assert frame["stream", depth - 1] == pytest.approx(
                x.var(-1, correction=0).mean().item()
            )
            query, key, value = block.attn.c_attn(block.ln_1(x)).split(96, dim=-1)
            for name, part in (("query", query), ("key", key), ("value", value)):
                assert frame[name, depth] == pytest.approx(part.square().mean().item())
            logits = []
            for head in range(4):
                part = slice(24 * head, 24 * head + 24)
                scores = query[..., part] @ key[..., part].mT / 24**0.5
                logits += [scores[:, t, u] for t in range(24) for u in range(t + 1)]
            assert frame["logit", depth] == pytest.approx(
                torch.stack(logits).square().mean().item()
            )
            attended = block.attn(block.ln_1(x))[0]
            assert frame["attention", depth] == pytest.approx(attended.square().mean().item())
            x = x + attended
            added = block.mlp(block.ln_2(x))
            assert frame["mlp", depth] == pytest.approx(added.square().mean().item())
            x = x + added
    assert frame["stream", 2] == pytest.approx(x.var(-1, correction=0).mean().item())


@pytest.mark.parametrize("kind", ["pre", "post"])
def test_gradients_are_those_of_finite_differences(kind: str) -> None:
    model, tokens = model_and_tokens(kind, n_layer=2)
    labels = tokens.flip(1)
    found = stream_gradients(model, tokens, labels)
    assert list(found.index) == [0, 1, 2]
    # The gradient at the embeddings, by autograd through an input of its own.
    table = model.transformer.wte if kind == "pre" else model.transformer.tokens_embed
    inputs = table(tokens).detach().requires_grad_()
    logits = model(inputs_embeds=inputs).logits
    loss = cross_entropy(logits.flatten(0, 1), labels.flatten(), reduction="sum")
    (gradient,) = torch.autograd.grad(loss, inputs)
    assert found[0] == pytest.approx(gradient.square().mean().item())
    assert all(p.grad is None for p in model.parameters())


def test_weight_gradients_are_those_of_backward() -> None:
    model, tokens = model_and_tokens(n_layer=2)
    labels = tokens.flip(1)
    found = weight_gradients(model, tokens, labels)
    assert all(p.grad is None for p in model.parameters())
    logits = model(tokens).logits
    cross_entropy(logits.flatten(0, 1), labels.flatten(), reduction="sum").backward()
    for depth, block in enumerate(model.transformer.h, start=1):
        query, key, value = block.attn.c_attn.weight.grad.split(96, dim=1)
        by_role = {"query": query, "key": key, "value": value}
        by_role |= {"attention_output": block.attn.c_proj.weight.grad}
        by_role |= {"mlp_input": block.mlp.c_fc.weight.grad}
        by_role |= {"mlp_output": block.mlp.c_proj.weight.grad}
        assert list(found.columns) == list(by_role)
        for role, gradient in by_role.items():
            assert found.loc[depth, role] == pytest.approx(gradient.square().mean().item())


def test_weight_gradients_of_narrow_models_are_what_theory_says() -> None:
    """Absolute, from the loss on: mean of 12 networks; query and key of one with few positions."""
    model, _ = model_and_tokens(n_layer=2)
    generator = torch.Generator().manual_seed(1)
    measured = []
    for _ in range(12):
        initialize_(model, "gpt2", std=STD, generator=generator)
        tokens, labels = torch.randint(model.config.vocab_size, (2, 3, 24), generator=generator)
        measured.append(weight_gradients(model, tokens, labels).to_numpy())
    theory = np.array(weight_gradient_variance(2, 96, 24, STD)).T
    at_end = STD**2 / (residual_stream_variance(2, 96, 24, STD)[-1] + 1e-5)
    np.testing.assert_allclose(np.mean(measured, axis=0) / (3 * 24 * at_end * theory), 1, atol=0.2)


def test_query_waits_by_the_variance_of_the_logits() -> None:
    """In closed form: one block that adds next to nothing, unrelated positions, no epsilon."""
    small = STD / 50  # of logits so small that attention is uniform
    found = weight_gradient_variance(1, 96, 24, small, residual_std=1e-9, layer_norm_epsilon=0.0)
    t = np.arange(1, 25)
    logit = attention_logit_variance(96, small)
    assert found.query / found.value == pytest.approx(
        logit * ((t - 1) * (96 + t) / 96 / t**2).sum() / (1 / t).sum()
    )
    found = weight_gradient_variance(1, 96, 24, STD, residual_std=1e-6, layer_norm_epsilon=0.0)
    assert found.key == pytest.approx(found.query)
    assert found.value / found.attention_output == pytest.approx(1e-12 / STD**2)
    # Every MLP output weight: E[phi^2] of hidden units of variance d s^2.
    assert found.mlp_output == pytest.approx(
        float(activation_moments("gelu_tanh", 96 * STD**2).second)
    )


def test_hooks_are_gone_afterwards() -> None:
    model, tokens = model_and_tokens(n_layer=1)
    before = model(tokens).logits
    stream_profile(model, tokens)
    stream_gradients(model, tokens, tokens)
    assert not [m for m in model.modules() if m._forward_hooks or m._forward_pre_hooks]
    assert torch.equal(model(tokens).logits, before)


def test_what_is_refused() -> None:
    with pytest.raises(UsageError, match=r"MLP has no blocks transformer\.h"):
        stream_profile(MLP([2, 2]), torch.zeros(1, 2))
    model, tokens = model_and_tokens(n_layer=1)
    with pytest.raises(UsageError, match="labels have shape"):
        stream_gradients(model, tokens, tokens[:, 1:])
    with pytest.raises(UsageError, match=r"unknown norm .*Did you mean"):
        residual_gradient_variance(2, 96, 24, norm="Pre")


def test_stream_of_narrow_models_is_what_theory_says() -> None:
    """Mean over 8 networks, whose standard error is 2 to 3%."""
    model, tokens = model_and_tokens(n_layer=6)
    generator = torch.Generator().manual_seed(1)
    measured = []
    for _ in range(8):
        initialize_(model, "gpt2", std=STD, generator=generator)
        frame = stream_profile(model, tokens)
        measured.append(frame.loc[frame["quantity"] == "stream", "value"].to_numpy())
    theory = residual_stream_variance(6, 96, 24, STD)
    np.testing.assert_allclose(np.mean(measured, axis=0), theory, rtol=0.08)


@pytest.mark.parametrize(("kind", "tolerance"), [("pre", 0.15), ("post", 0.08)])
def test_gradients_of_narrow_models_are_what_theory_says(kind: str, tolerance: float) -> None:
    """Within the 2/d that LayerNorm removes and the noise of 8 networks."""
    model, tokens = model_and_tokens(kind, n_layer=6)
    generator = torch.Generator().manual_seed(1)
    ratios = []
    for _ in range(8):
        initialize_(model, "gpt2", std=STD, generator=generator)
        labels = torch.randint(256, tokens.shape, generator=generator)
        gradients = stream_gradients(model, tokens, labels)
        ratios.append(gradients / gradients.iloc[-1])
    theory = residual_gradient_variance(6, 96, 24, STD, norm=kind)
    np.testing.assert_allclose(np.mean(ratios, axis=0), theory, rtol=tolerance)


def test_draws_of_narrow_models_are_those_of_the_plain_loop():
    sizes = {"width": 24, "n_layer": 2, "std": 0.1, "batch": 2, "seq_len": 6}
    found = draw_narrow_models("stream", 3, **sizes, scaled=False, seed=5)
    assert found.groupby("draw")["depth"].apply(list).tolist() == [[0, 1, 2]] * 3

    generator = torch.Generator().manual_seed(5)
    model = gpt2("nano12", n_embd=24, n_layer=2, vocab_size=4096).double()
    tokens = torch.randint(4096, (2, 6), generator=generator)
    for draw in range(3):
        initialize_(model, "gpt2", std=0.1, generator=generator)
        initialize_(model, "normal", std=0.1, generator=generator)
        with torch.no_grad():
            states = model(tokens, output_hidden_states=True).hidden_states
        values = found.loc[found["draw"] == draw, "value"]
        # The last of the hidden states has been through the final LayerNorm.
        for depth in (0, 1):
            expected = states[depth].var(-1, correction=0).mean().item()
            assert values.iloc[depth] == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("post_norm", [False, True])
def test_gradients_of_narrow_models_are_relative_to_the_last_block(post_norm):
    sizes = {"width": 24, "n_layer": 3, "std": 0.1, "batch": 2, "seq_len": 6}
    found = draw_narrow_models("gradient", 2, **sizes, post_norm=post_norm)
    assert found.loc[found["depth"] == 3, "value"].tolist() == [1.0, 1.0]
    assert found["value"].nunique() == 7
    with pytest.raises(UsageError, match="Did you mean 'gradient'"):
        draw_narrow_models("gradients", 1, **sizes)
