"""Settings of published runs against what else their sources say: tokens, batches, parameters."""

from __future__ import annotations

import math

import pytest

from initscope.theory import RECIPES

PYTHIA = {"tokens": 299_892_736_000, "batch": 2_097_152, "warmup": 0.01, "std": "small"}
LLAMA = {"batch": 4_000_000, "warmup": 2000, "std": 0.02}
OLMO = {"batch": 4_194_304, "std": 0.02}
# Weights of the blocks, from the papers and model cards; tokens trained on and in an update; the
# peak rate; warm-up in updates, or as a share of the run.
PUBLISHED = {
    "nanogpt": {"weights": 85e6, "tokens": 294.9e9, "batch": 491_520, "lr": 6e-4, "warmup": 2000,
                "std": "gpt2"},
    "shakespeare": {"weights": 10.6e6, "tokens": 5000 * 64 * 256, "batch": 64 * 256, "lr": 1e-3,
                    "warmup": 100, "std": "gpt2"},
    "gpt3-175b": {"weights": 174e9, "tokens": 300e9, "batch": 3.2e6, "lr": 0.6e-4,
                  "warmup": 375e6 / 300e9, "std": "gpt2"},
    "llama-7b": {"weights": 6.48e9, "tokens": 1.0e12, "lr": 3e-4} | LLAMA,
    "llama-65b": {"weights": 64.8e9, "tokens": 1.4e12, "lr": 1.5e-4} | LLAMA,
    "llama-2-7b": {"weights": 6.48e9, "tokens": 2.0e12, "lr": 3e-4} | LLAMA,
    "pythia-70m": {"weights": 18_915_328, "lr": 1e-3} | PYTHIA,
    "pythia-160m": {"weights": 85_056_000, "lr": 6e-4} | PYTHIA,
    "pythia-1b": {"weights": 805_736_448, "lr": 2.5e-4} | PYTHIA,
    "pythia-6.9b": {"weights": 6_444_163_072, "lr": 1.2e-4} | PYTHIA | {"std": "gpt2"},
    "olmo-1-7b": {"weights": 6.48e9, "tokens": 2.46e12, "lr": 3e-4, "warmup": 5000}
    | OLMO | {"std": "mitchell"},
    "olmo-2-7b": {"weights": 6.48e9, "tokens": 3.95e12, "lr": 3e-4, "warmup": 2000} | OLMO,
    "wikitext-70m": {"weights": 18.9e6, "tokens": 20_000 * 24 * 512, "batch": 24 * 512,
                     "lr": 1e-3, "warmup": 200, "std": 0.02},
}  # fmt: skip


@pytest.mark.parametrize("name", RECIPES)
def test_a_run_is_as_long_and_its_model_as_large_as_its_source_says(name: str) -> None:
    recipe, published = RECIPES[name], PUBLISHED[name]
    # Attention has 4 matrices of width x width, and MLPs 8 or as good as that.
    weights = 12 * recipe.layers * recipe.width**2
    assert weights == pytest.approx(published["weights"], rel=0.011)
    updates = recipe.steps + recipe.cooldown
    assert updates == pytest.approx(published["tokens"] / published["batch"], rel=1e-3, abs=1)
    assert recipe.lr == published["lr"]
    assert recipe.betas == (0.9, {"shakespeare": 0.99, "wikitext-70m": 0.999}.get(name, 0.95))
    assert recipe.weight_decay == (0.01 if name == "wikitext-70m" else 0.1)
    warmup = published["warmup"]
    assert recipe.warmup == round(warmup if warmup >= 1 else warmup * recipe.steps)
    assert recipe.learning_rates().max() == pytest.approx(recipe.lr, rel=1e-6)


@pytest.mark.parametrize("name", RECIPES)
def test_matrices_start_as_the_rule_of_the_source_says(name: str) -> None:
    recipe = RECIPES[name]
    residual = recipe.start_std("o"), recipe.start_std("ffn_out"), recipe.start_std("down")
    assert len(set(residual)) == 1
    assert {recipe.start_std(one) for one in ("qkv", "q", "k", "v", "ffn_in", "gate", "up")} == {
        recipe.std0
    }
    rule = PUBLISHED[name]["std"]
    width, layers = recipe.width, recipe.layers
    stds = {
        "gpt2": (0.02, 0.02 / math.sqrt(2 * layers)),  # Radford et al. 2019
        "small": (math.sqrt(2 / 5 / width), 2 / layers / math.sqrt(width)),  # GPT-NeoX
        "mitchell": (width**-0.5, (2 * width) ** -0.5),  # OLMo, in the first block
    }.get(rule, (rule, rule))
    assert (recipe.std0, residual[0]) == pytest.approx(stds, rel=1e-12)


def test_a_run_stopped_before_its_schedule_ends_falls_to_nothing() -> None:
    """OLMo 2: a cosine of 5 trillion tokens, then 50 billion to 0."""
    recipe = RECIPES["olmo-2-7b"]
    assert recipe.schedule_steps == round(5e12 / 2**22)
    assert recipe.cooldown == round(50e9 / 2**22)
    rates = recipe.learning_rates()
    assert len(rates) == recipe.steps + recipe.cooldown
    turned = 3.9 / 5  # of the cosine, but for the warm-up
    expected = 0.1 + 0.9 * (1 + math.cos(math.pi * turned)) / 2
    assert rates[recipe.steps - 1] / recipe.lr == pytest.approx(expected, rel=2e-3)
    assert rates[-1] == 0
    steps = rates[recipe.steps - 1 :][:-1] - rates[recipe.steps :]
    assert steps == pytest.approx([steps[0]] * len(steps), rel=1e-6)
    assert RECIPES["olmo-1-7b"].learning_rates()[-1] == 0
