"""Logits and entropy of attention, however it is computed, against a plain computation."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd
import pytest
import tiny_transformers as tiny
import torch
from architectures import ARCHITECTURES, SelfAttention
from torch import nn
from torch.optim import AdamW

from initscope.errors import UsageError
from initscope.models import MLP
from initscope.tracking import VarianceTracker
from initscope.tracking.attention import STATS, attention_statistics

TOKENS = torch.arange(40).reshape(4, 10)


def tracked(model: nn.Module, batch: dict[str, Any] | torch.Tensor, steps: int = 1) -> pd.DataFrame:
    optimizer = AdamW(model.parameters())
    options = {"every": 1, "quantities": ("weight", "attention"), "matrices": "all"}
    with VarianceTracker(model, optimizer, **options) as tracker:
        for _ in range(steps):
            optimizer.zero_grad()
            outputs = model(**batch) if isinstance(batch, dict) else model(batch)
            outputs = outputs[0] if isinstance(outputs, tuple) else outputs
            loss = outputs if isinstance(outputs, torch.Tensor) else outputs.loss
            loss.mean().backward()
            optimizer.step()
    frame = tracker.to_frame()
    return frame[frame["kind"] == "attention"]


def expected(weights: torch.Tensor) -> dict[str, float]:
    """From the weights (heads, queries, keys) of one example, with loops."""
    found: dict[str, list[float]] = {stat: [] for stat in STATS}
    for row in weights.double().flatten(0, 1).numpy():
        row = row[row > 0]
        if len(row) < 2:
            continue
        entropy = -(row * np.log(row)).sum()
        found["logit_std"].append(np.log(row).var())  # logits but for a constant
        found["entropy"].append(entropy)
        found["entropy_share"].append(entropy / math.log(len(row)))
        found["largest_weight"].append(row.max())
    means = {stat: float(np.mean(values)) for stat, values in found.items()}
    return means | {"logit_std": math.sqrt(means["logit_std"])}


@pytest.mark.parametrize("how", ["sdpa", "eager"])
@pytest.mark.parametrize("family", ["gpt2", "llama", "gpt_neox", "bert", "phi3"])
def test_statistics_are_those_of_the_weights(family: str, how: str) -> None:
    model = tiny.build(family)
    model.set_attn_implementation("eager")
    with torch.no_grad():
        weights = model(input_ids=TOKENS, output_attentions=True).attentions
    model.set_attn_implementation(how)
    frame = tracked(model, {"input_ids": TOKENS, "labels": TOKENS})
    assert set(frame["role"]) == {"attention"}
    found = frame[frame["step"] == 1].set_index(["layer", "stat"])["value"]
    assert len(found) == 2 * len(STATS)
    for layer, of_layer in enumerate(weights, start=1):
        for stat, value in expected(of_layer[0]).items():
            assert found[layer, stat] == pytest.approx(value, rel=2e-4), (layer, stat)


def test_torch_s_own_attention() -> None:
    torch.manual_seed(0)
    model = SelfAttention(16, 4, batch_first=True)
    x = 3 * torch.randn(2, 5, 16)
    with torch.no_grad():
        _, weights = nn.MultiheadAttention.forward(model, x, x, x, average_attn_weights=False)
    found = tracked(model, x).set_index("stat")["value"]
    for stat, value in expected(weights[0]).items():
        assert found[stat] == pytest.approx(value, rel=1e-4)


@pytest.mark.parametrize(
    ("name", "roles"),
    [
        ("Transformer", {"encoder_attention", "decoder_attention", "decoder_cross_attention"}),
        ("T5", {"encoder_attention", "decoder_attention", "decoder_cross_attention"}),
        ("CLIP", {"text_attention", "vision_attention"}),
        ("DeepSeek-V3", {"attention"}),
        ("vit", {"attention"}),
        ("LoRA on GPT-2", {"attention"}),
        ("Swin", {"attention"}),
    ],
)
def test_towers_and_stacks_have_their_own(name: str, roles: set[str]) -> None:
    torch.manual_seed(0)
    architecture = ARCHITECTURES[name]
    frame = tracked(architecture.build(), architecture.batch(), steps=2)
    assert set(frame["role"]) == roles
    assert set(frame["step"]) == {1, 2}
    shares = frame[frame["stat"] == "entropy_share"]["value"]
    assert shares.between(0, 1 + 1e-6).all()


def test_training_is_the_same_bit_by_bit() -> None:
    def run(quantities: tuple[str, ...]) -> list[torch.Tensor]:
        torch.manual_seed(7)
        model = tiny.gpt2(**tiny.DROPOUT).train()
        model.gradient_checkpointing_enable({"use_reentrant": False})
        optimizer = AdamW(model.parameters())
        with VarianceTracker(model, optimizer, every=1, quantities=quantities):
            for _ in range(2):
                optimizer.zero_grad()
                model(input_ids=TOKENS, labels=TOKENS).loss.backward()
                optimizer.step()
        return [*model.state_dict().values(), torch.get_rng_state()]

    plain, seen = run(("weight",)), run(("weight", "attention"))
    assert all(torch.equal(a, b) for a, b in zip(plain, seen, strict=True))


def test_uniform_and_saturated_attention() -> None:
    uniform = attention_statistics(torch.zeros(1, 2, 3, 8))
    np.testing.assert_allclose(uniform, [0, math.log(8), 1, 1 / 8], rtol=1e-6)
    one = torch.zeros(1, 1, 2, 4)
    one[..., 0] = 100.0
    assert attention_statistics(one)[2].item() == pytest.approx(0, abs=1e-6)
    masked = torch.zeros(1, 1, 3, 3).masked_fill(
        ~torch.ones(3, 3, dtype=torch.bool).tril(), -math.inf
    )
    assert attention_statistics(masked)[1].item() == pytest.approx((math.log(2) + math.log(3)) / 2)


def test_what_does_not_attend_is_one_clear_error() -> None:
    with pytest.raises(UsageError, match="MLP has no matrix of role q"):
        VarianceTracker(MLP([3, 2]), quantities=["attention"])

    class Kernel(nn.Module):
        """Attention that no function of torch computes."""

        def __init__(self) -> None:
            super().__init__()
            self.q_proj, self.k_proj, self.v_proj = (nn.Linear(4, 4) for _ in range(3))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            scores = (self.q_proj(x) @ self.k_proj(x).mT).exp()
            return scores / scores.sum(-1, keepdim=True) @ self.v_proj(x)

    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.attention = Kernel()

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.attention(x)

    model = nn.Sequential(Block())
    with pytest.raises(UsageError, match="no attention was seen, though there are gradients"):
        tracked(model, torch.randn(2, 3, 4))
