"""A step of ``initscope pretrain`` beside that of a plain loop: ``python benchmarks/pretrain.py``.

The plain loop is a GPT as one writes it for speed, in torch's modules: fused GELU and attention,
fused AdamW, gradients set to None, a cosine, clipping, nothing that waits. Both train ``nano12``
with one thread, from the same weights on the same tokens, and their losses must agree. They take
turns of 20 steps in this process, in each of which the Trainer logs twice and its tracker has one
of its steps, or 20. What is printed is processor time, so that other programs matter little, and
the median of the ratios of neighboring turns. Evaluation and checkpoints are not part of a step.
"""

from __future__ import annotations

import math
import statistics
import tempfile
import time
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from initscope.data.passages import Passages, ShuffledPassages
from initscope.pretrain import PretrainSpec, load_spec_text, pretrain
from initscope.pretrain import trainer as pretrain_trainer

TURN, TURNS = 20, 8


# --- The plain loop ------------------------------------------------------------------------


class Block(nn.Module):
    """Attention and MLP, each behind a LayerNorm and added to what came in."""

    def __init__(self, width: int, n_head: int) -> None:
        super().__init__()
        self.n_head = n_head
        self.ln_1, self.ln_2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.attn_proj = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.fc, self.mlp_proj = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        heads = (*x.shape[:2], self.n_head, -1)
        q, k, v = (t.view(heads).transpose(1, 2) for t in self.qkv(self.ln_1(x)).chunk(3, dim=2))
        mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.attn_proj(mixed.transpose(1, 2).reshape(x.shape))
        return x + self.mlp_proj(F.gelu(self.fc(self.ln_2(x)), approximate="tanh"))


