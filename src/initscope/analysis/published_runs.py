"""Hold AdamW on noise against weights of models that others trained, from their settings alone."""

from __future__ import annotations

import dataclasses
import functools

import numpy as np
import pandas as pd

from initscope import checks
from initscope.analysis.stability import PAPER_BAND
from initscope.analysis.weibull import weibull_std
from initscope.checks import Array, require
from initscope.errors import shown
from initscope.theory import (
    RECIPES,
    adamw_equilibrium_rms,
    adamw_momentum_alignment,
    adamw_variance_trajectory,
    implied_weight_decay,
)
from initscope.theory.published_runs import COMPONENTS, Recipe

__all__ = [
    "alignment_in_training",
    "implied_decays",
    "implied_gradients",
    "measured_over_predicted",
    "predicted_through_training",
    "recipe_table",
    "share_of_std",
]


BLOCK = {"o": 1, "ffn_in": 4, "ffn_out": 4}
"""Squares of the width in the matrices of a GPT-2 block that training logs take together."""


def share_of_std(
    scales: pd.DataFrame, checkpoints: pd.DataFrame, model: str = "pythia-70m"
) -> float:
    """Return the share of the std that Weibull fits see, from a model where both are known.

    Parameters
    ----------
    scales
        Result of :func:`initscope.data.load_weibull_scales`.
    checkpoints
        Result of :func:`initscope.data.load_checkpoint_stds`; its last row is the model's.
    model
        The model, in `scales`, of GPT-2's blocks.

    Raises
    ------
    UsageError
        A table without these columns; a model without its components.

    Examples
    --------
    >>> rows = [("pythia-70m", component, 0.0225) for component in ("o", "ffn_in", "ffn_out")]
    >>> scales = pd.DataFrame(rows, columns=["model", "component", "scale"])
    >>> round(share_of_std(scales, pd.DataFrame({"step": [143_000], "std": [0.0282]})), 3)
    0.899
    """
    of_model = _of_model(scales, model)
    last = checks.frame("checkpoints", checkpoints, numbers=["step", "std"]).sort_values("step")
    missing = [name for name in BLOCK if name not in of_model.index]
    require(not missing, f"the table scales has no {', '.join(missing)} of {shown(model)}.")
    counts = pd.Series(BLOCK)
    square = (counts * weibull_std(of_model[counts.index].to_numpy()) ** 2).sum() / counts.sum()
    return float(np.sqrt(square) / last["std"].iloc[-1])


def measured_over_predicted(scales: pd.DataFrame, share: float = 1.0) -> pd.DataFrame:
    """Return measured over predicted std at the end of training, of models with known settings.

    The prediction is :func:`initscope.theory.adamw_variance_trajectory` on noise, with the
    settings of :data:`initscope.theory.RECIPES` and nothing fitted.

    Parameters
    ----------
    scales
        Result of :func:`initscope.data.load_weibull_scales`; models without a recipe are left out.
    share
        Share of the std that the fits see at least (:func:`share_of_std`): it makes the upper ends.

    Returns
    -------
    pandas.DataFrame
        A row a model and component: ``model``, ``component``, ``width``, ``start``, ``predicted``,
        ``low`` and ``high``, between which the std is, and ``ratio_low`` and ``ratio_high``, these
        over the prediction.

    Raises
    ------
    UsageError
        A table without these columns, or of which no model has a recipe; a share outside (0, 1].

    Examples
    --------
    >>> scales = pd.DataFrame({"model": ["pythia-70m"], "component": ["o"], "scale": [0.0186]})
    >>> row = measured_over_predicted(scales, share=0.92).round(3).loc[0]
    >>> print(row["ratio_low"], row["ratio_high"])
    0.631 0.685
    """
    rows = _with_recipes(scales)
    share = checks.number("share", share, 0.0, 1.0)
    recipes = [RECIPES[model] for model in rows["model"]]
    rows["width"] = [recipe.width for recipe in recipes]
    rows["start"] = [
        recipe.start_std(component)
        for recipe, component in zip(recipes, rows["component"], strict=True)
    ]
    rows["predicted"] = [
        _predicted_curve(recipe, start)[-1]
        for recipe, start in zip(recipes, rows["start"], strict=True)
    ]
    scale = rows.pop("scale").to_numpy()
    rows["low"], rows["high"] = weibull_std(scale), weibull_std(scale, share)
    for end in ("low", "high"):
        rows[f"ratio_{end}"] = rows[end] / rows["predicted"]
    return rows


