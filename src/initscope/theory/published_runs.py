"""Settings of published training runs, as far as the variance of weights depends on them."""

from __future__ import annotations

from typing import Any

__all__: list[str] = []  # for this package alone

_OPTIMIZER: dict[str, Any] = {
    "weight_decay": 0.1,
    "beta1": 0.9,
    "beta2": 0.95,
    "schedule": "cosine",
    "final": 0.1,
    "std0": 0.02,
    "snr": 0.0,
    "diffusion": 1.0,
    "alignment": 0.0,
}

PUBLISHED_RUNS: dict[str, dict[str, Any]] = {
    # github.com/karpathy/nanoGPT, defaults of train.py; GPTConfig draws with std .02.
    "nanogpt": {**_OPTIMIZER, "lr": 6e-4, "warmup": 2000, "steps": 600_000},
    # The same, config/train_shakespeare_char.py.
    "shakespeare": {**_OPTIMIZER, "lr": 1e-3, "beta2": 0.99, "warmup": 100, "steps": 5000},
    # Brown et al. 2020, table 2.1 and appendix B: 300 billion tokens in batches of 3.2 million,
    # warm-up over 375 million. That the batch grows at first, and that the cosine ends after 260
    # billion tokens, is left out. Initialized as GPT-2, whose code has std .02.
    "gpt3-175b": {**_OPTIMIZER, "lr": 6e-5, "warmup": 117, "steps": 93_750},
    # Touvron et al. 2023, table 2 and section 2.3: 1.0 and 1.4 trillion tokens in batches of 4
    # million. The paper says nothing of the initial std; .02 is the default of transformers.
    "llama-7b": {**_OPTIMIZER, "lr": 3e-4, "warmup": 2000, "steps": 250_000},
    "llama-65b": {**_OPTIMIZER, "lr": 1.5e-4, "warmup": 2000, "steps": 350_000},
}
"""Runs by name; `warmup` and `steps` in updates, `final` a share of the peak `lr`."""