class PlainGPT(nn.Module):
    """Token and position embeddings, blocks, LayerNorm, and the token embedding once more."""

    def __init__(self, spec: PretrainSpec) -> None:
        super().__init__()
        self.wte = nn.Embedding(spec.vocab_size, spec.n_embd)
        self.wpe = nn.Embedding(spec.context, spec.n_embd)
        self.blocks = nn.Sequential(*(Block(spec.n_embd, spec.n_head) for _ in range(spec.n_layer)))
        self.ln_f = nn.LayerNorm(spec.n_embd)
        self.register_buffer("positions", torch.arange(spec.context))

    def forward(self, tokens: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        x = self.ln_f(self.blocks(self.wte(tokens) + self.wpe(self.positions)))
        return F.cross_entropy(F.linear(x, self.wte.weight).flatten(0, 1), targets.flatten())

    @torch.no_grad()
    def take(self, gpt2: Any) -> None:
        """The weights of a GPT-2 of transformers, whose matrices lie the other way round."""
        ours = [self.wte, self.wpe, self.ln_f]
        theirs = [gpt2.transformer.wte, gpt2.transformer.wpe, gpt2.transformer.ln_f]
        for block, h in zip(self.blocks, gpt2.transformer.h, strict=True):
            ours += [block.ln_1, block.qkv, block.attn_proj, block.ln_2, block.fc, block.mlp_proj]
            theirs += [h.ln_1, h.attn.c_attn, h.attn.c_proj, h.ln_2, h.mlp.c_fc, h.mlp.c_proj]
        for mine, other in zip(ours, theirs, strict=True):
            turned = isinstance(mine, nn.Linear)
            mine.weight.copy_(other.weight.T if turned else other.weight)
            if hasattr(mine, "bias"):
                mine.bias.copy_(other.bias)


class PlainLoop:
    """One update after another, as in nanoGPT's ``train.py``."""

    def __init__(self, spec: PretrainSpec) -> None:
        self.spec, self.step_number = spec, 0
        n = spec.steps * spec.batch_size
        self.passages = ShuffledPassages(Passages(load_spec_text(spec).train, spec.context), n, 0)
        self.model = PlainGPT(spec)
        self.model.take(spec.build_model())
        decayed = [p for p in self.model.parameters() if p.dim() >= 2]
        others = [p for p in self.model.parameters() if p.dim() < 2]
        self.optimizer = torch.optim.AdamW(
            [{"params": decayed, "weight_decay": spec.weight_decay},
             {"params": others, "weight_decay": 0.0}],
            lr=spec.learning_rate, betas=spec.betas, eps=spec.epsilon, fused=True,
        )  # fmt: skip
        self.sum_of_losses = torch.zeros(())
        self.losses: list[float] = []

    def learning_rate(self) -> float:
        spec, step = self.spec, self.step_number
        if step <= spec.warmup_steps:
            return spec.learning_rate * step / spec.warmup_steps
        done = (step - spec.warmup_steps) / (spec.steps - spec.warmup_steps)
        low, high = spec.final_learning_rate, spec.learning_rate
        return low + (high - low) * (1 + math.cos(math.pi * done)) / 2

    def step(self) -> None:
        first = self.step_number * self.spec.batch_size
        tokens = torch.stack(
            [self.passages[first + k]["input_ids"] for k in range(self.spec.batch_size)]
        )
        targets = F.pad(tokens[:, 1:], (0, 1), value=-100)  # the last one predicts nothing
        self.step_number += 1
        rate = self.learning_rate()
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        loss = self.model(tokens, targets)
        loss.backward()
        nn.utils.clip_grad_norm_(self.model.parameters(), self.spec.clip)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.sum_of_losses += loss.detach()
        if self.step_number % self.spec.log_every == 0:
            self.losses.append(self.sum_of_losses.item() / self.spec.log_every)
            self.sum_of_losses.zero_()


# --- Taking turns --------------------------------------------------------------------------


class Turns:
    """Processor time of a step in each turn, of the Trainer and of the plain loop after it.

    A turn of the Trainer is all that it does from the last callback of a step to that of the step
    20 later: batches, updates, schedule, tracking, log.
    """

    def __init__(self, spec: PretrainSpec) -> None:
        self.plain = PlainLoop(spec)
        self.ours_took: list[float] = []
        self.plain_took: list[float] = []
        self._since = math.nan

    def after_step(self, step: int) -> None:
        """Called by the Trainer when a step has ended."""
        if step % TURN:
            return
        start = time.process_time()
        self.ours_took.append((start - self._since) / TURN)
        for _ in range(TURN):
            self.plain.step()
        self._since = time.process_time()
        self.plain_took.append((self._since - start) / TURN)


def compare(name: str, **fields: Any) -> None:
    """Train both in turns and print a line."""
    spec = PretrainSpec(
        text="stdlib", preset="nano12", steps=(TURNS + 1) * TURN, log_every=10, evaluate_passages=1,
        evaluate_every=10**6, distribution_every=100, **fields,
    )  # fmt: skip
    turns = Turns(spec)
    on_step_end: Callable[..., None] = pretrain_trainer.RunControl.on_step_end

    def with_turns(self: Any, args: Any, state: Any, *more: Any, **options: Any) -> None:
        on_step_end(self, args, state, *more, **options)
        turns.after_step(state.global_step)

    pretrain_trainer.RunControl.on_step_end = with_turns  # type: ignore[method-assign]
    try:
        with tempfile.TemporaryDirectory() as folder:
            record = pretrain(
                spec, folder, device="cpu", checkpoint_every=spec.steps, progress=False
            )
    finally:
        pretrain_trainer.RunControl.on_step_end = on_step_end  # type: ignore[method-assign]
    # It is the same training: means over the first 10 steps, and over the 10 after.
    torch.testing.assert_close(
        record.training["loss"].tolist()[:2], turns.plain.losses[:2], rtol=1e-4, atol=0
    )
    ours, plain = turns.ours_took[1:], turns.plain_took[1:]  # the first turn warms up
    ratios = [a / b for a, b in zip(ours, plain, strict=True)]
    print(
        f"{name:<44}{1e3 * statistics.median(plain):>8.1f}{1e3 * statistics.median(ours):>8.1f}"
        f"{statistics.median(ratios):>8.3f}   ({min(ratios):.3f} to {max(ratios):.3f})   at most 1"
    )


def main() -> None:
    """Print one table."""
    torch.set_num_threads(1)
    print(f"torch {torch.__version__}, 1 thread, nano12, 8 x 128 bytes a step\n")
    print(f"{'ms of processor time a step':<44}{'plain':>8}{'ours':>8}{'ratio':>8}{'aim':>31}")
    everything = ("weight", "gradient", "update", "activation")
    compare("tracked as published, every 20 steps", track_every=20, track_quantities=everything)
    compare("weights tracked at every step", track_every=1, track_quantities=("weight",))


if __name__ == "__main__":
    main()
