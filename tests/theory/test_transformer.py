"""Variance in GPT-2 at initialization, against transformers' own model."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from initscope.errors import UsageError
from initscope.theory import (
    attention_logit_variance,
    residual_stream_variance,
)

transformers = pytest.importorskip("transformers")


def gpt2(seed, std=0.02, residual_std=None, **config):
    """GPT-2 with every std set here, so that none depends on the version of transformers."""
    configuration = transformers.GPT2Config(**config)
    model = transformers.GPT2LMHeadModel(configuration).eval()
    generator = torch.Generator().manual_seed(seed)
    if residual_std is None:
        residual_std = std / np.sqrt(2 * configuration.n_layer)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith("bias"):
                parameter.zero_()
            elif ".ln_" in name:
                parameter.fill_(1.0)
            else:
                writes = name.endswith("c_proj.weight")
                parameter.normal_(0, residual_std if writes else std, generator=generator)
    return model


def stream(model, batch, length, seed=0):
    """Mean squares of the residual stream ``(n_layer + 1, length)``: embeddings, then blocks."""
    generator = torch.Generator().manual_seed(seed)
    vocabulary = model.config.vocab_size
    tokens = torch.stack(
        [torch.randperm(vocabulary, generator=generator)[:length] for _ in range(batch)]
    )
    kept = []
    hooks = [model.transformer.drop.register_forward_hook(lambda *call: kept.append(call[2]))]
    for block in model.transformer.h:
        hooks.append(
            block.register_forward_hook(
                lambda *call: kept.append(call[2][0] if isinstance(call[2], tuple) else call[2])
            )
        )
    with torch.no_grad():
        model.transformer(tokens)
    for hook in hooks:
        hook.remove()
    return np.array([one.square().mean(dim=(0, 2)).numpy() for one in kept])


def test_gpt2_small_within_five_percent_at_every_depth():
    measured = stream(gpt2(seed=0), batch=4, length=64).mean(axis=1)
    predicted = residual_stream_variance(12, 768, 64)
    assert predicted.shape == (13,)
    np.testing.assert_allclose(measured, predicted, rtol=0.05)
    # What the covariance between tokens is good for: without it the end would be far off.
    hidden = 768 * 0.02**2
    phi = np.vectorize(
        lambda x: 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))
    )
    draws = phi(np.sqrt(hidden) * np.random.default_rng(0).standard_normal(100_000))
    out = 0.02**2 / 24
    each = 4 * 768 * out * np.mean(draws**2) + 768**2 * 0.02**2 * out * np.mean(
        1 / np.arange(1, 65)
    )
    assert (2 * 0.02**2 + 12 * each) / measured[-1] < 0.85


SMALL = {"n_layer": 4, "n_embd": 192, "n_head": 4, "vocab_size": 2000, "n_positions": 128}


@pytest.mark.parametrize(
    ("std", "residual_std"), [(0.02, None), (0.06, None), (0.1, 0.1), (0.04, 0.01)]
)
def test_small_models_on_average(std, residual_std):
    runs = [stream(gpt2(seed, std, residual_std, **SMALL), 4, 96, seed) for seed in range(16)]
    predicted = residual_stream_variance(
        4, 192, 96, std, residual_std=residual_std, per_position=True
    )
    assert predicted.shape == (5, 96)
    # sqrt(2/d) = 10% for one model.
    np.testing.assert_allclose(
        np.mean(runs, axis=0).mean(axis=1), predicted.mean(axis=1), rtol=0.06
    )
    positions = np.mean(runs, axis=0)[:, [0, 1, 3, 15, 95]]
    np.testing.assert_allclose(positions, predicted[:, [0, 1, 3, 15, 95]], rtol=0.2)


def test_repeated_tokens_raise_the_covariance():
    model = gpt2(3, 0.05, **SMALL)
    kept = []
    hook = model.transformer.h[0].register_forward_hook(
        lambda *call: kept.append(call[2][0] if isinstance(call[2], tuple) else call[2])
    )
    with torch.no_grad():
        model.transformer(torch.arange(8)[:, None].expand(8, 64).contiguous())
    hook.remove()
    same = float(kept[0].square().mean())
    predicted = residual_stream_variance(4, 192, 64, 0.05, token_repeat=1.0)[1]
    assert same == pytest.approx(predicted, rel=0.15)
    assert predicted > 1.2 * residual_stream_variance(4, 192, 64, 0.05)[1]


def test_attention_logits():
    logits = []
    for seed in range(6):
        model = gpt2(seed, 0.05, **SMALL)
        attention = model.transformer.h[0].attn
        x = torch.nn.functional.layer_norm(
            torch.randn(64, 192, generator=torch.Generator().manual_seed(seed)), (192,)
        )
        query, key, _ = attention.c_attn(x).detach().split(192, dim=1)
        heads = [one.view(64, 4, 48).transpose(0, 1) for one in (query, key)]
        logits.append((heads[0] @ heads[1].transpose(1, 2) / np.sqrt(48)).numpy())
    assert np.var(logits) == pytest.approx(attention_logit_variance(192, 0.05), rel=0.1)
    assert attention_logit_variance(192, 0.05, head_dim=48) == pytest.approx(
        attention_logit_variance(192, 0.05) / 48
    )
    assert attention_logit_variance([1, 2], 0.5, key_std=2.0) == pytest.approx([1.0, 4.0])


def test_the_block_by_hand_for_one_token():
    # With one position attention is the identity: its value is d^2 s^2 sigma_p^2 of the norm.
    d, s, out, epsilon = 64, 0.1, 0.03, 1e-5
    found = residual_stream_variance(1, d, 1, s, residual_std=out, activation="relu")
    start = 2 * s**2
    middle = start + d**2 * s**2 * out**2 * start / (start + epsilon)
    end = middle + 4 * d * out**2 * d * s**2 / 2 * middle / (middle + epsilon)
    assert found == pytest.approx([start, end])


def test_shapes_and_arrays_of_stds():
    together = residual_stream_variance(2, 32, 8, np.array([0.01, 0.05, 0.2]))
    assert together.shape == (3, 3)
    np.testing.assert_allclose(together[1], residual_stream_variance(2, 32, 8, 0.05))
    apart = residual_stream_variance(2, 32, 8, 0.05, position_std=0.0, token_repeat=1.0)
    assert apart[0] == pytest.approx(0.05**2)
    none = residual_stream_variance(2, 32, 8, 0.05, residual_std=0.0)
    np.testing.assert_allclose(none, none[0])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: residual_stream_variance(0, 768, 64), "n_layer must be a whole number"),
        (lambda: residual_stream_variance(12, 76.5, 64), "n_embd must be a whole number"),
        (lambda: residual_stream_variance(12, 768, 0), "seq_len must be a whole number"),
        (lambda: residual_stream_variance(12, 768, 64, -0.02), "std must be finite"),
        (lambda: residual_stream_variance(12, 768, 64, np.nan), "std must not be NaN"),
        (lambda: residual_stream_variance(12, 768, 64, 0.0), "nothing to normalize"),
        (lambda: residual_stream_variance(1, 8, 4, activation="gleu"), "Did you mean 'gelu'"),
        (lambda: residual_stream_variance(1, 8, 4, token_repeat=2), "between 0 and 1"),
        (lambda: attention_logit_variance(0), "n_embd must be above 0"),
        (lambda: attention_logit_variance(8, -1), "std must be finite"),
    ],
)
def test_bad_input_is_refused(call, message):
    with pytest.raises(UsageError, match=message):
        call()
