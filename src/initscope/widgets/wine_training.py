"""Networks on UCI Wine that train in the browser, several seeds side by side."""

from __future__ import annotations

import functools
import math
import textwrap
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import pandas as pd
import traitlets
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from initscope.widgets.base import BookWidget

__all__ = ["WineTraining"]

if TYPE_CHECKING:
    from initscope.sweep import SweepSpec

MAX_SEEDS = 8
LEARNED = 0.9
"""Test accuracy from which on a network counts as having learned."""

SCHEMES = ("normal", "lecun", "xavier", "kaiming", "race")
WIDTHS = (1, 2, 4, 8, 16, 32, 64, 128)
BATCH_SIZES = (4, 8, 16, 32, 64, 128)
OPTIMIZERS = ("sgd", "momentum", "adam")
NAMES = {"normal": "one std", "lecun": "LeCun", "xavier": "Xavier", "kaiming": "Kaiming"}
LOST = "#cc4f5c"


@functools.cache
def wine_rows() -> dict[str, Any]:
    """UCI Wine as scikit-learn has it, and the rows of each split of `load_wine`, in their order.

    ``rows`` holds 178 lists of 13 features, ``labels`` the class of each, and ``splits`` for the
    seeds from 0 on ``train`` and ``test``, the numbers of the rows.
    """
    from sklearn.datasets import load_wine
    from sklearn.model_selection import train_test_split

    bunch = load_wine()
    splits = []
    for seed in range(MAX_SEEDS):
        train, test = train_test_split(
            np.arange(len(bunch.target)),
            test_size=0.25,
            random_state=seed,
            stratify=bunch.target,
        )
        splits.append({"train": train.tolist(), "test": test.tolist()})
    return {"rows": bunch.data.tolist(), "labels": bunch.target.tolist(), "splits": splits}


class WineTraining(BookWidget):
    """ReLU networks on UCI Wine, trained in the browser from the initialization you choose.

    The page draws the weights, splits the data and orders the batches as
    :func:`initscope.sweep.run_sweep` does, so that a seed means the same run in both, to float32
    rounding (which grows where training is unstable). Nothing trains until the button is pressed.

    Attributes
    ----------
    scheme
        ``"normal"`` (one std for all layers), ``"lecun"``, ``"xavier"``, ``"kaiming"``, or
        ``"race"``: Xavier and Kaiming side by side, from the same standard-normal draws and on the
        same batches.
    std
        Of the weights where `scheme` is ``"normal"``; from 1e-4 to 10.
    depth
        Number of weight layers, from 1 to 30.
    width
        Units in each hidden layer: 1, 2, 4, ... 128.
    optimizer
        ``"sgd"``, ``"momentum"`` (SGD with momentum 0.9) or ``"adam"``, with torch's defaults.
    learning_rate
        From 1e-4 to 10.
    batch_size
        4, 8, ... 128; a last, incomplete batch of an epoch is left out.
    epochs
        From 1 to 100.
    seeds
        How many networks of each scheme, from 1 to 8; seeds count from 0.
    wine
        The data, set by the class; see :func:`wine_rows`.

    >>> WineTraining(scheme="race", depth=20).depth
    20
    """

    module: ClassVar[str] = "wine_training.mjs"

    scheme = traitlets.Enum(SCHEMES, "normal").tag(sync=True)
    std = traitlets.Float(0.25, min=1e-4, max=10.0).tag(sync=True)
    depth = traitlets.Int(8, min=1, max=30).tag(sync=True)
    width = traitlets.Enum(WIDTHS, 32).tag(sync=True)
    optimizer = traitlets.Enum(OPTIMIZERS, "sgd").tag(sync=True)
    learning_rate = traitlets.Float(0.1, min=1e-4, max=10.0).tag(sync=True)
    batch_size = traitlets.Enum(BATCH_SIZES, 32).tag(sync=True)
    epochs = traitlets.Int(50, min=1, max=100).tag(sync=True)
    seeds = traitlets.Int(5, min=1, max=MAX_SEEDS).tag(sync=True)
    wine = traitlets.Dict(read_only=True).tag(sync=True)

    @traitlets.default("wine")
    def _wine(self) -> dict[str, Any]:
        return wine_rows()

    def spec(self) -> SweepSpec:
        """The sweep that trains the same networks."""
        from initscope.sweep import Optimizer, SweepSpec

        momentum = 0.9 if self.optimizer == "momentum" else 0.0
        kind = "adam" if self.optimizer == "adam" else "sgd"
        race = ("xavier", "kaiming")
        schemes = {"normal": (), "race": race}.get(self.scheme, (self.scheme,))
        return SweepSpec(
            dataset="wine",
            hidden=((self.width,) * (self.depth - 1),),
            stds=(self.std,) if self.scheme == "normal" else (),
            schemes=schemes,
            optimizers=(Optimizer(kind, self.learning_rate, momentum),),
            seeds=self.seeds,
            batch_size=self.batch_size,
            epochs=self.epochs,
            loss_points=100,
        )

    def figure(self) -> Figure:
        """Train the networks with torch; draw their losses and the gradient norms of their layers.

        Sets `message` to what came of it. Under 2 s for networks of up to 10 layers of 64.
        """
        from initscope.plots.style import COLORS, INK, WIDTH, styled
        from initscope.sweep.run import run_sweep

        table = run_sweep(self.spec(), progress=False)
        self.message = outcome(table)
        layers = np.arange(1, self.depth + 1)
        with styled():
            figure = Figure(figsize=(WIDTH, 3.5))
            loss_axes, norm_axes = figure.subplots(1, 2)
            for color, (scheme, runs) in zip(
                COLORS, table.groupby("scheme", sort=False), strict=False
            ):
                for _, run in runs.iterrows():
                    finite = np.isfinite(run["loss"])
                    steps, losses = run["loss_step"][finite], run["loss"][finite]
                    loss_axes.plot(steps, losses, color=color, lw=1.1)
                    if not pd.isna(run["diverged_step"]):
                        loss_axes.plot(steps[-1:], losses[-1:], "x", color=LOST)
                # A diverged run has no gradients at the end, and a dead layer none at all.
                norms = np.stack([n.reshape(-1, self.depth) for n in runs["gradient_norm"]])
                norms = np.where(np.isfinite(norms) & (norms > 0), norms, np.nan)
                name = f"{NAMES[str(scheme)]}, " if self.scheme == "race" else ""
                for probe, style, when in ((0, "--", "before"), (-1, "-", "after")):
                    means = np.exp(np.ma.masked_invalid(np.log(norms[:, probe])).mean(0))
                    if means.count() == 0:
                        continue
                    norm_axes.plot(
                        layers,
                        means,
                        style,
                        marker="o",
                        markersize=3,
                        color=color,
                        label=f"{name}{when} training",
                    )
            loss_axes.axhline(math.log(3), color=INK, ls=":", lw=1.2, label="guessing")
            loss_axes.set(xlabel="step", ylabel="training loss, one line a seed", yscale="log")
            norm_axes.set(xlabel="weight layer", ylabel="gradient norm", yscale="log")
            norm_axes.xaxis.set_major_locator(MaxNLocator(integer=True))
            bottom, top = np.log10(norm_axes.get_ylim())
            norm_axes.set_ylim(10 ** np.floor(bottom), 10 ** np.ceil(top))
            figure.legend(loc="outside lower center", ncols=3)
            figure.suptitle("\n".join(textwrap.wrap(self.message, 90)), fontsize=9.5)
        return figure