def implied_decays(scales: pd.DataFrame, share: float = 1.0) -> pd.DataFrame:
    """Return the weight decay that the std of each component of trained models implies.

    It is that of :func:`initscope.theory.implied_weight_decay`, for schedule, betas and initial
    stds of :data:`initscope.theory.RECIPES`, whose decay is not used.

    Parameters
    ----------
    scales, share
        As in :func:`measured_over_predicted`.

    Returns
    -------
    pandas.DataFrame
        A row a model and component: ``model``, ``component``, ``configured``, the decay of the
        recipe, and ``low`` and ``high``, those of the larger and the smaller std. NaN where no
        decay gives the std.

    Raises
    ------
    UsageError
        As :func:`measured_over_predicted`.

    Examples
    --------
    >>> scales = pd.DataFrame({"model": ["pythia-1b"], "component": ["qkv"], "scale": [0.0201]})
    >>> row = implied_decays(scales, share=0.92).round(3).loc[0]
    >>> print(row["configured"], row["low"], row["high"])
    0.1 0.097 0.11
    """
    rows = _with_recipes(scales)
    share = checks.number("share", share, 0.0, 1.0)
    found = []
    for model, component, scale in rows[["model", "component", "scale"]].itertuples(index=False):
        recipe = RECIPES[model]
        ends = [weibull_std(scale, share), weibull_std(scale)]
        start, rates = recipe.start_std(component), _rates(recipe)
        found.append(implied_weight_decay(ends, start, rates, recipe.betas))
    rows["configured"] = [RECIPES[model].weight_decay for model in rows["model"]]
    rows["low"], rows["high"] = np.transpose(found)
    return rows.drop(columns="scale")


def implied_gradients(scales: pd.DataFrame, share: float = 1.0) -> pd.DataFrame:
    r"""Return the rms of gradients with which epsilon alone explains the std of trained models.

    Epsilon makes steps :math:`G / (G + \epsilon)` times as long if the gradient has the rms G per
    element, and the part of the weights that comes from steps as many times as large; what is left
    of the start does not change. G is taken to be the same at every step.

    Parameters
    ----------
    scales, share
        As in :func:`measured_over_predicted`.

    Returns
    -------
    pandas.DataFrame
        A row a model and component: ``model``, ``component``, ``epsilon`` of the recipe, and
        ``low`` and ``high``, the rms of the smaller and of the larger std. NaN where the std is as
        large as without epsilon, or smaller than what is left of the start.

    Raises
    ------
    UsageError
        As :func:`measured_over_predicted`; a recipe that does not say its epsilon.

    Examples
    --------
    >>> scales = pd.DataFrame({"model": ["olmo-1-7b"], "component": ["q"], "scale": [0.0017]})
    >>> row = implied_gradients(scales).loc[0]
    >>> print(row["epsilon"], f"{row['low']:.2e}")
    1e-05 1.15e-06
    """
    rows = measured_over_predicted(scales, share)
    for model in rows["model"]:
        require(RECIPES[model].epsilon is not None, f"the recipe {shown(model)} says no epsilon.")
    recipes = [RECIPES[model] for model in rows["model"]]
    epsilon = np.array([recipe.epsilon for recipe in recipes], float)
    kept = [np.prod(1 - _rates(recipe) * recipe.weight_decay) for recipe in recipes]
    left = (np.array(kept) * rows["start"]) ** 2
    found = rows[["model", "component"]].assign(epsilon=epsilon)
    for end in ("low", "high"):
        square = (rows[end] ** 2 - left) / (rows["predicted"] ** 2 - left)
        shorter = np.sqrt(square.where((square >= 0) & (square < 1)))
        found[end] = epsilon * shorter / (1 - shorter)
    return found


