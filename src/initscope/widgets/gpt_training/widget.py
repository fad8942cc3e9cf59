"""A GPT of 12 layers that is pretrained in the browser, and the std of its Q, K and V."""

from __future__ import annotations

import functools
import math
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pandas as pd
import traitlets
from matplotlib.figure import Figure

from initscope import extras
from initscope.checks import whole
from initscope.plots.gpt_training import gpt_training
from initscope.theory import adamw_variance_trajectory
from initscope.widgets.base import BookWidget

__all__ = ["GPTTraining"]

# What the page trains; training.mjs has the same.
LAYERS = 12
CONTEXT = 32
PASSAGES = 8
BETAS = (0.9, 0.95)
MOMENTUM = 0.9
ROLES = ("q", "k", "v")
MATRICES = [f"{role}_{layer}" for role in ROLES for layer in range(1, LAYERS + 1)]
MARGIN = 0.15
"""How near the median of the layers has to come to the theory for it to count as right."""

WIDTHS = (16, 32, 48, 64)
OPTIMIZERS = ("adamw", "momentum", "sgd")
RIVALS = (
    *("none", "small_start", "large_start", "strong_decay", "no_decay", "fast"),
    *("optimizer", "scaling"),
)
# Lowest and highest value, and whether 0 is allowed besides: as the sliders have them.
_RANGES: dict[str, tuple[float, float, bool]] = {
    "std": (1e-3, 1.0, False),
    "learning_rate": (1e-5, 0.1, False),
    "weight_decay": (0.01, 10.0, True),
}
_OF_RUN = ("std", "residual_scaling", "width", "optimizer", "learning_rate", "weight_decay", "seed")


@functools.cache
def passage() -> str:
    """Return chapters I to III of *Wuthering Heights*, as ELTeC-eng has them."""
    return (Path(__file__).parent / "wuthering_heights.txt").read_text(encoding="utf8")


