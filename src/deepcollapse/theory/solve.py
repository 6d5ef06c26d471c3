"""A problem and a solver in, a solution with its evidence out; or many of them as one tensor program."""

import math
from collections.abc import Sequence

import torch

from deepcollapse.errors import OptionError
from deepcollapse.theory.problem import Problem
from deepcollapse.theory.solution import Solution, concluded
from deepcollapse.theory.solvers.batch import Batch, norms
from deepcollapse.theory.solvers.ledger import Progress
from deepcollapse.theory.solvers.solver import Solver

# Numbers in the points of one batch on a CPU: what stays in its cache beside gradient and velocity. Deep models of
# width 20, 30 and 60 stepped fastest per member at 64, 32 and 8 members at once, all of them near this size.
CACHED_NUMBERS = 100_000
FEWEST_TOGETHER = 8


def solve(problem: Problem, solver: Solver, seed: int = 0, *, device: str | torch.device | None = None) -> Solution:
    """The problem solved from one random start; see `Solution` for what comes back.

    Raises OptionError where the problem lacks what the solver needs. A solve that fails is no error: its outcome and
    words say so.
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

    Raises OptionError for no problems or no seeds, problems or solvers that cannot run together, as many solvers as
    there are not problems, and where a problem lacks what its solver needs.
    """
    solvers = [solver] * len(problems) if isinstance(solver, Solver) else list(solver)
    _refuse(problems, solvers, seeds)
    members = [(p, s, seed) for p, s in zip(problems, solvers, strict=True) for seed in seeds]
    place = torch.device(device or "cpu")
    size = _together(problems[0], len(members), place)
    solutions: list[Solution] = []
    for begin in range(0, len(members), size):
        part = members[begin : begin + size]

        def told(share: float, begin: int = begin, count: int = len(part)) -> None:
            if progress is not None:
                progress((begin + count * share) / len(members))

        solutions += _solve_batch(part, place, told)
        told(1.0)
    return solutions


def _solve_batch(
    members: Sequence[tuple[Problem, Solver, int]], device: torch.device, progress: Progress
) -> list[Solution]:
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


def _refuse(problems: Sequence[Problem], solvers: Sequence[Solver], seeds: Sequence[int]) -> None:
    if not problems or not seeds:
        missing = "problem" if not problems else "seed"
        raise OptionError(f"there is nothing to solve: no {missing} was given. Pass at least one.")
    if len(solvers) != len(problems):
        raise OptionError(
            f"pass one solver for all problems or one each; got {len(solvers)} solvers for {len(problems)} problems."
        )
    for kind, all_of in (("problems", problems), ("solvers", solvers)):
        if other := next((o for o in all_of if o.program() != all_of[0].program()), None):
            raise OptionError(
                f"{kind} of different programs cannot run as one batch: {all_of[0]} and {other}. "
                "Solve them in a call of their own each."
            )
    for problem, solver in zip(problems, solvers, strict=True):
        solver.check(problem)
