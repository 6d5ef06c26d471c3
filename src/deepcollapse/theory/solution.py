"""An answer with its evidence: how a run ended, in a word and in a sentence, and how good the point is."""

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from deepcollapse.theory.problem import Point, Problem
from deepcollapse.theory.solvers.ledger import Ended
from deepcollapse.theory.solvers.solver import Solver

Outcome = Literal["optimal", "stationary", "stalled", "step limit", "diverged"]
CERTIFIED = 1e-8  # a certificate below this counts as optimal; times the objective where that is above 1
SHARE = 1e-6  # of the objective, which may itself be below 1e-8


@dataclass(frozen=True, eq=False)
class Solution:
    """Where a solver ended on a problem from a seed, and what is known of that point.

    `outcome` is "optimal" where the problem's certificate says so and only there: its duality gap is below 1e-8 (times
    the objective where that is above 1) and below a millionth of the objective. Otherwise "stationary" (the gradient
    norm reached the solver's tolerance), "stalled" (no lower point was found), "step limit" or "diverged". `words` says
    it in a sentence. `gap` is an upper bound on how far the objective lies above the least possible one, NaN where no
    bound is known. `history` holds (step, objective) at log-spaced steps and at the end. Tensors of `point` lie on the
    CPU.
    """

    problem: Problem
    solver: Solver
    seed: int
    outcome: Outcome
    words: str
    steps: int
    objective: float
    gradient_norm: float
    gap: float
    point: Point
    history: tuple[tuple[int, float], ...]

    @property
    def solved(self) -> bool:
        """Whether a certificate says that this is the optimum."""
        return self.outcome == "optimal"

    @cached_property
    def distance(self) -> float:
        """The objective less that of the best point that theory knows, `problem.optimum()`; NaN where it knows none.

        Below 0 where the run found a lower point than is known, as descent on deep models may.
        """
        optimum = self.problem.optimum()
        return math.nan if optimum is None else self.objective - optimum.value

    @cached_property
    def geometry(self) -> dict[str, float]:
        """The point as the measures of `deepcollapse.geometry` see it; empty where the run diverged."""
        return {} if self.outcome == "diverged" else self.problem.geometry(self.point)


def concluded(
    problem: Problem, solver: Solver, seed: int, ended: Ended, objective: float, gradient_norm: float
) -> Solution:
    """Weigh the evidence: the certificate first, then how the run ended."""
    finite = math.isfinite(objective) and math.isfinite(gradient_norm) and ended.reason != "diverged"
    gap = problem.gap(ended.point) if finite else math.nan
    outcome = _outcome(ended, finite, gap, objective)
    return Solution(
        problem=problem,
        solver=solver,
        seed=seed,
        outcome=outcome,
        words=_words(outcome, ended.steps, gap, gradient_norm, solver),
        steps=ended.steps,
        objective=objective,
        gradient_norm=gradient_norm,
        gap=gap,
        point=ended.point,
        history=(*(entry for entry in ended.history if entry[0] < ended.steps), (ended.steps, objective)),
    )


def _outcome(ended: Ended, finite: bool, gap: float, objective: float) -> Outcome:
    if not finite:
        return "diverged"
    # A bound that is negative beyond rounding would be no bound: it certifies nothing.
    if abs(gap) < min(CERTIFIED * max(1.0, abs(objective)), SHARE * abs(objective)):
        return "optimal"
    return "stationary" if ended.reason == "converged" else "stalled" if ended.reason == "stalled" else "step limit"


def _words(outcome: Outcome, steps: int, gap: float, gradient_norm: float, solver: Solver) -> str:
    after = f"after {steps} step{'' if steps == 1 else 's'}"
    known = "nothing bounds how far it is from the optimum" if math.isnan(gap) else f"it may lie {gap:.1e} too high"
    slope = f"the gradient norm is {gradient_norm:.1e} {after}"
    if outcome == "optimal":
        return f"Optimal: the objective is within {max(gap, 0.0):.1e} of the least possible, {after}."
    if outcome == "stationary" and math.isnan(gap):
        return f"Stationary: {slope}, but nothing certifies that no lower point exists."
    if outcome == "stationary":
        return (
            f"Stationary, not optimal for certain: {slope}, and {known}. "
            "It may be a saddle or a local minimum: try other seeds."
        )
    if outcome == "diverged":
        return f"Diverged: the objective or its gradient was no finite number {after}. {solver.remedy('diverged')}"
    how = "no lower point was found any more" if outcome == "stalled" else "the limit of steps was reached"
    return f"Not solved: {how}; {slope}, and {known}. {solver.remedy(outcome)}"
