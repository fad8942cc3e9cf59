"""A pretraining run whose growth of weights is split by where it comes from, at every update."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
import torch
from torch.utils.data import DataLoader, Subset

from initscope.data.passages import Passages, ShuffledPassages
from initscope.pretrain.plan import plan_training
from initscope.pretrain.run import load_spec_text
from initscope.pretrain.spec import PretrainSpec
from initscope.pretrain.trainer import build_optimizer
from initscope.tracking.growth import GrowthSplit

__all__ = ["split_growth"]


def split_growth(
    spec: PretrainSpec,
    *,
    lags: Sequence[int] = (64,),
    roles: Sequence[str] = ("q", "k", "v"),
    every: int = 100,
    device: str | None = None,
) -> pd.DataFrame:
    """Train a specification and return the parts of the growth of its matrices, in windows.

    Initial weights, passages, rates and clipping are those of :func:`initscope.pretrain.pretrain`,
    in float32. There are no evaluations, tables and checkpoints: if it is stopped, it starts again.

    Parameters
    ----------
    spec
        What to train. What it says of tracking, logging and evaluation is not used.
    lags, roles, every
        As in :class:`initscope.tracking.GrowthSplit`.
    device
        ``"cpu"`` or ``"cuda"``; by default the GPU if there is one.

    Returns
    -------
    pandas.DataFrame
        As :meth:`initscope.tracking.GrowthSplit.to_frame`.

    Raises
    ------
    UsageError
        As :func:`initscope.pretrain.pretrain`, before training, and as
        :class:`initscope.tracking.GrowthSplit`.

    Examples
    --------
    >>> spec = PretrainSpec(text="stdlib", preset="nano12", n_layer=1, steps=4)
    >>> split_growth(spec, every=4, device="cpu")["role"].tolist()
    ['q', 'k', 'v']
    """
    where = plan_training(spec, device, "float32", None, False, None).device
    text = load_spec_text(spec)
    model = spec.build_model()
    model.to(where)
    optimizer, scheduler = build_optimizer(spec, model)
    split = GrowthSplit(model, optimizer, lags=lags, roles=roles, every=every)
    passages = Passages(text.train, spec.context)
    order = ShuffledPassages(passages, spec.steps * spec.batch_size, spec.seed)
    for batch in DataLoader(Subset(order, range(len(order))), batch_size=spec.batch_size):
        loss = model(**{name: tokens.to(where) for name, tokens in batch.items()}).loss
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), spec.clip)
        optimizer.step()
        split.after_optimizer_step()
        scheduler.step()
    return split.to_frame()
