"""Exact minimisation over one block of variables after the other, for problems that offer it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol, final, runtime_checkable

from torch import Tensor

from deepcollapse.errors import OptionError
from deepcollapse.theory.problem import Point, Problem
from deepcollapse.theory.solvers.batch import Batch, norms, select
from deepcollapse.theory.solvers.ledger import Ended, Ledger, Progress, Reason, log_spaced
from deepcollapse.theory.solvers.solver import Solver, require_steps

LOOK_EVERY = 10


@runtime_checkable
class Sweepable(Protocol):
    """A problem whose blocks of variables can each be minimised over exactly while the others stand still."""

    def sweep(self, point: Mapping[str, Tensor], coefficients: Mapping[str, Tensor]) -> Point:
        """Each block in turn, for every member of a batch; the objective never rises."""
        ...


@final
@dataclass(frozen=True)
class Alternating(Solver):
    """Sweep after sweep over the blocks, until the gradient norm is at most `tolerance`.

    For unconstrained features with squared loss each block is a ridge regression. Raises OptionError for fewer than
    one step or a negative tolerance.

    >>> Alternating(steps=500).steps
    500
    """

    steps: int = 10_000
    tolerance: float = 1e-10

    def __post_init__(self) -> None:
        require_steps(self.steps, self.tolerance)

    def check(self, problem: Problem) -> None:
        """Only what can be swept."""
        if not isinstance(problem, Sweepable):
            raise OptionError(
                f"{type(problem).__name__} offers no exact minimisation over one block of variables at a time; use "
                "LBFGS() or GradientDescent()."
            )

    def run(self, batch: Batch, alike: tuple[Solver, ...], progress: Progress) -> list[Ended]:
        """Sweep all members at once, looking every ten sweeps which of them are done."""
        point, logs = batch.start, log_spaced(self.steps)
        ledger = Ledger(len(batch), next(iter(point.values())).device)
        for step in range(self.steps):
            if step in logs or step % LOOK_EVERY == 0:
                values, gradient = batch.autograd(point)
                assert values is not None
                if step in logs:
                    ledger.log(step, values)
                staying = ledger.sift(step, norms(gradient), self.tolerance, point)
                if staying is not None:
                    point, batch = select(point, staying), batch.only(staying)
                progress(step / self.steps)
                if not len(batch):
                    break
            assert isinstance(batch.problem, Sweepable)
            point = batch.problem.sweep(point, batch.coefficients)
        return ledger.close(self.steps, point)

    def remedy(self, reason: Reason) -> str:
        """More sweeps, or another method."""
        return f"Allow more than {self.steps} steps, or use L-BFGS."
