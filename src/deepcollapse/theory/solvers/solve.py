"""A problem and a solver in, a solution with its evidence out; or many of them as one tensor program."""

import math
from collections.abc import Iterator, Sequence
from itertools import chain

import torch

from deepcollapse.errors import OptionError
from deepcollapse.theory.problem import Problem
from deepcollapse.theory.solution import Solution, concluded
from deepcollapse.theory.solvers.batch import Batch, norms
from deepcollapse.theory.solvers.ledger import Progress
from deepcollapse.theory.solvers.solver import Solver

Member = tuple[Problem, Solver, int]
"""A problem, what solves it, and the seed of its start."""
# Numbers in the points of one batch on a CPU: what stays in its cache beside gradient and velocity. Deep models of
# width 20, 30 and 60 stepped fastest per member at 64, 32 and 8 members at once, all of them near this size.
CACHED_NUMBERS = 100_000
FEWEST_TOGETHER = 8


def solve(problem: Problem, solver: Solver, seed: int = 0, *, device: str | torch.device | None = None) -> Solution:
    """The problem solved from one random start; see `Solution` for what comes back.

    Raises OptionError where the problem lacks what the solver needs. A solve that fails is no error: its outcome and
    words say so.

    >>> from deepcollapse.theory.problems.unconstrained import UnconstrainedFeatures
    >>> from deepcollapse.theory.solvers import LBFGS
    >>> solution = solve(UnconstrainedFeatures(3, 2, weight_decay=0.01, feature_decay=0.01), LBFGS(), seed=0)
    >>> solution.outcome, abs(solution.distance) < 1e-12
    ('optimal', True)
    """
    return solve_many([problem], solver, [seed], device=device)[0]


def solve_many(
    problems: Sequence[Problem],
    solver: Solver | Sequence[Solver],
    seeds: Sequence[int],
    *,
    device: str | torch.device | None = None,
    progress: Progress | None = None,
) -> list[Solution]:
    """Every problem from every seed: the solutions of the first problem by seed, then of the second, and so on.

    Problems of one program (a model in one size; decays may differ) run as one tensor program, and so do solvers that
    differ in what may differ (the rate of gradient descent): pass one solver for all, or one for each. Each member
    ends as it would have ended alone, with the same seed and to rounding. On a CPU the members run in batches that
    its cache holds. `progress` is called with the share of all steps that is done.

    Raises OptionError for no problems or no seeds, a number of solvers that is not that of the problems, problems or
    solvers that cannot run together, and where a problem lacks what its solver needs.

    >>> from deepcollapse.theory.problems.unconstrained import UnconstrainedFeatures
    >>> from deepcollapse.theory.solvers import LBFGS
    >>> problems = [UnconstrainedFeatures(3, 2, weight_decay=decay, feature_decay=0.01) for decay in (0.01, 0.1)]
    >>> [solution.outcome for solution in solve_many(problems, LBFGS(), seeds=range(2))]
    ['optimal', 'optimal', 'optimal', 'optimal']
    """
    _refuse_kinds(problems, solver, seeds)
    solvers = [solver] * len(problems) if isinstance(solver, Solver) else list(solver)
    if len(solvers) != len(problems):
        raise OptionError(
            f"pass one solver for all problems or one each; got {len(solvers)} solvers for {len(problems)} problems."
        )
    members = [(p, s, seed) for p, s in zip(problems, solvers, strict=True) for seed in seeds]
    if not members:
        missing = "seed" if problems else "problem"
        raise OptionError(f"there is nothing to solve: no {missing} was given. Pass at least one.")
    return list(chain.from_iterable(in_batches(members, device=device, progress=progress)))


def in_batches(
    members: Sequence[Member], *, device: str | torch.device | None = None, progress: Progress | None = None
) -> Iterator[list[Solution]]:
    """The solutions of `solve_many`, in its order and with its errors, as soon as each batch is done."""
    _refuse(members)
    place = torch.device(device or "cpu")
    size = _together(members[0][0], len(members), place)
    for begin in range(0, len(members), size):
        part = members[begin : begin + size]

        def told(share: float, begin: int = begin, count: int = len(part)) -> None:
            if progress is not None:
                progress((begin + count * share) / len(members))

        yield _solve_batch(part, place, told)
        told(1.0)


def _solve_batch(members: Sequence[Member], device: torch.device, progress: Progress) -> list[Solution]:
    batch = Batch.of([(problem, seed) for problem, _, seed in members], device)
    ends = members[0][1].run(batch, tuple(solver for _, solver, _ in members), progress)
    final = {name: torch.stack([end.point[name] for end in ends]).to(device) for name in batch.start}
    values, gradient = batch.autograd(final)
    assert values is not None
    each = zip(members, ends, values.tolist(), norms(gradient).tolist(), strict=True)
    return [concluded(*member, end, value, norm) for member, end, value, norm in each]


def _together(problem: Problem, members: int, device: torch.device) -> int:
    """How many members to run at once: all, or on a CPU even parts near what its cache holds."""
    if device.type != "cpu":
        return members
    numbers = sum(torch.Size(shape).numel() for shape in problem.shapes().values())
    most = max(FEWEST_TOGETHER, CACHED_NUMBERS // numbers)
    return math.ceil(members / max(1, round(members / most)))


def _refuse_kinds(problems: object, solver: object, seeds: object) -> None:
    """What people pass by mistake, which would fail further down in words that tell them nothing."""
    solvers = solver if isinstance(solver, list | tuple) else [solver]
    if wrong := next((one for one in solvers if not isinstance(one, Solver)), None):
        raise OptionError(f"a solver is a value such as LBFGS() or GradientDescent(rate=0.1); got {wrong!r}.")
    given = problems if isinstance(problems, list | tuple) else [problems]
    if wrong := next((one for one in given if not isinstance(one, Problem)), None):
        raise OptionError(f"a problem is a model that descent can solve, such as UnconstrainedFeatures; got {wrong!r}.")
    if not isinstance(problems, Sequence) or not isinstance(seeds, Sequence):
        raise OptionError(
            "solve_many takes a list of problems and a list of seeds, such as range(8); for one problem and one seed "
            "use solve(problem, solver, seed)."
        )


def _refuse(members: Sequence[Member]) -> None:
    for kind, all_of in (("problems", [m[0] for m in members]), ("solvers", [m[1] for m in members])):
        if other := next((one for one in all_of if one.program() != all_of[0].program()), None):
            raise OptionError(
                f"{kind} of different programs cannot run as one batch: {all_of[0]} and {other}. "
                "Solve them in a call of their own each."
            )
    for problem, solver, _ in members:
        solver.check(problem)