def predicted_through_training(
    std: pd.DataFrame,
    recipe: str,
    *,
    peak_lr: float | None = None,
    weight_decay: float | None = None,
) -> pd.DataFrame:
    """Return measured and predicted std through a training run that was recorded.

    The std is that of the attention output and the two MLP matrices together, as in
    :func:`initscope.data.load_checkpoint_stds` and :func:`initscope.data.load_training_logs`.

    Parameters
    ----------
    std
        Columns ``step``, of updates 1, 2, ..., and ``std``; 0 is the start.
    recipe
        A name of :data:`initscope.theory.RECIPES`.
    peak_lr, weight_decay
        In place of those of the recipe.

    Returns
    -------
    pandas.DataFrame
        Columns ``step``, ``lr``, ``measured``, ``predicted``, ``ratio``, the first over the second.

    Raises
    ------
    UsageError
        Unknown recipe; a table without these columns; steps that it does not have.

    Examples
    --------
    >>> recorded = pd.DataFrame({"step": [1, 20_000], "std": [0.02, 0.0395]})
    >>> table = predicted_through_training(recorded, "wikitext-70m", weight_decay=0.2)
    >>> table["ratio"].round(2).to_list()
    [1.0, 1.18]
    """
    checks.require_name("recipe", recipe, RECIPES)
    given = {
        name: checks.number(shown_name, value, 0.0)
        for name, shown_name, value in (
            ("lr", "peak_lr", peak_lr),
            ("weight_decay", "weight_decay", weight_decay),
        )
        if value is not None
    }
    run = dataclasses.replace(RECIPES[recipe], **given)  # type: ignore[arg-type]
    rates = _rates(run)
    table = checks.frame("std", std, numbers=["step", "std"])
    steps = table["step"].to_numpy()
    require(
        bool(((steps >= 0) & (steps <= len(rates)) & (steps == np.round(steps))).all()),
        f"the column step of the table std must hold updates 0 to {len(rates)} of {recipe}.",
    )
    steps = steps.astype(int)
    square = np.zeros(len(rates) + 1)
    for component, count in BLOCK.items():
        start = run.start_std(component)
        curve = np.concatenate([[start], _predicted_curve(run, start)])
        square += count * curve**2 / sum(BLOCK.values())
    predicted = np.sqrt(square)[steps]
    return pd.DataFrame(
        {
            "step": steps,
            "lr": np.concatenate([[0.0], rates])[steps],
            "measured": table["std"].to_numpy(float),
            "predicted": predicted,
            "ratio": table["std"].to_numpy(float) / predicted,
        }
    )


def alignment_in_training(logs: pd.DataFrame, beta1: float = 0.9) -> pd.DataFrame:
    """Return the alignment of weights with their updates, beside that of momentum on noise.

    Parameters
    ----------
    logs
        Result of :func:`initscope.data.load_training_logs`; rows without the terms are left out.
    beta1
        Of the runs.

    Returns
    -------
    pandas.DataFrame
        Columns ``run``, ``step``; ``over_length``, the alignment with the weights after the update
        over the update's squared length, and ``noise``, what
        :func:`initscope.theory.adamw_momentum_alignment` says of noise; ``share``, the alignment
        over the sum of the three terms (in arXiv:2606.19367 88 to 94%, at the peak rate), and
        ``noise_share``, the same for an alignment as on noise.

    Raises
    ------
    UsageError
        A table without these columns; no terms; a beta1 outside [0, 1).

    Examples
    --------
    >>> terms = {"alignment": [2.0], "length": [0.1], "decay": [0.05]}
    >>> row = alignment_in_training(pd.DataFrame({"run": ["a"], "step": [1]} | terms)).loc[0]
    >>> print(f"{row['over_length']:.1f}, {row['share']:.2f} of all")
    20.0, 0.93 of all
    """
    terms = ["alignment", "length", "decay"]
    table = checks.frame("logs", logs, ["run"], numbers=["step", *terms]).dropna(subset=terms)
    require(len(table) > 0, "the table logs has no row with alignment, length and decay.")
    beta1 = checks.number("beta1", beta1, 0.0)
    noise = float(adamw_momentum_alignment((beta1, 0.0), after_step=True))
    on_noise = noise * table["length"]
    rest = table["length"] + table["decay"]
    return pd.DataFrame(
        {
            "run": table["run"],
            "step": table["step"],
            "over_length": table["alignment"] / table["length"],
            "noise": noise,
            "share": table["alignment"] / (table["alignment"] + rest),
            "noise_share": on_noise / (on_noise + rest),
        }
    ).reset_index(drop=True)


