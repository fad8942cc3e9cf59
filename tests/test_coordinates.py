"""Slopes over width that are known: standard and maximal update parametrization."""

from __future__ import annotations

from typing import Any

import pandas as pd
import pytest
import torch
import transformers
from torch import nn

from initscope.coordinates import MODEL, coordinate_check
from initscope.errors import UsageError
from initscope.init import initialize_

GENERATOR = torch.Generator().manual_seed(0)
BATCH = (
    torch.randn(64, 16, generator=GENERATOR),
    torch.randint(10, (64,), generator=GENERATOR),
)
WIDTHS = [64, 128, 256, 512]


class Scaled(nn.Module):
    """A model whose output is multiplied by a number."""

    def __init__(self, model: nn.Module, factor: float) -> None:
        super().__init__()
        self.model, self.factor = model, factor

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return self.factor * self.model(inputs)


def mlp(width: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(16, width), nn.Tanh(), nn.Linear(width, width), nn.Tanh(), nn.Linear(width, 10)
    )


def standard_mlp(width: int) -> nn.Module:
    model = mlp(width)
    initialize_(model, "lecun")
    return model


def mup_mlp(width: int) -> nn.Module:
    """Yang et al. (2022), table 8: the output matrix keeps its std, and the output is divided."""
    model = mlp(width)
    initialize_(model, "lecun")
    nn.init.normal_(model[4].weight, 0.0, 64**-0.5)
    return Scaled(model, 64 / width)


def mup_adam(model: nn.Module) -> torch.optim.Optimizer:
    layers = model.model
    m = layers[2].in_features / 64
    hidden = [layers[2].weight]
    rest = [p for p in model.parameters() if p is not layers[2].weight]
    return torch.optim.Adam([{"params": hidden, "lr": 1e-3 / m}, {"params": rest, "lr": 1e-3}])


def adam(model: nn.Module) -> torch.optim.Optimizer:
    return torch.optim.Adam(model.parameters(), 1e-4)


def at(slopes: pd.DataFrame, quantity: str, step: int) -> pd.DataFrame:
    found = slopes[(slopes["quantity"] == quantity) & (slopes["step"] == step)]
    return found.set_index("role")


def test_the_standard_mlp_moves_more_the_wider_it_is() -> None:
    """With Adam every element moves alike: the change is the rate times the width."""
    slopes, sizes = coordinate_check(standard_mlp, WIDTHS, 1, adam, batches=[BATCH], seeds=5)
    start, moved = at(slopes, "activation", 0), at(slopes, "update", 1)
    assert start["slope"].abs().max() < 0.1  # lecun: variance over fan_in
    assert moved.loc["0", "slope"] == pytest.approx(0.0, abs=0.15)
    assert moved.loc["2", "slope"] == pytest.approx(1.0, abs=0.25)
    for role in ("4", MODEL):
        # 1 from its own matrix; of the hidden layers' change, aligned with it, 1 and a half more.
        assert 1.0 < moved.loc[role, "slope"] < 1.5
    assert (slopes["low"] <= slopes["slope"]).all()
    assert (slopes["slope"] <= slopes["high"]).all()
    assert (moved["high"] - moved["low"]).max() < 1.0
    assert len(sizes.query("step == 1 and quantity == 'update'")) == 5 * 4 * 4


def test_under_sgd_hidden_layers_move_by_the_root() -> None:
    """What comes back to a hidden unit is 1 / sqrt(width), and the sum over units is the width."""
    slopes, _ = coordinate_check(
        standard_mlp, WIDTHS, 1, lambda model: torch.optim.SGD(model.parameters(), 1e-3),
        batches=[BATCH], seeds=5,
    )  # fmt: skip
    moved = at(slopes, "update", 1)
    assert moved.loc["0", "slope"] == pytest.approx(-0.5, abs=0.15)
    assert moved.loc["2", "slope"] == pytest.approx(0.5, abs=0.2)
    assert moved.loc[MODEL, "slope"] == pytest.approx(1.0, abs=0.2)


def test_the_maximal_update_parametrization_keeps_every_size() -> None:
    slopes, _ = coordinate_check(mup_mlp, WIDTHS, 3, mup_adam, batches=[BATCH], seeds=5)
    for step in (1, 3):
        moved = at(slopes, "update", step)
        assert moved.loc[["model.0", "model.2", MODEL], "slope"].abs().max() < 0.2
    assert at(slopes, "activation", 3).loc[["model.0", "model.2"], "slope"].abs().max() < 0.1


