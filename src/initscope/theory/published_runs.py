"""Settings of published training runs, as far as the variance of weights depends on them."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np

from initscope.checks import Array
from initscope.theory.learning_rates import learning_rate_factor

__all__ = ["RECIPES", "Recipe"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Recipe:
    """Settings of a training run with AdamW.

    Attributes
    ----------
    source
        Where they are published.
    width, layers
        Channels and blocks of the model.
    lr
        Peak learning rate.
    warmup
        Updates in which the rate rises linearly to the peak.
    schedule, final
        How the rate goes on: ``"constant"``; ``"cosine"`` or ``"linear"`` down to the share
        `final` of the peak; or ``"wsd"``, constant and then linear over the last fifth.
    steps
        Number of updates before the cooldown.
    schedule_steps
        Length of the schedule in updates, where training stops before its end; `steps` if None.
    cooldown
        Updates after `steps` in which the rate falls linearly to 0.
    weight_decay, beta1, beta2, epsilon
        Of AdamW; epsilon is None where nothing says it.
    std0, residual_std0
        Std at initialization of matrices, and of those that write to the residual stream.

    Examples
    --------
    >>> RECIPES["nanogpt"].lr, len(RECIPES["nanogpt"].learning_rates())
    (0.0006, 600000)
    """

    source: str
    width: int
    layers: int
    lr: float
    steps: int
    warmup: int
    schedule: str = "cosine"
    final: float = 0.1
    schedule_steps: int | None = None
    cooldown: int = 0
    weight_decay: float = 0.1
    beta1: float = 0.9
    beta2: float = 0.95
    epsilon: float | None = 1e-8
    std0: float = 0.02
    residual_std0: float = 0.02

    @property
    def betas(self) -> tuple[float, float]:
        """Pair of betas of AdamW."""
        return self.beta1, self.beta2

    def learning_rates(self) -> Array:
        """Return the learning rate of each update, the cooldown included."""
        steps = np.arange(1, self.steps + 1)
        length = self.schedule_steps or self.steps
        factor = learning_rate_factor(steps, self.schedule, length, self.warmup, self.final)
        left = 1 - np.arange(1, self.cooldown + 1) / max(1, self.cooldown)
        return self.lr * np.concatenate([factor, factor[-1] * left])

    def start_std(self, component: str) -> float:
        """Return the std at initialization of a matrix, per element.

        `component` is ``"qkv"``, ``"q"``, ``"k"``, ``"v"`` or ``"o"`` of attention, ``"ffn_in"``,
        ``"gate"``, ``"up"``, ``"ffn_out"`` or ``"down"`` of the MLP.
        """
        return self.residual_std0 if component in WRITING else self.std0


COMPONENTS = ("qkv", "q", "k", "v", "o", "ffn_in", "gate", "up", "ffn_out", "down")
"""Matrices of a transformer block, as published measurements name them."""

WRITING = ("o", "ffn_out", "down")
"""Those that write to the residual stream."""


def _gpt2_residual(layers: int) -> float:
    """Return GPT-2's std at initialization of matrices that write to the residual stream."""
    return 0.02 / math.sqrt(2 * layers)


def _pythia(size: str, width: int, layers: int, lr: float) -> Recipe:
    """Return the settings that all of Pythia shares, with those of a size.

    Its paper (Biderman et al. 2023, appendix E) prints a decay of .01, the configurations .1.
    """
    return Recipe(
        source=f"github.com/EleutherAI/pythia, models/{size}/pythia-{size.lower()}.yml",
        width=width,
        layers=layers,
        lr=lr,
        steps=143_000,
        warmup=1430,
        # small_init and wang_init of GPT-NeoX
        std0=math.sqrt(2 / (5 * width)),
        residual_std0=2 / (layers * math.sqrt(width)),
    )