def recipe_table() -> pd.DataFrame:
    r"""Return where AdamW on noise takes the weights of each recipe of the package.

    Returns
    -------
    pandas.DataFrame
        A row a recipe of :data:`initscope.theory.RECIPES`, indexed by its name: ``lr``,
        ``weight_decay``, ``updates``; ``equilibrium``, :math:`\sqrt{\eta / 2 \lambda}` at the peak
        rate; ``time_constant``, :math:`1 / (2 \eta \lambda)` updates, of the variance, at the peak
        rate; ``time_constants``, how many of them training takes, :math:`2 \sum \eta \lambda`;
        ``start_left``, the share of the start in the final weights; ``start``, ``end``, stds;
        ``in_band``, whether the end is in the paper's band; ``over_kaiming``, the end over
        :math:`\sqrt{2 / \text{width}}`. Start and end are those of matrices that do not write to
        the residual stream.

    Examples
    --------
    >>> recipe_table().loc["nanogpt", ["equilibrium", "end"]].astype(float).round(4).to_list()
    [0.0548, 0.0205]
    """
    rows = {}
    for name, recipe in RECIPES.items():
        rates, decay = _rates(recipe), recipe.weight_decay
        end = _predicted_curve(recipe, recipe.std0)[-1]
        rows[name] = {
            "lr": recipe.lr,
            "weight_decay": decay,
            "updates": len(rates),
            "equilibrium": float(adamw_equilibrium_rms(recipe.lr, decay)),
            "time_constant": 1 / (2 * recipe.lr * decay),
            "time_constants": 2 * decay * rates.sum(),
            "start_left": float(np.prod(1 - rates * decay)),
            "start": recipe.std0,
            "end": end,
            "in_band": PAPER_BAND[0] <= end <= PAPER_BAND[1],
            "over_kaiming": end / np.sqrt(2 / recipe.width),
        }
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("recipe")


@functools.lru_cache(maxsize=32)
def _rates(recipe: Recipe) -> Array:
    """Return the learning rates of a recipe."""
    return recipe.learning_rates()


@functools.lru_cache(maxsize=8)
def _predicted_curve(recipe: Recipe, start: float) -> Array:
    """Return the predicted std after each update of a recipe."""
    return np.sqrt(
        adamw_variance_trajectory(start, _rates(recipe), recipe.weight_decay, recipe.betas)
    )


def _checked_scales(scales: pd.DataFrame) -> pd.DataFrame:
    """Return a table of scales, if it is one."""
    table = checks.frame("scales", scales, texts=["model", "component"], numbers=["scale"])
    checks.nonnegative("the column scale of the table scales", table["scale"].to_numpy())
    return table


def _of_model(scales: pd.DataFrame, model: str) -> pd.Series:
    """Return the scales of a model by component."""
    table = _checked_scales(scales)
    checks.require_name("model of the table scales", model, table["model"].unique())
    return (
        table[table["model"] == model].drop_duplicates("component").set_index("component")["scale"]
    )


def _with_recipes(scales: pd.DataFrame) -> pd.DataFrame:
    """Return model, component and scale of the models that have a recipe."""
    table = _checked_scales(scales)
    kept = table[table["model"].isin(RECIPES)]
    require(
        len(kept) > 0,
        f"the table scales has no model whose settings are known: it has "
        f"{shown(sorted(table['model'].unique()))}.",
    )
    for component in kept["component"]:
        checks.require_name("component of the table scales", component, COMPONENTS)
    return kept[["model", "component", "scale"]].reset_index(drop=True)
