"""Say what share of a model's weights is followed, and what is left out."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from torch import nn

from initscope.models.places import VECTOR_KINDS
from initscope.tracking.matrices import WeightMatrix, unwrapped
from initscope.tracking.roles import find_weights
from initscope.tracking.shards import flat_pieces

__all__ = ["Coverage"]

ENOUGH = 0.99  # of the weights: below it the line is a warning


@dataclass(frozen=True)
class Coverage:
    """Share of a model's weights that is followed, and the rest by name; its `str` is one line.

    Attributes
    ----------
    model
        Name of the model's class.
    n_matrices
        Matrices that are followed.
    followed
        Number of weights in them.
    weights
        Number of weights of the model: elements of its parameters, but for gains of norms and
        biases.
    frozen
        How many of the weights that are followed are not trained.
    left
        Number of weights that are not followed, by parameter.
    vectors
        Number of gains and biases that are not followed.
    coarse, coarse_steps
        Roles of matrices that are measured less often than the others, and when they are.
    without_product
        Matrices of low-rank adapters whose product with the other one is not measured.

    Examples
    --------
    >>> from initscope.models import MLP
    >>> from initscope.tracking import VarianceTracker
    >>> print(VarianceTracker(MLP([4, 3, 2])).coverage)
    2 matrices hold 100% of the 18 weights of MLP; its 5 gains and biases are not followed.
    """

    model: str
    n_matrices: int
    followed: int
    weights: int
    frozen: int = 0
    left: dict[str, int] = field(default_factory=dict)
    vectors: int = 0
    coarse: tuple[str, ...] = ()
    coarse_steps: str = ""
    without_product: tuple[str, ...] = ()

    @property
    def share(self) -> float:
        """Weights that are followed, as a share of all."""
        return self.followed / self.weights if self.weights else 1.0

    def __str__(self) -> str:
        """Return one line."""
        share = f"{self.share:.3g}" if self.share == 1 else f"{self.share:.4f}"
        line = (
            f"{self.n_matrices} matrices hold {100 * float(share):.4g}% of the {self.weights:,} "
            f"weights of {self.model}"
        )
        if self.frozen:
            line += f" ({self.frozen / self.followed:.1%} of these frozen)"
        if self.left:
            first = max(self.left, key=self.left.__getitem__)
            others = f" and {len(self.left) - 1} more" if len(self.left) > 1 else ""
            line += f"; left out: {first}{others} (matrices='all' follows every weight)"
        if self.vectors:
            line += f"; its {self.vectors:,} gains and biases are not followed"
        if self.coarse:
            line += f"; {' and '.join(self.coarse)} {self.coarse_steps}"
        if self.without_product:
            first, *rest = self.without_product
            others = f" and {len(rest)} more" if rest else ""
            line += f"; the product of {first}{others} with its other half is not measured"
        return f"{line}."


def find_coverage(model: nn.Module, matrices: Sequence[WeightMatrix]) -> Coverage:
    """Return what share of the weights of `model` is in `matrices`."""
    pieces = flat_pieces(model)
    model = unwrapped(model)
    kinds = {id(weight.parameter): weight.place.kind for weight in find_weights(model, pieces)}
    in_matrices: Counter[int] = Counter()
    for matrix in matrices:
        in_matrices[id(matrix.parameter)] += matrix.n_elements
    followed = weights = frozen = vectors = 0
    left = {}
    for name, parameter in model.named_parameters():
        if not parameter.is_floating_point():
            continue
        piece = pieces.get(id(parameter))
        n = math.prod(piece.shape) if piece else parameter.numel()
        known = in_matrices[id(parameter)]
        if kinds.get(id(parameter)) in VECTOR_KINDS:
            vectors += n - known
            continue
        weights += n
        followed += known
        frozen += 0 if parameter.requires_grad else known
        if known < n:
            left[name] = n - known
    return Coverage(type(model).__name__, len(matrices), followed, weights, frozen, left, vectors)
