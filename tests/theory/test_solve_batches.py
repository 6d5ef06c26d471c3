"""Many at once: each member ends as it would alone, whatever becomes of the others."""

from dataclasses import replace

import pytest
from factorisation import Factorisation, assert_near

from deepcollapse.theory.solvers import LBFGS, Alternating, GradientDescent
from deepcollapse.theory.solvers import solve as solving
from deepcollapse.theory.solvers.solve import solve, solve_many

PROBLEMS = tuple(Factorisation(decay=decay, values=values) for decay in (0.1, 0.7, 4.0) for values in [(3.0, 2.0, 1.0)])
PLAIN = GradientDescent(rate=0.1, momentum=0.5, steps=2000, tolerance=1e-6)
SOLVERS = (PLAIN, replace(PLAIN, gradient="by hand"), LBFGS(), Alternating())


def assert_same(a, b, atol=1e-12):
    assert (a.outcome, a.steps, a.seed, a.problem) == (b.outcome, b.steps, b.seed, b.problem)
    assert_near(a.point, b.point, atol)
    assert [step for step, _ in a.history] == [step for step, _ in b.history]


@pytest.mark.parametrize("solver", SOLVERS, ids=str)
def test_a_member_is_the_single_run_with_its_seed(solver):
    together = solve_many(PROBLEMS, solver, range(4))
    assert [(s.problem, s.seed) for s in together] == [(p, seed) for p in PROBLEMS for seed in range(4)]
    # Members take different numbers of steps, so some leave while others go on.
    assert len({s.steps for s in together}) > 1
    for solution in together:
        assert_same(solution, solve(solution.problem, solver, solution.seed), atol=1e-9)


@pytest.mark.parametrize("solver", [*SOLVERS[:2], LBFGS()], ids=str)
def test_a_member_that_diverges_leaves_the_others_as_they_are(solver):
    # A start so large that its gradient overflows; the others must not notice.
    wild = Factorisation(start_scale=1e120)
    with_it = solve_many([PROBLEMS[0], wild, PROBLEMS[1]], solver, range(3))
    without = solve_many([PROBLEMS[0], PROBLEMS[1]], solver, range(3))
    assert {s.outcome for s in with_it[3:6]} == {"diverged"}
    for a, b in zip(with_it[:3] + with_it[6:], without, strict=True):
        assert a.outcome in ("optimal", "stationary")
        assert_same(a, b)


@pytest.mark.parametrize("gradient", ["autograd", "by hand"])
def test_rates_of_one_batch_may_differ(gradient):
    rates = (0.01, 0.05, 10.0, 0.1)
    solvers = [GradientDescent(rate=rate, steps=700, gradient=gradient) for rate in rates]
    together = solve_many([Factorisation()] * 4, solvers, [0, 1])
    assert [s.solver for s in together] == [solver for solver in solvers for _ in range(2)]
    assert [s.outcome == "diverged" for s in together] == [False] * 4 + [True] * 2 + [False] * 2
    for solution in together[:4] + together[6:]:
        assert_same(solution, solve(Factorisation(), solution.solver, solution.seed))


def test_batches_are_cut_to_what_a_cache_holds_and_nothing_changes(monkeypatch):
    whole = solve_many(PROBLEMS, LBFGS(), range(5))
    monkeypatch.setattr(solving, "FEWEST_TOGETHER", 3)
    monkeypatch.setattr(solving, "CACHED_NUMBERS", 100)
    seen = []
    cut = solve_many(PROBLEMS, LBFGS(steps=2000), range(5), progress=seen.append)
    for a, b in zip(whole, cut, strict=True):
        assert_same(a, b, atol=1e-9)
    assert seen == sorted(seen)
    assert (seen[0], seen[-1]) == (0.0, 1.0)
    assert {batch / 15 for batch in (0, 4, 8, 12)} < set(seen)


def test_history_holds_each_members_own_objectives():
    together = solve_many(PROBLEMS, GradientDescent(rate=0.05), [7, 8])
    for solution in together:
        alone = solve(solution.problem, solution.solver, solution.seed)
        assert dict(solution.history) == pytest.approx(dict(alone.history), abs=1e-12)


def test_starts_depend_on_the_seed_alone():
    first, again, other = (solve(Factorisation(), LBFGS(steps=1), seed=seed) for seed in (4, 4, 5))
    assert first.history[0] == again.history[0] != other.history[0]
