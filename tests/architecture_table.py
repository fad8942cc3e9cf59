"""Write the page on architectures: ``python tests/architecture_table.py``.

Each of :mod:`architectures` is initialized, tracked through a few steps and measured on one batch,
and what became of its weights is a row of ``book/architectures.md``. A test holds the page to this
script, the cost excepted.
"""

from __future__ import annotations

import logging
import math
import re
import tempfile
import time
import warnings
from pathlib import Path
from typing import NamedTuple

import torch
import transformers
from architectures import ARCHITECTURES, Architecture
from torch import nn

from initscope.errors import UsageError
from initscope.init import initialize_
from initscope.tracking import VarianceTracker
from initscope.tracking.layer_records import record_variances
from initscope.tracking.layers import measured_share

PAGE = Path(__file__).parent.parent / "book" / "architectures.md"
STEPS, WARM_UP = 22, 2

HEAD = """# Architectures

`initialize_`, `VarianceTracker` and `layer_variances` on {n} architectures, each of a few thousand
weights ({sources}).
A program writes this page, and a test holds it to the code.

| Column | What it says |
| --- | --- |
| set | share of the numbers that `initialize_(model, "gpt2")` sets |
| default | share of the weights that `VarianceTracker(model)` follows |
| all | the same with `matrices="all"`; gains and biases come with `vectors=True` |
| measured | share of the weights, embeddings aside, that `layer_variances` measures on one batch |
| cost | time in the tracker at a step, as a share of the step itself in the same run |
| not set | why the rest is kept or left, as the report of `initialize_` says of each parameter |

What is not followed or not measured is said too, in a line of the log that names the largest of
it. The cost is that of weights, gradients and updates of all matrices at every step, in models of a
few thousand weights, whose steps take milliseconds. Of larger ones it is a small share, which
[Use it on your model](use_it.md) gives, and of every tenth step, as by default, a tenth of that.

Adapters are initialized with their base frozen, as they are trained, so that the share set is that
of the adapter; where none of it is drawn at random, `initialize_` refuses with one clear error.

```{{list-table}}
:header-rows: 1
:widths: auto

* - Architecture
  - Weights
  - Set
  - Default
  - All
  - Measured
  - Cost
  - Not set
"""


class Row(NamedTuple):
    """What became of one architecture."""

    name: str
    source: str
    weights: int
    set: float
    unexplained: int
    default: float
    all: float
    measured: float
    cost: float
    reasons: tuple[str, ...]

    def cells(self) -> list[str]:
        shares = (self.set, self.default, self.all, self.measured)
        return [
            f"{self.name} ({self.source})",
            f"{self.weights:,}",
            *(percent(share) for share in shares),
            f"{self.cost:.0%}",
            re.sub(r"\b(\w+_\w+)\b", r"`\1`", "; ".join(self.reasons)) or "–",  # names as code
        ]


def percent(share: float) -> str:
    """Return a share without rounding what is not all to all."""
    if math.isnan(share):
        return "refused"
    return "100%" if share >= 1 - 1e-9 else f"{min(100 * share, 99.9):.1f}%"


def loss_of(model: nn.Module, architecture: Architecture) -> torch.Tensor:
    """Return a number that depends on what the model gives."""
    outputs = call(model, architecture)
    if getattr(outputs, "loss", None) is not None:
        return outputs.loss
    outputs = getattr(outputs, "last_hidden_state", outputs)
    outputs = outputs[0] if isinstance(outputs, tuple) else outputs
    return outputs.square().mean()


def call(model: nn.Module, architecture: Architecture) -> object:
    batch = architecture.batch()
    return model(**batch) if isinstance(batch, dict) else model(batch)


def row(name: str, *, with_cost: bool = True) -> Row:
    """Return what becomes of one architecture."""
    torch.manual_seed(0)
    architecture = ARCHITECTURES[name]
    model = architecture.build()
    try:
        report = initialize_(model, "gpt2", generator=torch.Generator().manual_seed(0))
    except UsageError as error:  # nothing in it is to be drawn, and it says so
        if not str(error).startswith("no parameter of"):
            raise
        report = None
    default = VarianceTracker(model).coverage
    whole = VarianceTracker(model, matrices="all").coverage
    with record_variances(model) as record, torch.no_grad():
        call(model, architecture)
    measured, _ = measured_share(model, record)
    share_set = math.nan if report is None else report.share_set
    told = sum(p.numel() for p in model.parameters())
    if report is not None:
        told = sum(report.numbers.values())
    unexplained = sum(p.numel() for p in model.parameters()) - told
    cost = cost_of(model, architecture) if with_cost else 0.0
    why = dict.fromkeys(() if report is None else [*report.kept.values(), *report.left.values()])
    reasons = tuple(why) if report is not None else ("nothing is drawn at random",)
    return Row(
        name, architecture.source, whole.weights, share_set, unexplained, default.share,
        whole.share, measured, cost, reasons,
    )  # fmt: skip


def cost_of(model: nn.Module, architecture: Architecture) -> float:
    """Return the time in the tracker as a share of that of a step: the fastest of each.

    Whatever else runs on the machine makes single steps slower, and never one faster.
    """
    model.train()
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, 1e-4)
    with tempfile.TemporaryDirectory() as folder:
        tracker = VarianceTracker(
            model, optimizer, every=1, distribution_every=set(), matrices="all", out_folder=folder
        )
        tracker.start()
        steps, inside = [], []
        for _ in range(STEPS):
            start = time.perf_counter()
            optimizer.zero_grad()
            loss_of(model, architecture).backward()
            middle = time.perf_counter()
            tracker.begin_step()
            tracker.before_optimizer_step()
            took = time.perf_counter() - middle
            again = time.perf_counter()
            optimizer.step()
            step = middle - start + time.perf_counter() - again
            again = time.perf_counter()
            tracker.after_optimizer_step()
            steps.append(step)
            inside.append(took + time.perf_counter() - again)
        tracker.finish()
    return min(inside[WARM_UP:]) / min(steps[WARM_UP:])


def page(rows: list[Row]) -> str:
    """Return the page."""
    sources = [one.source for one in rows]
    counted = [f"{sources.count(source)} {source}" for source in dict.fromkeys(sources)]
    text = HEAD.format(n=len(rows), sources=", ".join(counted))
    for one in rows:
        first, *others = one.cells()
        text += f"* - {first}\n" + "".join(f"  - {cell}\n" for cell in others)
    return text + "```\n"


def main() -> None:
    """Write the page."""
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    transformers.logging.set_verbosity_error()
    torch.set_num_threads(1)
    PAGE.write_text(page([row(name) for name in ARCHITECTURES]))


if __name__ == "__main__":
    main()
