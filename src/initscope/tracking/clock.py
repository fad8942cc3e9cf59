"""Say at which steps which matrices are measured."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import nn

from initscope.tracking.arguments import StepSchedule, are_among, coarser_schedule, step_schedule
from initscope.tracking.statistics import LARGE, MatrixGroup

__all__: list[str] = []  # for this package alone


class Clock:
    """The steps that are due, and the coarser ones of embeddings and an output layer.

    Attributes
    ----------
    every, closer
        Whether all is measured at a step, and whether its distribution is looked at closely.
    coarse, how_often
        Parameters that are measured less often than the others, and when they are.
    """

    def __init__(
        self,
        groups: Sequence[MatrixGroup],
        every: StepSchedule,
        distribution_every: StepSchedule,
        embeddings_every: StepSchedule | None,
    ) -> None:
        self.every = step_schedule("every", every)
        self.closer = step_schedule("distribution_every", distribution_every)
        self._own: Callable[[int], bool] | None = None
        if embeddings_every is not None:
            self._own = step_schedule("embeddings_every", embeddings_every)
        self.coarse: dict[nn.Parameter, MatrixGroup] = {}
        self.how_often = ""
        self._coarse_due = self.every
        vocabularies = {g.parameter: g for g in groups if _is_vocabulary(g)}
        if self._own is not None:
            if not are_among(every, embeddings_every):
                self.coarse, self._coarse_due = vocabularies, self._own
                self.how_often = "only at the steps of embeddings_every"
        elif coarser := coarser_schedule(every):
            stride, due = coarser
            self.coarse = {p: g for p, g in vocabularies.items() if g.n_elements > LARGE}
            self._coarse_due = lambda step: due(step) or self.closer(step)
            self.how_often = (
                f"only every {stride} steps and at those of distribution_every "
                f"(embeddings_every={every} for as often as the rest)"
            )

    @property
    def note(self) -> dict[str, object]:
        """What a reader of the record has to know: the layers and roles of what is coarse."""
        if not self.coarse:
            return {}
        coarse = [(g.matrices[0].layer, g.matrices[0].role) for g in self.coarse.values()]
        return {"coarse": coarse, "coarse_steps": self.how_often}

    def due(self, step: int) -> bool:
        """Return whether anything is measured at a step."""
        own = self._own is not None and self._own(step)
        return self.every(step) or self.closer(step) or own

    def followed(self, groups: Sequence[MatrixGroup], step: int) -> list[MatrixGroup]:
        """Return which of these are measured at a step that is due."""
        if not self.coarse or self._coarse_due(step):
            return list(groups)
        return [group for group in groups if group.parameter not in self.coarse]


def _is_vocabulary(group: MatrixGroup) -> bool:
    """Return whether a parameter has a row for each token: an embedding, or the output layer."""
    first = group.matrices[0]
    return isinstance(first.module, torch.nn.Embedding) or first.role == "output"