class GPTTraining(BookWidget):
    """A GPT of 12 layers that the reader pretrains in the page, and the std of its Q, K and V.

    The model is GPT-2 as :func:`initscope.models.gpt2` builds it, with 4 heads, on passages of 32
    characters, 8 in a batch: pre-LN blocks, learned positions, GELU, an output tied to the token
    embedding. Rate and decay are constant; biases and norms do not decay. AdamW has the betas .9
    and .95. The page draws weights and batches as torch does, so that a seed means the same run in
    both, to float32 rounding. Nothing trains until the button is pressed, and then in a worker.

    The prediction of AdamW's theory, :func:`~initscope.theory.adamw_variance_trajectory`, is drawn
    before the run. It counts as right where the median of the layers ends within 15% of it.

    Attributes
    ----------
    std
        Std of all weights at the start, per element; .001 to 1.
    learning_rate, weight_decay
        Constant learning rate, 1e-5 to .1, and weight decay, 0 or .01 to 10.
    width
        Channels: 16, 32, 48 or 64.
    optimizer
        ``"adamw"``, ``"momentum"`` (SGD with momentum .9) or ``"sgd"``.
    rival
        How a second run differs, which is trained beside the first on the same batches:
        ``"none"`` for no such run, ``"small_start"`` (a tenth of the std), ``"large_start"`` (3
        times the std), ``"strong_decay"`` (4 times the decay), ``"no_decay"``, ``"fast"`` (3 times
        the rate), ``"optimizer"`` (SGD with momentum, or AdamW), ``"scaling"`` (the opposite
        `residual_scaling`).
    steps
        Number of updates, 10 to 3,000.
    seed
        Seed of weights and batches, 0 to 99.
    residual_scaling
        Whether matrices that end a branch start at the std over :math:`\\sqrt{2 L}`, as GPT-2's do.
    margin
        How near the prediction the median of the layers has to come to count as right: .15.

    Raises
    ------
    traitlets.TraitError
        A value out of range.

    Examples
    --------
    >>> widget = GPTTraining(std=0.05, rival="small_start")
    >>> widget.text[:10]
    'CHAPTER I.'
    >>> [run["std"] for run in widget.runs()]
    [0.05, 0.005]
    """

    module: ClassVar[str] = "gpt_training/widget.mjs"
    margin: ClassVar[float] = MARGIN

    std = traitlets.Float(0.1).tag(sync=True)
    learning_rate = traitlets.Float(0.003).tag(sync=True)
    weight_decay = traitlets.Float(1.0).tag(sync=True)
    width = traitlets.Enum(WIDTHS, 32).tag(sync=True)
    optimizer = traitlets.Enum(OPTIMIZERS, "adamw").tag(sync=True)
    rival = traitlets.Enum(RIVALS, "none").tag(sync=True)
    steps = traitlets.Int(700, min=10, max=3000).tag(sync=True)
    seed = traitlets.Int(0, min=0, max=99).tag(sync=True)
    residual_scaling = traitlets.Bool(True).tag(sync=True)
    deflated = traitlets.Bytes(read_only=True).tag(sync=True)

    @traitlets.default("deflated")
    def _deflated(self) -> bytes:
        return zlib.compress(passage().encode(), 9)

    @property
    def text(self) -> str:
        """What the model reads: chapters I to III of E. Brontë, *Wuthering Heights* (1847).

        In the public domain, from ELTeC-eng (CC BY 4.0 for its encoding).
        """
        return passage()

    @traitlets.validate(*_RANGES)
    def _in_range(self, proposal: Any) -> float:
        name, value = proposal["trait"].name, float(proposal["value"])
        low, high, zero = _RANGES[name]
        if not (low <= value <= high or (zero and value == 0)):  # NaN is neither
            allowed = f"{'0 or ' if zero else ''}between {low:g} and {high:g}"
            raise traitlets.TraitError(f"{name} must be {allowed}, not {value:g}.")
        return value

    def runs(self) -> list[dict[str, Any]]:
        """Return the settings of the runs: one, or two of which the second is the rival."""
        first = {name: getattr(self, name) for name in _OF_RUN}
        others = {"adamw": "momentum"}
        changes: dict[str, dict[str, Any]] = {
            "small_start": {"std": self.std / 10},
            "large_start": {"std": 3 * self.std},
            "strong_decay": {"weight_decay": 4 * self.weight_decay},
            "no_decay": {"weight_decay": 0.0},
            "fast": {"learning_rate": 3 * self.learning_rate},
            "optimizer": {"optimizer": others.get(self.optimizer, "adamw")},
            "scaling": {"residual_scaling": not self.residual_scaling},
        }
        change = changes.get(self.rival)
        return [first] if change is None else [first, first | change]

    def predictions(self) -> list[np.ndarray | None]:
        """Return what theory says of each run: the std at updates 0 to `steps`; None for SGD."""
        return [_predicted(run, self.steps) for run in self.runs()]

    @extras.named("GPTTraining.train")
    def train(self, every: int = 1) -> pd.DataFrame:
        """Make the same runs with torch.

        Parameters
        ----------
        every
            Updates from one row to the next.

        Returns
        -------
        pandas.DataFrame
            A row for each update of each run, as in the download of the page: ``run`` (1 or 2),
            ``step`` from 0, ``loss`` of its batch before the update, in nats a character (mean
            over the updates since the row before), ``predicted`` std, and the std of each matrix,
            ``q_1`` to ``v_12``. A run whose loss is no number ends there.

        Raises
        ------
        UsageError
            If `every` is no whole number of at least 1.

        Examples
        --------
        >>> table = GPTTraining(width=16, steps=10).train(every=5)
        >>> table["step"].to_list()
        [0, 5, 10]
        """
        every = whole("every", every)
        tables = []
        for number, (run, predicted) in enumerate(
            zip(self.runs(), self.predictions(), strict=True), start=1
        ):
            table = _train(run, self.text, self.steps, every)
            known = math.nan if predicted is None else predicted[table["step"]]
            table.insert(1, "predicted", known)
            table.insert(0, "run", number)
            tables.append(table)
        return pd.concat(tables, ignore_index=True)[["run", "step", "loss", "predicted", *MATRICES]]

    def figure(self, table: pd.DataFrame | None = None) -> Figure:
        """Draw Q, K and V and the loss against the update, as a still picture.

        Parameters
        ----------
        table
            What :meth:`train` returns; without it the picture is that before the training.
        """
        vocabulary = len(set(self.text))
        return gpt_training(
            table, self.predictions(), [_label(self.runs(), run) for run in self.runs()],
            steps=self.steps, margin=self.margin, guessing=math.log(vocabulary),
        )  # fmt: skip


