"""What a solver is: a frozen value that says how to go down, whatever the problem."""

import math
from abc import ABC, abstractmethod

from deepcollapse.errors import OptionError
from deepcollapse.theory.problem import Problem
from deepcollapse.theory.solvers.batch import Batch
from deepcollapse.theory.solvers.ledger import Ended, Progress, Reason


class Solver(ABC):
    """A method with its settings. It knows problems by their interface only, and has no state between runs."""

    @abstractmethod
    def check(self, problem: Problem) -> None:
        """Raise OptionError where the problem lacks what the method needs."""

    @abstractmethod
    def run(self, batch: Batch, alike: tuple["Solver", ...], progress: Progress) -> list[Ended]:
        """Take every member from its start to its end. `alike` is each member's solver, of this one's `program`."""

    def program(self) -> tuple[object, ...]:
        """What two solvers must share for their members to run as one batch: everything, unless a method says else."""
        return (self,)

    @abstractmethod
    def remedy(self, reason: Reason) -> str:
        """What to do when a run ended for this reason without an answer: a sentence."""


def require_steps(steps: int, tolerance: float) -> None:
    """Raise OptionError unless there is at least one step and the tolerance is a number of 0 or more."""
    if steps < 1:
        raise OptionError(f"a solver needs at least 1 step; got {steps}.")
    if not 0 <= tolerance < math.inf:
        raise OptionError(f"the tolerance on the gradient norm must be 0 or more, and finite; got {tolerance:g}.")
