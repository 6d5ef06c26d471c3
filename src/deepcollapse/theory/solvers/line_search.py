"""A step along a direction, for every member of a batch with its own length."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float64
from torch import Tensor

from deepcollapse.theory.solvers.batch import Batch, flatten, unflatten

DECREASE, CURVATURE = 1e-4, 0.9  # the usual constants of the Wolfe conditions
TRIALS = 40
ROUNDING = 2e-15  # relative to the objective: differences below are taken for rounding


@dataclass(frozen=True, eq=False)
class Place:
    """A point with its objective and gradient, all variables of a member in one row."""

    x: Float64[Tensor, "b p"]
    value: Float64[Tensor, " b"]
    gradient: Float64[Tensor, "b p"]

    @classmethod
    def at(cls, batch: Batch, x: Float64[Tensor, "b p"]) -> "Place":
        """Evaluate the members of a batch."""
        value, gradient = batch.autograd(unflatten(x, batch.start))
        assert value is not None
        return cls(x, value, flatten(gradient))

    def only(self, kept: Bool[Tensor, " b"]) -> "Place":
        """The marked members."""
        return Place(self.x[kept], self.value[kept], self.gradient[kept])

    def replaced(self, where: Bool[Tensor, " b"], by: "Place") -> "Place":
        """The marked members moved to the places `by`, one each."""
        parts = [(self.x, by.x), (self.value, by.value), (self.gradient, by.gradient)]
        return Place(*(old.masked_scatter(where.view(-1, *[1] * (old.dim() - 1)), new) for old, new in parts))


def search(
    batch: Batch, place: Place, direction: Float64[Tensor, "b p"], first: Float64[Tensor, " b"]
) -> tuple[Place, Bool[Tensor, " b"]]:
    """Where to go on, and who found a lower point there; the others stay where they are.

    Bisects on the weak Wolfe conditions :cite:`lewis2013`: a step too long to decrease enough becomes the upper end,
    one too short to flatten the slope the lower end; with no upper end yet, the step doubles. Where a decrease drowns
    in rounding the slopes alone decide, as in :cite:`hager2005`.
    """
    slope = (place.gradient * direction).sum(dim=1)
    step, low, high = first.clone(), torch.zeros_like(first), torch.full_like(first, torch.inf)
    found, lower, open_ = place, torch.zeros_like(slope, dtype=torch.bool), slope < 0
    for _ in range(TRIALS):
        if not open_.any():
            break
        here, along, t, s = place.only(open_), direction[open_], step[open_], slope[open_]
        trial = Place.at(batch.only(open_), here.x + t[:, None] * along)
        new = (trial.gradient * along).sum(dim=1)
        slack = ROUNDING * here.value.abs()
        decreased = trial.value <= here.value + DECREASE * t * s
        decreased |= (trial.value <= here.value + slack) & (new <= (2 * DECREASE - 1) * s)
        flattened = new >= CURVATURE * s
        good = decreased & new.isfinite()
        found = found.replaced(_within(open_, good), trial.only(good))
        lower = lower | _within(open_, good)
        low = low.masked_scatter(open_, torch.where(good, t, low[open_]))
        high = high.masked_scatter(open_, torch.where(good, high[open_], t))
        open_ = _within(open_, ~(good & flattened))
        step = torch.where(high.isinf(), 2 * low, (low + high) / 2)
    return found, lower


def _within(outer: Bool[Tensor, " b"], inner: Bool[Tensor, " m"]) -> Bool[Tensor, " b"]:
    """Marks among the marked, as marks among all."""
    return outer.masked_scatter(outer, inner)