def _label(runs: list[dict[str, Any]], run: Mapping[str, Any]) -> str:
    """Return what is a run's own; empty where it is alone."""
    words = {
        "std": "std {:g}", "weight_decay": "decay {:g}", "learning_rate": "rate {:g}",
        "optimizer": "{}", "residual_scaling": "1/√(2L): {}",
    }  # fmt: skip
    names = {"adamw": "AdamW", "momentum": "SGD, momentum", "sgd": "SGD", True: "yes", False: "no"}
    return ", ".join(
        words[name].format(names[value] if isinstance(value, str | bool) else value)
        for name, value in run.items()
        if any(other[name] != value for other in runs)
    )


def _predicted(run: Mapping[str, Any], steps: int) -> np.ndarray | None:
    if run["optimizer"] != "adamw":
        return None
    rates = np.full(steps, run["learning_rate"])
    squares = adamw_variance_trajectory(run["std"], rates, run["weight_decay"], BETAS)
    return np.concatenate([[run["std"]], np.sqrt(squares)])


def _train(run: Mapping[str, Any], text: str, steps: int, every: int) -> pd.DataFrame:
    """Pretrain one GPT with torch; see :meth:`GPTTraining.train`."""
    import torch

    from initscope.init import initialize_
    from initscope.models import gpt2
    from initscope.tracking import weight_matrices

    characters = sorted(set(text))
    tokens = torch.tensor([characters.index(character) for character in text])
    generator = torch.Generator().manual_seed(run["seed"])
    sizes = {"n_embd": run["width"], "n_positions": CONTEXT, "vocab_size": len(characters)}
    model = gpt2("nano12", **sizes)
    initialize_(
        model, "gpt2", std=run["std"], residual_scaling=run["residual_scaling"],
        generator=generator,
    )  # fmt: skip
    groups: list[dict[str, Any]] = [
        {"params": [p for p in model.parameters() if p.dim() > 1]},
        {"params": [p for p in model.parameters() if p.dim() == 1], "weight_decay": 0.0},
    ]
    given = {"lr": run["learning_rate"], "weight_decay": run["weight_decay"]}
    optimizer: torch.optim.Optimizer
    if run["optimizer"] == "adamw":
        optimizer = torch.optim.AdamW(groups, betas=BETAS, **given)
    else:
        momentum = MOMENTUM if run["optimizer"] == "momentum" else 0.0
        optimizer = torch.optim.SGD(groups, momentum=momentum, **given)

    def record(step: int, losses: list[float]) -> dict[str, float]:
        stds = {
            f"{role}_{layer}": matrix.std().item()
            for layer, role, matrix in weight_matrices(model)
            if role in ROLES
        }
        return {"step": step, "loss": float(np.mean(losses)) if losses else math.nan, **stds}

    losses: list[float] = []
    rows = [record(0, losses)]
    for step in range(1, steps + 1):
        starts = torch.randint(0, len(tokens) - CONTEXT, (PASSAGES, 1), generator=generator)
        passages = tokens[starts + torch.arange(CONTEXT + 1)]
        logits = model(passages[:, :-1]).logits
        loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), passages[:, 1:].flatten())
        if not loss.isfinite():
            break
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
        if step % every == 0 or step == steps:
            rows.append(record(step, losses))
            losses = []
    return pd.DataFrame(rows)
