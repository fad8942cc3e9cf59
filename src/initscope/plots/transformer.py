"""Figures of the residual stream of a transformer (chapter 04)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib as mpl
import matplotlib.ticker
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from initscope import checks
from initscope.checks import require
from initscope.plots.style import COLORS, INK, PAIR_WIDTH, WIDTH, WRITTEN, styled

__all__ = [
    "attention_saturation",
    "block_quantities",
    "depth_of_stream",
    "gradients_along_stream",
    "stream_against_theory",
    "weight_gradients_by_block",
]


def stream_against_theory(table: pd.DataFrame) -> Figure:
    """Draw the variance of a residual stream by depth, and how far it is from its prediction.

    Parameters
    ----------
    table
        Indexed by the depth, with the columns ``measured``, ``predicted``, ``uncorrelated`` (the
        prediction without covariance between tokens), ``low`` and ``high`` (the finite-width band),
        and ``reduced`` (the mean ratio to theory of narrow models, times theory).

    >>> columns = ("measured", "predicted", "uncorrelated", "low", "high", "reduced")
    >>> table = pd.DataFrame(dict.fromkeys(columns, [1.0, 2.0, 3.0]))
    >>> len(stream_against_theory(table).axes)
    2
    """
    columns = ("measured", "predicted", "uncorrelated", "low", "high", "reduced")
    checks.frame("table", table, numbers=columns)
    require(
        pd.api.types.is_numeric_dtype(table.index.dtype), "the table must be indexed by the depth."
    )
    with styled():
        figure = Figure(figsize=(WIDTH, 3.4))
        left, right = figure.subplots(1, 2, width_ratios=(1.25, 1))
        left.fill_between(
            table.index, table["low"], table["high"], color=COLORS[1], alpha=0.25, lw=0
        )
        left.plot(table["predicted"], color=COLORS[1], label="theory, with finite-width band")
        left.plot(table["uncorrelated"], color=COLORS[2], ls=":", label="theory, tokens unrelated")
        left.plot(table["measured"], color=COLORS[0], ls="none", marker="o", ms=4, label="measured")
        left.set_ylabel("variance of the residual stream")
        left.legend(loc="upper left")
        right.fill_between(
            table.index,
            100 * (table["low"] / table["predicted"] - 1),
            100 * (table["high"] / table["predicted"] - 1),
            color=COLORS[1],
            alpha=0.25,
            lw=0,
        )
        right.axhline(0, color=COLORS[1])
        for column, color, style in (
            ("measured", COLORS[0], {"marker": "o", "ls": "none", "ms": 4}),
            ("uncorrelated", COLORS[2], {"ls": ":"}),
            ("reduced", COLORS[3], {"ls": "--", "lw": 1.2}),
        ):
            values = 100 * (table[column] / table["predicted"] - 1)
            label = "narrow models, mean" if column == "reduced" else None
            right.plot(values, color=color, label=label, **style)
        right.set_ylabel("difference from theory, %")
        right.legend(loc="lower left")
        for axes in (left, right):
            axes.set_xlabel("block")
            axes.xaxis.set_major_locator(mpl.ticker.MaxNLocator(integer=True))
    return figure


def block_quantities(measured: pd.DataFrame, predicted: Mapping[str, Sequence[float]]) -> Figure:
    """Draw what each block of a transformer computes: dots measured, lines predicted.

    Parameters
    ----------
    measured
        Columns ``depth``, ``quantity``, ``value``, of :func:`initscope.monte_carlo.stream_profile`.
    predicted
        Quantity to one value a block.

    >>> names = ("query", "key", "value", "logit", "attention", "mlp")
    >>> measured = pd.DataFrame({"quantity": names, "depth": 1, "value": 0.5})
    >>> len(block_quantities(measured, dict.fromkeys(names, [0.5])).axes)
    3
    """
    checks.frame("measured", measured, numbers=("depth", "value"), texts=("quantity",))
    checks.mapping("predicted", predicted)
    for name in ("query", "key", "value", "logit", "attention", "mlp"):
        require(name in predicted, f"predicted has no values for {name!r}.")
        values = checks.real("predicted", predicted[name])
        require(values.ndim == 1 and values.size > 0, "predicted must have one value a block.")
        require(name in set(measured["quantity"]), f"measured has no quantity {name!r}.")
    groups = (
        ("query, key, value", ("query", "key", "value")),
        ("attention logits", ("logit",)),
        ("added to the stream", ("attention", "mlp")),
    )
    with styled():
        figure = Figure(figsize=(WIDTH, 3.0))
        for axes, (title, names) in zip(figure.subplots(1, 3), groups, strict=True):
            for color, name in zip(COLORS, names, strict=False):
                of_name = measured[measured["quantity"] == name]
                line = np.asarray(predicted[name])
                axes.plot(range(1, len(line) + 1), line, color=color, lw=1.3)
                axes.plot(
                    of_name["depth"],
                    of_name["value"],
                    color=color,
                    ls="none",
                    marker="o",
                    ms=4,
                    label=WRITTEN.get(name, name),
                )
            axes.set_ylim(0, 1.08 * axes.dataLim.ymax)
            axes.set_title(title)
            axes.set_xlabel("block")
            axes.xaxis.set_major_locator(mpl.ticker.MaxNLocator(integer=True))
            if len(names) > 1:
                axes.legend(loc="lower right")
        figure.axes[0].set_ylabel("mean square")
    return figure


def depth_of_stream(table: pd.DataFrame, lines: pd.DataFrame) -> Figure:
    """Draw the variance of the stream after the last block against the number of blocks.

    Parameters
    ----------
    table
        Columns ``blocks``, ``rule`` and ``measured``, one row a model.
    lines
        Columns ``blocks``, ``rule`` and ``predicted``.

    >>> lines = pd.DataFrame({"rule": "unscaled", "blocks": [2, 4], "predicted": [3.0, 5.0]})
    >>> depth_of_stream(lines.rename(columns={"predicted": "measured"}), lines).axes[0].get_xlabel()
    'blocks'
    """
    checks.frame("table", table, numbers=("blocks", "measured"), texts=("rule",), rows=False)
    checks.frame("lines", lines, numbers=("blocks", "predicted"), texts=("rule",))
    with styled():
        figure = Figure(figsize=(0.62 * WIDTH, 3.3))
        axes = figure.subplots()
        for color, (rule, group) in zip(COLORS, lines.groupby("rule", sort=False), strict=False):
            axes.plot(group["blocks"], group["predicted"], color=color, label=rule)
            of_rule = table[table["rule"] == rule]
            axes.plot(
                of_rule["blocks"], of_rule["measured"], color=color, ls="none", marker="o", ms=3.5
            )
        axes.set_xscale("log", base=2)
        axes.set_yscale("log")
        axes.xaxis.set_major_formatter(mpl.ticker.ScalarFormatter())
        axes.set_xlabel("blocks")
        axes.set_ylabel("variance after the last block")
        axes.legend()
    return figure


def gradients_along_stream(table: pd.DataFrame) -> Figure:
    """Draw the variance of the gradient along the stream, pre-LN and post-LN, one panel a scale.

    Parameters
    ----------
    table
        Columns ``scale``, ``norm``, ``depth``, ``measured``, ``low``, ``high`` (range over seeds)
        and ``predicted``; variances relative to that after the last block.

    >>> table = pd.DataFrame({"depth": [1, 2], "measured": [2.0, 1.0], "predicted": [2.1, 1.0]})
    >>> table = table.assign(low=0.9, high=2.1, norm="pre", scale="unscaled")
    >>> gradients_along_stream(table).axes[0].get_title()
    'unscaled'
    """
    checks.frame(
        "table",
        table,
        numbers=("depth", "measured", "low", "high", "predicted"),
        texts=("scale", "norm"),
    )
    with styled():
        figure = Figure(figsize=(PAIR_WIDTH, 3.3))
        scales = list(table["scale"].unique())
        panels = figure.subplots(1, len(scales), sharey=True, squeeze=False)[0]
        for axes, scale in zip(panels, scales, strict=True):
            of_scale = table[table["scale"] == scale]
            for color, (name, group) in zip(
                COLORS, of_scale.groupby("norm", sort=False), strict=False
            ):
                axes.plot(group["depth"], group["predicted"], color=color, label=name)
                axes.vlines(group["depth"], group["low"], group["high"], color=color, lw=0.9)
                axes.plot(
                    group["depth"], group["measured"], color=color, ls="none", marker="o", ms=3.5
                )
            axes.set_yscale("log")
            axes.set_title(scale)
            axes.set_xlabel("after block")
            axes.legend()
        panels[0].set_ylabel("gradient variance, last block = 1")
    return figure


def weight_gradients_by_block(
    measured: pd.DataFrame, predicted: pd.DataFrame, ratios: pd.DataFrame
) -> Figure:
    """Draw weight gradients by block, left of all matrices, right of query over value.

    Parameters
    ----------
    measured, predicted
        Indexed by the block, with one column a matrix: mean squares, drawn as root mean squares
        relative to the measured one of ``value`` in the first block.
    ratios
        Columns ``model``, ``block``, ``measured`` and ``predicted``: the root mean square of the
        query's gradient over that of the value's.

    >>> table = pd.DataFrame({"value": [1.0, 2.0], "query": [0.1, 0.2]}, [1, 2])  # a row a block
    >>> ratios = pd.DataFrame({"model": "2 blocks", "block": [1, 2], "measured": [0.3, 0.3]})
    >>> len(weight_gradients_by_block(table, table, ratios.assign(predicted=0.3)).axes)
    2
    """
    for name, table in (("measured", measured), ("predicted", predicted)):
        checks.number_table(name, table, rows=True)
        require("value" in table, f"the table {name} has no column value.")
        require(set(table) == set(measured), "measured and predicted must have equal columns.")
        require(bool((table > 0).all(axis=None)), f"the table {name} must hold numbers above 0.")
        require(
            pd.api.types.is_numeric_dtype(table.index.dtype),
            f"the table {name} must be indexed by the block.",
        )
    checks.frame("ratios", ratios, numbers=("block", "measured", "predicted"), texts=("model",))
    require(
        bool((ratios[["measured", "predicted"]] > 0).all(axis=None)),
        "the table ratios must hold ratios above 0.",
    )
    unit = measured["value"].iloc[0]
    with styled():
        figure = Figure(figsize=(PAIR_WIDTH, 3.9))
        left, right = figure.subplots(1, 2, width_ratios=(1.25, 1))
        for color, name in zip(COLORS, measured, strict=False):
            left.plot(np.sqrt(predicted[name] / unit), color=color, lw=1.3)
            label = name.replace("_", " ").replace("mlp", "MLP")
            left.plot(
                np.sqrt(measured[name] / unit),
                color=color,
                ls="none",
                marker="o",
                ms=4,
                label=label,
            )
        for color, (name, group) in zip(COLORS, ratios.groupby("model", sort=False), strict=False):
            right.plot(group["block"], group["predicted"], color=color, label=name)
            right.plot(group["block"], group["measured"], color=color, ls="none", marker="o", ms=4)
        left.set_ylabel("rms of the gradient, value in block 1 = 1")
        right.set_ylabel("query over value")
        for axes in (left, right):
            axes.set_yscale("log")
            axes.set_xlabel("block")
            axes.xaxis.set_major_locator(mpl.ticker.MaxNLocator(integer=True))
        right.legend()
        figure.legend(*left.get_legend_handles_labels(), loc="outside upper center", ncols=3)
    return figure


def attention_saturation(lines: pd.DataFrame, table: pd.DataFrame) -> Figure:
    """Draw how far softmax concentrates, against the std of its logits, one color a number of keys.

    Independent logits are dots, those of another kind crosses.

    Parameters
    ----------
    lines
        Columns ``keys``, ``logit_std``, ``predicted`` and ``limit`` (dashed, may be nan).
    table
        Columns ``keys``, ``logit_std``, ``kind``, ``measured`` and ``error``.

    >>> lines = pd.DataFrame({"keys": 16, "logit_std": [0.0, 1.0], "predicted": [0.06, 0.2]})
    >>> table = lines.rename(columns={"predicted": "measured"}).assign(kind="independent", error=0)
    >>> attention_saturation(lines.assign(limit=[0.06, 0.17]), table).axes[0].get_yscale()
    'log'
    """
    checks.frame("lines", lines, numbers=("keys", "logit_std", "predicted", "limit"))
    checks.frame(
        "table", table, numbers=("keys", "logit_std", "measured", "error"), texts=("kind",)
    )
    require(bool((table["error"] >= 0).all()), "the column error of the table must be at least 0.")
    with styled():
        figure = Figure(figsize=(WIDTH, 3.7))
        axes = figure.subplots()
        kinds = list(dict.fromkeys(table["kind"]))
        for color, (keys, group) in zip(COLORS, lines.groupby("keys"), strict=False):
            axes.plot(group["logit_std"], group["predicted"], color=color, label=f"{keys:,} keys")
            axes.plot(group["logit_std"], group["limit"], color=color, ls="--", lw=1.2)
            for marker, kind in zip("ox^v", kinds, strict=False):
                part = table[(table["keys"] == keys) & (table["kind"] == kind)]
                axes.errorbar(
                    part["logit_std"], part["measured"], part["error"], color=color, ls="none",
                    marker=marker, ms=4 if marker == "o" else 5, lw=0.9,
                )  # fmt: skip
        axes.set_yscale("log")
        axes.set_ylim(top=1.3)
        axes.set_xlabel("std of the logits, b")
        axes.set_ylabel("sum of squared attention weights")
        handles, names = axes.get_legend_handles_labels()
        for marker, kind in zip("ox^v", kinds, strict=False):
            handles.append(Line2D([], [], color=INK, ls="none", marker=marker, ms=4))
            names.append(kind)
        handles.append(Line2D([], [], color=INK, ls="--", lw=1.2))
        axes.legend(handles, [*names, "limits of many keys"])
    return figure


def bars_of_stream(branches: pd.DataFrame) -> Figure:
    """Draw what each branch adds to the stream, a bar a branch, and the gradient below it.

    Parameters
    ----------
    branches
        Columns ``block`` (from 0), ``attention``, ``between``, ``mlp``, ``variance`` and
        ``gradient``, as :meth:`initscope.widgets.ResidualStream.branches` has them.
    """
    blocks = branches["block"].to_numpy()[1:]
    variance = branches["variance"].to_numpy()
    attention, between, mlp = (branches[name].iloc[1:] for name in ("attention", "between", "mlp"))
    with styled():
        figure = Figure(figsize=(WIDTH, 4.6))
        stream, back = figure.subplots(2, 1, height_ratios=(5, 3))
        met = {"width": 0.5, "color": COLORS[0], "lw": 0}
        stream.bar(-0.25, variance[0], label="what a branch meets: the stream", **met)
        for place, before, added, color, label in (
            (blocks - 0.75, variance[:-1], attention, COLORS[1], "what attention adds"),
            (blocks - 0.25, between, mlp, COLORS[2], "what the MLP adds"),
        ):
            stream.bar(place, before, **met)
            stream.bar(place, added, 0.5, before, color=color, lw=0, label=label)
        named = blocks[:: max(1, len(blocks) // 12)]
        stream.set_xticks(named - 0.5, [str(block) for block in named])
        stream.set(xlabel="block, attention and MLP", ylabel="variance of the stream")
        stream.set(xlim=(-0.6, blocks[-1] + 0.1))
        back.axhline(1, color=INK, ls="--", lw=1)
        gradient = branches["gradient"].iloc[1:]
        back.plot(blocks, gradient, color=COLORS[3], marker="o", ms=4, label="gradient, going back")
        back.set(xlabel="after block", ylabel="variance", yscale="log")
        low, high = min(0.5, gradient.min()) / 1.5, max(2.0, gradient.max()) * 1.5
        back.set(xlim=(0.5, blocks[-1] + 0.5), ylim=(low, high))
        back.set_xticks(named)
        plain = mpl.ticker.FuncFormatter(lambda value, _: f"{value:g}")
        back.yaxis.set_major_locator(mpl.ticker.LogLocator(subs=(1, 2, 5)))
        back.yaxis.set_major_formatter(plain)
        back.yaxis.set_minor_locator(mpl.ticker.NullLocator())
        figure.legend(loc="outside upper center", ncols=2)
    return figure