def outcome(table: pd.DataFrame) -> str:
    """What came of a sweep over Wine, in words: how many seeds learn, and which diverged.

    `table` is that of :func:`initscope.sweep.run_sweep`, with one row a scheme and seed.
    """
    groups = list(table.groupby("scheme", sort=False))
    race = len(groups) > 1
    states, lost = [], []
    for scheme, runs in groups:
        alive = runs[runs["diverged_step"].isna()]
        learned = int((alive["test_accuracy"] >= LEARNED).sum())
        count = f"{learned} of {len(runs)} {'seeds learn' if len(runs) > 1 else 'seed learns'}"
        rest = " of the rest" if len(alive) < len(runs) else ""
        mean = f"mean test accuracy{rest} {alive['test_accuracy'].mean():.0%}"
        score = mean if len(alive) else "none is left"
        name = NAMES[str(scheme)]
        if race:
            states.append(f"{name}: {count}, {score}")
        else:
            states.append(f"{count} (test accuracy of at least {LEARNED:.0%}); {score}")
        if len(alive) < len(runs):
            text = _diverged(runs)
            lost.append(f" {name}: {text}" if race else f" {text[0].upper()}{text[1:]}")
    if table["diverged_step"].notna().all():
        return "".join(lost).strip()
    n_steps = table["loss_step"].iloc[0][-1]
    return f"After all {n_steps} steps: {'; '.join(states)}.{''.join(lost)}"


def _diverged(runs: pd.DataFrame) -> str:
    """Which runs diverged, and when: seeds 1 and 3 diverged at steps 4 and 9."""
    gone = runs[runs["diverged_step"].notna()]
    steps = gone["diverged_step"].tolist()
    several, differ = len(gone) > 1, len(set(steps)) > 1
    who = f"seed{'s' if several else ''} {_listed(gone['seed'])}"
    if several and len(gone) == len(runs):
        who = f"all {len(gone)} seeds"
    if set(steps) == {0}:
        when = "before the first update"
    elif differ and len(gone) > 3:
        when = f"from step {min(steps)} on"
    else:
        when = f"at steps {_listed(steps)}" if differ else f"at step {steps[0]}"
    return f"{who} diverged {when}."


def _listed(items: Iterable[object]) -> str:
    """Items as in a sentence: 1, 2 and 3."""
    *first, last = map(str, items)
    return f"{', '.join(first)} and {last}" if first else last
