"""Gradient descent with momentum and a rate that drops."""

import math
from dataclasses import dataclass, replace
from typing import Literal, final

import torch
from torch import Tensor

from deepcollapse.errors import OptionError
from deepcollapse.theory.problem import Point, Problem
from deepcollapse.theory.solvers.batch import Batch, norms, require_gradient, select
from deepcollapse.theory.solvers.ledger import Ended, Ledger, Progress, Reason, log_spaced
from deepcollapse.theory.solvers.solver import Solver, require_steps

LOOK_EVERY = 100  # steps between looks at whether a member converged or diverged: looks wait for the device


@final
@dataclass(frozen=True)
class GradientDescent(Solver):
    """v <- momentum v + gradient; x <- x - rate v, as torch.optim.SGD has it :cite:`polyak1964`.

    `drops` are (share, factor): from that share of the steps on, the rate is multiplied by that factor. A member stops
    where its gradient norm is at most `tolerance`. `gradient` is "autograd", or "by hand" for problems that bring
    their own, a third cheaper and the same to rounding. Solvers that differ in `rate` alone run as one batch.

    Raises OptionError for a rate that is not above 0, a momentum outside [0, 1), drops that are no such pairs, fewer
    than one step, or a negative tolerance.

    >>> GradientDescent(rate=0.5, momentum=0.0, steps=1000, drops=()).rate
    0.5
    """

    rate: float = 0.1
    momentum: float = 0.9
    steps: int = 20_000
    drops: tuple[tuple[float, float], ...] = ((0.8, 0.1),)
    tolerance: float = 1e-10
    gradient: Literal["autograd", "by hand"] = "autograd"

    def __post_init__(self) -> None:
        require_steps(self.steps, self.tolerance)
        if not 0 < self.rate < math.inf:
            raise OptionError(f"the learning rate must be above 0, and finite; got {self.rate:g}.")
        if not 0 <= self.momentum < 1:
            raise OptionError(f"momentum must be at least 0 and below 1; got {self.momentum:g}.")
        if not all(0 < share < 1 and 0 < factor < math.inf for share, factor in self.drops):
            raise OptionError(
                "a drop is (share of the steps, factor on the rate), with a share between 0 and 1 and a factor above "
                f"0; got {self.drops}."
            )

    def check(self, problem: Problem) -> None:
        """By hand only what brings its gradient."""
        if self.gradient == "by hand":
            require_gradient(problem)

    def program(self) -> tuple[object, ...]:
        """All but the rate."""
        return (replace(self, rate=1.0),)

    def run(self, batch: Batch, alike: tuple[Solver, ...], progress: Progress) -> list[Ended]:
        """Step all members at once, looking every hundred steps which of them are done."""
        descent = _Descent(self, batch, [s.rate for s in alike if isinstance(s, GradientDescent)])
        looks = log_spaced(self.steps)
        for step in range(self.steps):
            gradient = descent.gradient()
            if step in looks or step % LOOK_EVERY == 0:
                gradient = descent.look(step, gradient, step in looks)
                progress(step / self.steps)
                if not len(descent.batch):
                    break
            descent.advance(gradient, step)
        return descent.ledger.close(self.steps, descent.point)

    def remedy(self, reason: Reason) -> str:
        """A lower rate, or more steps."""
        if reason == "diverged":
            return f"Lower the learning rate (now {self.rate:g})."
        return f"Allow more than {self.steps} steps, or use L-BFGS."


class _Descent:
    """One run under way: the members that still move."""

    def __init__(self, solver: GradientDescent, batch: Batch, rates: list[float]) -> None:
        self.solver, self.batch = solver, batch
        self.point = {name: tensor.clone() for name, tensor in batch.start.items()}
        self.velocity = {name: torch.zeros_like(tensor) for name, tensor in batch.start.items()}
        self.device = next(iter(batch.start.values())).device
        # One number is quicker to multiply by than one a member.
        self.rates = rates[0] if len(set(rates)) == 1 else torch.tensor(rates, dtype=torch.float64, device=self.device)
        self.ledger = Ledger(len(batch), self.device)

    def gradient(self) -> Point:
        """At the present point; the objective that autograd has computed on the way is kept for a look."""
        by_hand = self.solver.gradient == "by hand"
        self.values, gradient = self.batch.by_hand(self.point) if by_hand else self.batch.autograd(self.point)
        return gradient

    def advance(self, gradient: Point, step: int) -> None:
        """Two passes over memory a variable: the velocity, then the point."""
        factor = math.prod(f for share, f in self.solver.drops if step >= share * self.solver.steps)
        for name, moved in self.point.items():
            velocity = self.velocity[name]
            torch.add(gradient[name], velocity, alpha=self.solver.momentum, out=velocity)
            if isinstance(self.rates, Tensor):
                moved.sub_(velocity * (factor * self.rates).view(-1, *[1] * (moved.dim() - 1)))
            else:
                moved.sub_(velocity, alpha=factor * self.rates)

    def look(self, step: int, gradient: Point, log: bool) -> Point:
        """Retire who converged or diverged; returns the gradient of those that go on."""
        if log:
            self.ledger.log(step, self.batch.value(self.point) if self.values is None else self.values)
        staying = self.ledger.sift(step, norms(gradient), self.solver.tolerance, self.point)
        if staying is None:
            return gradient
        self.point, self.velocity = select(self.point, staying), select(self.velocity, staying)
        self.batch = self.batch.only(staying)
        if isinstance(self.rates, Tensor):
            self.rates = self.rates[staying]
        return select(gradient, staying)
