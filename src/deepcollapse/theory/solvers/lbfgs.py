"""L-BFGS for many problems at once: one two-loop recursion and one line search, each member with its own step."""

from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Bool, Float64
from torch import Tensor

from deepcollapse.errors import OptionError
from deepcollapse.theory.problem import Problem
from deepcollapse.theory.solvers.batch import Batch, flatten, unflatten
from deepcollapse.theory.solvers.ledger import Ended, Ledger, Progress, Reason, log_spaced
from deepcollapse.theory.solvers.line_search import ROUNDING, Place, search
from deepcollapse.theory.solvers.solver import Solver, require_steps

PATIENCE = 30  # steps without any gain before a member is taken for stalled


@final
@dataclass(frozen=True)
class LBFGS(Solver):
    """Limited-memory BFGS :cite:`liu1989` with the weak Wolfe line search of :cite:`lewis2013`.

    `memory` pairs of steps and changes of the gradient stand for the Hessian. A pair without clear positive curvature
    is left out, as the models are not convex in their factors. A member stops where its gradient norm is at most
    `tolerance`, or where even steepest descent finds no lower point: at the floor of rounding, or on a kink.

    Raises OptionError for fewer than one step or pair, or a negative tolerance.

    >>> LBFGS(memory=10).steps
    2000
    """

    steps: int = 2000
    memory: int = 20
    tolerance: float = 1e-10

    def __post_init__(self) -> None:
        require_steps(self.steps, self.tolerance)
        if self.memory < 1:
            raise OptionError(f"L-BFGS needs a memory of at least 1 pair; got {self.memory}.")

    def check(self, problem: Problem) -> None:
        """Anything with an objective will do."""

    def run(self, batch: Batch, alike: tuple[Solver, ...], progress: Progress) -> list[Ended]:
        """All members at once; those that are done leave the batch."""
        place = Place.at(batch, flatten(batch.start))
        ledger, memory = Ledger(len(batch), place.x.device), _Memory.empty(self.memory, place.x)
        logs, idle = log_spaced(self.steps), torch.zeros_like(place.value)
        for step in range(self.steps):
            progress(step / self.steps)
            if step in logs:
                ledger.log(step, place.value)
            size = place.gradient.norm(dim=1).where(place.value.isfinite(), torch.nan)
            staying = ledger.sift(step, size, self.tolerance, unflatten(place.x, batch.start))
            if staying is not None:
                batch, place, memory = batch.only(staying), place.only(staying), memory.only(staying)
                idle = idle[staying]
            if not len(batch):
                break
            direction = memory.direction(place.gradient)
            found, lower = search(batch, place, direction, memory.first_step(place.gradient))
            # No lower point along steepest descent: this is as far as it goes. Along another direction: forget it.
            idle = _idle(place, found, idle)
            stalled = ~lower & memory.is_empty | (idle >= PATIENCE)
            memory = memory.forget(~lower).learn(found.x - place.x, found.gradient - place.gradient)
            place = found
            if stalled.any():
                ledger.retire(stalled, "stalled", step, unflatten(place.x, batch.start))
                ledger.keep(~stalled)
                batch, place, memory = batch.only(~stalled), place.only(~stalled), memory.only(~stalled)
                idle = idle[~stalled]
        return ledger.close(self.steps, unflatten(place.x, batch.start))

    def remedy(self, reason: Reason) -> str:
        """Gradient descent where kinks are in the way."""
        if reason == "step limit":
            return f"Allow more than {self.steps} steps."
        return "Try other seeds, or GradientDescent(), which passes over kinks."


def _idle(before: Place, after: Place, idle: Float64[Tensor, " b"]) -> Float64[Tensor, " b"]:
    """Steps in a row that changed the objective by no more than rounding and did not flatten the slope either."""
    lower = after.value < before.value - ROUNDING * before.value.abs()
    flatter = after.gradient.norm(dim=1) < 0.9 * before.gradient.norm(dim=1)
    return torch.where(lower | flatter, 0.0, idle + 1)


@dataclass(frozen=True, eq=False)
class _Memory:
    """The latest steps s and changes of the gradient y, newest last, of each member.

    `weight` is 1/<s, y>, and 0 for a pair that does not count, which then leaves the recursion as it was.
    """

    s: list[Float64[Tensor, "b p"]]
    y: list[Float64[Tensor, "b p"]]
    weight: list[Float64[Tensor, " b"]]
    scale: Float64[Tensor, " b"]
    is_empty: Bool[Tensor, " b"]
    length: int

    @classmethod
    def empty(cls, length: int, x: Float64[Tensor, "b p"]) -> "_Memory":
        one = torch.ones_like(x[:, 0])
        return cls([], [], [], one, one.bool(), length)

    def direction(self, gradient: Float64[Tensor, "b p"]) -> Float64[Tensor, "b p"]:
        """Minus the inverse Hessian times the gradient, by the two-loop recursion."""
        q, shares = -gradient, []
        for s, y, weight in zip(reversed(self.s), reversed(self.y), reversed(self.weight), strict=True):
            share = weight * (s * q).sum(dim=1)
            q = torch.addcmul(q, share[:, None], y, value=-1)
            shares.append(share)
        q = q * self.scale[:, None]
        for s, y, weight, share in zip(self.s, self.y, self.weight, reversed(shares), strict=True):
            q = torch.addcmul(q, (share - weight * (y * q).sum(dim=1))[:, None], s)
        return q

    def first_step(self, gradient: Float64[Tensor, "b p"]) -> Float64[Tensor, " b"]:
        """1 where curvature is known; else a step of length 1 at most, as the gradient's scale means nothing."""
        return torch.where(self.is_empty, 1 / gradient.norm(dim=1).clamp(min=1.0), 1.0)

    def learn(self, s: Float64[Tensor, "b p"], y: Float64[Tensor, "b p"]) -> "_Memory":
        """Add a pair, for the members where it shows clear positive curvature."""
        product, square = (s * y).sum(dim=1), y.square().sum(dim=1)
        counts = product > 1e-10 * s.norm(dim=1) * square.sqrt()
        weight = torch.where(counts, 1 / product, 0.0)
        scale = torch.where(counts, product / square, self.scale)
        drop = int(len(self.s) == self.length)
        pairs = ([*self.s[drop:], s], [*self.y[drop:], y], [*self.weight[drop:], weight])
        return _Memory(*pairs, scale, self.is_empty & ~counts, self.length)

    def forget(self, which: Bool[Tensor, " b"]) -> "_Memory":
        """Start anew for the marked members."""
        weight = [w.where(~which, 0.0) for w in self.weight]
        return _Memory(self.s, self.y, weight, self.scale.where(~which, 1.0), self.is_empty | which, self.length)

    def only(self, kept: Bool[Tensor, " b"]) -> "_Memory":
        """The marked members."""
        pick = lambda parts: [part[kept] for part in parts]  # noqa: E731
        return _Memory(
            pick(self.s), pick(self.y), pick(self.weight), self.scale[kept], self.is_empty[kept], self.length
        )