RECIPES: dict[str, Recipe] = {
    "nanogpt": Recipe(
        source="github.com/karpathy/nanoGPT, defaults of train.py; GPTConfig draws with std .02",
        width=768,
        layers=12,
        lr=6e-4,
        warmup=2000,
        steps=600_000,
        residual_std0=_gpt2_residual(12),
    ),
    "shakespeare": Recipe(
        source="github.com/karpathy/nanoGPT, config/train_shakespeare_char.py",
        width=384,
        layers=6,
        lr=1e-3,
        beta2=0.99,
        warmup=100,
        steps=5000,
        residual_std0=_gpt2_residual(6),
    ),
    # 300 billion tokens in batches of 3.2 million, warm-up over 375 million. That the batch grows
    # at first, and that the cosine ends after 260 billion tokens, is left out. Initialized as
    # GPT-2.
    "gpt3-175b": Recipe(
        source="Brown et al. 2020 (arXiv:2005.14165), table 2.1 and appendix B",
        width=12_288,
        layers=96,
        lr=6e-5,
        warmup=117,
        steps=93_750,
        residual_std0=_gpt2_residual(96),
    ),
    # 1.0 and 1.4 trillion tokens in batches of 4 million. The paper says nothing of the initial
    # std; .02 is the default of transformers.
    "llama-7b": Recipe(
        source="Touvron et al. 2023 (arXiv:2302.13971), table 2 and section 2.3",
        width=4096,
        layers=32,
        lr=3e-4,
        warmup=2000,
        steps=250_000,
        epsilon=None,
    ),
    "llama-65b": Recipe(
        source="Touvron et al. 2023 (arXiv:2302.13971), table 2 and section 2.3",
        width=8192,
        layers=80,
        lr=1.5e-4,
        warmup=2000,
        steps=350_000,
        epsilon=None,
    ),
    "llama-2-7b": Recipe(  # 2 trillion tokens in batches of 4 million; the initial std as above
        source="Touvron et al. 2023 (arXiv:2307.09288), table 1 and section 2.2",
        width=4096,
        layers=32,
        lr=3e-4,
        warmup=2000,
        steps=500_000,
        epsilon=1e-5,
    ),
    "pythia-70m": _pythia("70M", 512, 6, 1e-3),
    "pythia-160m": _pythia("160M", 768, 12, 6e-4),
    "pythia-1b": _pythia("1B", 2048, 16, 2.5e-4),
    # Its configuration names no rule: the defaults of GPT-NeoX, normal and scaled_normal.
    "pythia-6.9b": dataclasses.replace(
        _pythia("6.9B", 4096, 32, 1.2e-4), std0=0.02, residual_std0=_gpt2_residual(32)
    ),
    # 2.46 trillion tokens in batches of 4,194,304; the last 1,000 updates fall to 0. The epsilon is
    # the default of olmo/config.py. The stds are those of its rule, mitchell, in the first block;
    # the start is forgotten by the end.
    "olmo-1-7b": Recipe(
        source="github.com/allenai/OLMo, configs/official/OLMo-7B.yaml and olmo/config.py",
        width=4096,
        layers=32,
        lr=3e-4,
        schedule="linear",
        warmup=5000,
        steps=585_510,
        cooldown=1000,
        epsilon=1e-5,
        std0=1 / math.sqrt(4096),
        residual_std0=1 / math.sqrt(2 * 4096),
    ),
    # The cosine is one of 5 trillion tokens, stopped after 3.9; then 50 billion, to 0. Batches of
    # 4,194,304 tokens. The published weights are the mean of three such ends.
    "olmo-2-7b": Recipe(
        source="github.com/allenai/OLMo, configs/official-1124/OLMo2-7B-stage1.yaml and -stage2",
        width=4096,
        layers=32,
        lr=3e-4,
        warmup=2000,
        steps=929_832,
        schedule_steps=1_192_093,
        cooldown=11_921,
    ),
    # 24 x 512 tokens of WikiText-103 an update, in the shape of Pythia 70M; runs of other rates
    # and decays differ in these alone.
    "wikitext-70m": Recipe(
        source="Ding 2026 (arXiv:2606.19367), github.com/tiexinding/NPM-Weibull-public",
        width=512,
        layers=6,
        lr=1e-3,
        weight_decay=0.01,
        beta2=0.999,
        warmup=200,
        steps=20_000,
    ),
}
"""Settings of published training runs, by name; each a :class:`Recipe`.

The names are nanogpt, shakespeare, gpt3-175b, llama-7b, llama-65b, llama-2-7b, pythia-70m,
pythia-160m, pythia-1b, pythia-6.9b, olmo-1-7b, olmo-2-7b and wikitext-70m.
"""


def _preset(recipe: Recipe) -> dict[str, Any]:
    """Return the settings that the AdamW instrument sets, of weights that only noise drives."""
    names = ("weight_decay", "beta1", "beta2", "schedule", "final", "std0")
    noise: dict[str, Any] = {"snr": 0.0, "drift": 0.0, "diffusion": 1.0, "alignment": 0.0}
    # The epsilons are known, the gradients that they are compared with are not.
    noise |= {"epsilon": 0.0, "final_gradient": 1.0, "decay_schedule": "constant"}
    times = {"lr": recipe.lr, "warmup": recipe.warmup, "steps": recipe.steps}
    return {name: getattr(recipe, name) for name in names} | noise | times


PUBLISHED_RUNS: dict[str, dict[str, Any]] = {
    name: _preset(RECIPES[name])
    for name in ("nanogpt", "shakespeare", "gpt3-175b", "llama-7b", "llama-65b")
}
"""The runs of the AdamW instrument, by name; `final` is a share of the peak `lr`."""