# --- GPT-2, whose outputs are those of transformers ---------------------------------------

TOKENS = torch.randint(64, (4, 16), generator=GENERATOR)
TEXT = {"input_ids": TOKENS, "labels": TOKENS}
GPT_WIDTHS = [32, 64, 128, 256]


def gpt2(width: int) -> nn.Module:
    """Standard: one std for all widths, heads of one width."""
    config = transformers.GPT2Config(
        n_layer=2, n_embd=width, n_head=width // 16, n_positions=16, vocab_size=64,
        bos_token_id=None, eos_token_id=None, resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0,
        tie_word_embeddings=False,
    )  # fmt: skip
    model = transformers.GPT2LMHeadModel(config)
    initialize_(model, "gpt2", std=0.1)
    return model


def mup_gpt2(width: int) -> nn.Module:
    """Hidden std over sqrt(m), logits over m; heads of one width need no other attention."""
    model = gpt2(width)
    m = width / 32
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if ".h." in name and parameter.dim() == 2:
                parameter /= m**0.5
    model.lm_head.register_forward_hook(lambda _, inputs, output: output / m)
    return model


def mup_adam_gpt2(model: Any) -> torch.optim.Optimizer:
    m = model.config.n_embd / 32
    hidden, rest = [], []
    for name, parameter in model.named_parameters():
        (hidden if ".h." in name and parameter.dim() == 2 else rest).append(parameter)
    return torch.optim.Adam([{"params": hidden, "lr": 1e-3 / m}, {"params": rest, "lr": 1e-3}])


def test_the_logits_of_a_standard_gpt2_grow_with_the_root_of_its_width() -> None:
    slopes, _ = coordinate_check(gpt2, GPT_WIDTHS, 1, adam, batches=[TEXT])
    start, moved = at(slopes, "activation", 0), at(slopes, "update", 1)
    assert start.loc[MODEL, "slope"] == pytest.approx(0.5, abs=0.05)
    for role in ("q", "k", "v", "mlp_in"):  # of LayerNorm's output
        assert start.loc[role, "slope"] == pytest.approx(0.5, abs=0.1)
    assert moved.loc[MODEL, "slope"] > 0.7
    for role in ("v", "mlp_in"):
        assert moved.loc[role, "slope"] > 0.6


def test_a_gpt2_under_the_maximal_update_parametrization_moves_alike() -> None:
    slopes, _ = coordinate_check(mup_gpt2, GPT_WIDTHS, 2, mup_adam_gpt2, batches=[TEXT])
    moved = at(slopes, "update", 2)
    assert moved.loc[["q", "k", "v", "mlp_in", MODEL], "slope"].abs().max() < 0.3
    assert at(slopes, "activation", 2).loc[["q", "v", "mlp_in"], "slope"].abs().max() < 0.2


# --- What it leaves alone, and what it refuses ---------------------------------------------


def test_the_global_generator_is_left_as_it_was() -> None:
    torch.manual_seed(5)
    before = torch.get_rng_state()
    first = coordinate_check(mlp, [8, 16], 1, adam, batches=[BATCH], seeds=2)
    assert torch.equal(before, torch.get_rng_state())
    again = coordinate_check(mlp, [8, 16], 1, adam, batches=[BATCH], seeds=2)
    pd.testing.assert_frame_equal(first.sizes, again.sizes)


def test_a_loss_of_ones_own() -> None:
    slopes, _ = coordinate_check(
        mlp, [8, 16], 1, adam, batches=[BATCH[0]], loss=lambda output, _: output.square().mean()
    )
    assert slopes["slope"].notna().all()


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"widths": [8]}, "widths must be two or more"),
        ({"widths": [8, 8]}, "widths must be two or more"),
        ({"batches": []}, "batches must hold at least 1"),
        ({"batches": [BATCH[0]]}, "the loss is not known"),
        ({"optimizer": lambda model: None}, "optimizer must make one of torch"),
        ({"build": lambda width: width}, "what build returns must be a torch.nn.Module"),
        ({"loss": lambda output, batch: output}, "loss must give one number"),
    ],
)
def test_what_does_not_belong_there_is_refused(changed: dict[str, Any], message: str) -> None:
    arguments = {"build": mlp, "widths": [8, 16], "steps": 1, "optimizer": adam,
                 "batches": [BATCH]}  # fmt: skip
    with pytest.raises(UsageError, match=message):
        coordinate_check(**arguments | changed)
