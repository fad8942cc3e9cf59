"""Train any module with several initializations, optimizers and seeds, one after another.

The networks of :func:`initscope.sweep.run_sweep` are MLPs that train in one batched product, 14
times faster than alone. What is here trains anything that torch can, and takes that longer.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import nn
from tqdm import tqdm

from initscope import checks
from initscope.checks import require, whole
from initscope.data.arrays import load_arrays
from initscope.data.dataset import DATASETS, Dataset, load
from initscope.errors import UsageError, shown, unknown_name
from initscope.init import initialize_
from initscope.theory.scheme import Scheme

__all__ = ["optimizer_by_name", "sweep_modules"]

MOST = 100_000
"""Of seeds, epochs and points of the loss."""


def optimizer_by_name(
    name: str, parameters: Sequence[torch.Tensor], **options: Any
) -> torch.optim.Optimizer:
    """Return an optimizer of :mod:`torch.optim` by its name.

    Parameters
    ----------
    name
        Name of the class, in letters of any case: ``"AdamW"``, ``"rmsprop"``.
    parameters
        Parameters that it trains.
    **options
        Options of the class, for example ``lr``.

    Raises
    ------
    UsageError
        An unknown name, with the nearest; options that the class does not take.

    Examples
    --------
    >>> type(optimizer_by_name("nadam", [torch.zeros(2)], lr=0.1)).__name__
    'NAdam'
    """
    known = {
        found.lower(): value
        for found, value in vars(torch.optim).items()
        if isinstance(value, type) and issubclass(value, torch.optim.Optimizer)
    }
    del known["optimizer"]  # the base of all
    if not isinstance(name, str) or name.lower() not in known:
        raise unknown_name("optimizer name", name, known)
    try:
        found: torch.optim.Optimizer = known[name.lower()](parameters, **options)
    except Exception as error:  # each class checks its options in its own way
        raise UsageError(
            f"torch.optim makes no {name} of the parameters and the options "
            f"{shown(options)}: {shown(str(error))}."
        ) from None
    return found


def sweep_modules(
    build: Callable[[], nn.Module],
    data: Dataset | str | Path,
    *,
    stds: Sequence[float] = (),
    schemes: Sequence[Scheme | str | Mapping[str, Any]] = (),
    optimizers: Sequence[Mapping[str, Any]] = ({"name": "SGD", "lr": 0.1},),
    seeds: int = 1,
    epochs: int = 1,
    batch_size: int = 32,
    loss_points: int = 25,
    progress: bool = True,
) -> pd.DataFrame:
    """Train a module of your own with every initialization, optimizer and seed.

    One network is trained after another: nothing is batched, kept or resumed, and only the loss and
    the accuracy are measured. For MLPs :func:`initscope.sweep.run_sweep` does the same many times
    faster.

    Parameters
    ----------
    build
        Function that returns the module, which maps inputs to class scores.
    data
        A :class:`~initscope.data.Dataset`, also your own (:func:`initscope.data.load_columns`); the
        name of one; or an .npz file (:func:`initscope.data.load_arrays`).
    stds
        Standard deviations of all weight matrices, each with zero biases.
    schemes
        Further initializations: names of :data:`initscope.theory.SCHEMES`, or, with options,
        :class:`initscope.init.Scheme` or a mapping. With neither `stds` nor `schemes`, what `build`
        returns is trained as it is, under the name ``as built``.
    optimizers
        Mappings with the ``name`` of a class of :mod:`torch.optim`, and its options.
    seeds
        How many. A seed decides what `build` and the initialization draw, the order of the
        examples and, where a data set is named, its split.
    epochs, batch_size
        Passes over the training examples, and examples of an update. A last, incomplete batch of an
        epoch is left out.
    loss_points
        How many points of the training loss are recorded; each is the mean over the updates since
        the one before.
    progress
        Whether a bar is shown.

    Returns
    -------
    pandas.DataFrame
        One row a network: ``scheme, std, seed, optimizer, learning_rate, diverged_step, train_loss,
        test_loss, test_accuracy, loss_step, loss``, as in :func:`initscope.sweep.run_sweep`.

    Raises
    ------
    UsageError
        Data or options that do not fit; `build` returns no module, or one without class scores.

    Examples
    --------
    >>> table = sweep_modules(
    ...     lambda: nn.Sequential(nn.Linear(13, 8), nn.ReLU(), nn.Linear(8, 3)), "wine",
    ...     stds=[0.3], schemes=["kaiming"], optimizers=[{"name": "NAdam", "lr": 0.01}],
    ...     epochs=5, progress=False,
    ... )
    >>> table[["scheme", "optimizer"]].to_numpy().tolist()
    [['normal', 'NAdam'], ['kaiming', 'NAdam']]
    """
    checks.function("build", build)
    loaded = _data_of(data, 0)
    initializations: list[Scheme | None] = [
        Scheme("normal", {"std": checks.weight_std("stds: each", std)})
        for std in checks.items("stds", stds)
    ]
    initializations += [Scheme.of(scheme) for scheme in checks.items("schemes", schemes)]
    chosen = checks.items("optimizers", optimizers, 1)
    for one in chosen:
        checks.mapping("optimizers: each", one, "a name and options")
        require("name" in one, f"optimizers must hold mappings with a name, not {shown(one)}.")
        require(
            all(isinstance(option, str) for option in one),
            f"optimizers must hold options by name, not {shown(one)}.",
        )
    n_seeds, n_epochs = whole("seeds", seeds, at_most=MOST), whole("epochs", epochs, at_most=MOST)
    n_points = whole("loss_points", loss_points, at_most=MOST)
    checks.flag("progress", progress)
    require(
        whole("batch_size", batch_size) <= len(loaded.train_labels),
        f"batch_size is {batch_size}, but only {len(loaded.train_labels)} examples are there.",
    )
    rows = []
    cases = list(itertools.product(range(n_seeds), chosen, initializations or [None]))
    for seed, optimizer, scheme in tqdm(cases, desc="modules", disable=not progress):
        own = loaded if not isinstance(data, str) else _data_of(data, seed)
        row = _train(build, own, scheme, optimizer, seed, n_epochs, batch_size, n_points)
        rows.append(row)
    table = pd.DataFrame(rows)
    table["diverged_step"] = table["diverged_step"].astype("Int64")
    return table


def _data_of(data: object, seed: int) -> Dataset:
    if isinstance(data, Dataset):
        return data
    if isinstance(data, str) and data in DATASETS:
        return load(data, 0 if data == "mnist" else seed)
    if isinstance(data, str | Path) and str(data).endswith(".npz"):
        return load_arrays(data)
    raise UsageError(
        f"data must be a data set, an .npz file, or one of {', '.join(DATASETS)}, not "
        f"{shown(data)}."
    )


def _train(
    build: Callable[[], nn.Module],
    data: Dataset,
    scheme: Scheme | None,
    optimizer: Mapping[str, Any],
    seed: int,
    epochs: int,
    batch_size: int,
    loss_points: int,
) -> dict[str, Any]:
    """Train one network; return its row."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = checks.module("what build makes", build())
        if scheme is not None:
            initialize_(model, scheme.name, **dict(scheme.options))
        options = {name: value for name, value in optimizer.items() if name != "name"}
        parameters = [p for p in model.parameters() if p.requires_grad]
        trained = optimizer_by_name(optimizer["name"], parameters, **options)
        order = torch.Generator().manual_seed(seed)
        n_train = len(data.train_labels)
        steps = n_train // batch_size
        ends = {round(k * epochs * steps / loss_points) for k in range(1, loss_points + 1)} - {0}
        losses: list[float] = []
        loss_step: list[int] = []
        curve: list[float] = []
        diverged = None
        model.train()
        for step in range(epochs * steps):
            if step % steps == 0:
                shuffled = torch.randperm(n_train, generator=order)
            at = shuffled[(step % steps) * batch_size :][:batch_size]

            def loss_now(at: torch.Tensor = at) -> torch.Tensor:
                trained.zero_grad()
                scores = _scores(model, data.train_inputs[at], data.n_classes)
                loss = nn.functional.cross_entropy(scores, data.train_labels[at])
                loss.backward()
                return loss.detach()

            # Given as a closure, which some of torch's ask for (LBFGS).
            loss = float(trained.step(loss_now))  # type: ignore[arg-type]
            if not math.isfinite(loss) and diverged is None:
                diverged = step
            losses.append(loss)
            if step + 1 in ends:
                loss_step.append(step + 1)
                curve.append(float(np.mean(losses)))
                losses = []
        model.eval()
        with torch.no_grad():
            scores = _scores(model, data.test_inputs, data.n_classes)
        test_loss = float(nn.functional.cross_entropy(scores, data.test_labels))
        right = (scores.argmax(-1) == data.test_labels) & scores.isfinite().all(-1)
    return {
        "scheme": "as built" if scheme is None else str(scheme if scheme.std is None else "normal"),
        "std": math.nan if scheme is None or scheme.std is None else scheme.std,
        "seed": seed,
        "optimizer": optimizer["name"],
        "learning_rate": float(trained.param_groups[0]["lr"]),
        "diverged_step": diverged,
        "train_loss": curve[-1] if curve else math.nan,
        "test_loss": test_loss,
        "test_accuracy": float(right.double().mean()),
        "loss_step": loss_step,
        "loss": curve,
    }


def _scores(model: nn.Module, inputs: torch.Tensor, n_classes: int) -> torch.Tensor:
    """Return the scores of the classes, in the output of transformers too."""
    output = model(inputs)
    scores = getattr(output, "logits", output)
    require(
        isinstance(scores, torch.Tensor) and scores.dim() == 2 and scores.shape[1] >= n_classes,
        f"build must make a module that gives {n_classes} class scores an example.",
    )
    return scores
