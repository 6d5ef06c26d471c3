"""One problem, one solver, one seed: every method finds the closed form, and an end that is no optimum says so."""

import math

import pytest
import torch
from factorisation import Factorisation, Kink, assert_near

from deepcollapse.theory.solution import CERTIFIED
from deepcollapse.theory.solvers import LBFGS, Alternating, GradientDescent
from deepcollapse.theory.solvers.solve import solve

SOLVERS = (
    GradientDescent(rate=0.05, tolerance=1e-9),
    GradientDescent(rate=0.05, tolerance=1e-9, gradient="by hand"),
    LBFGS(),
    Alternating(),
)


@pytest.mark.parametrize("solver", SOLVERS, ids=str)
@pytest.mark.parametrize("decay", [0.2, 1.5])
def test_every_method_finds_the_closed_form_and_proves_it(solver, decay):
    solution = solve(Factorisation(decay=decay), solver, seed=3)
    assert solution.outcome == "optimal"
    assert solution.solved
    assert -1e-14 < solution.gap < CERTIFIED
    assert abs(solution.distance) < 1e-12
    assert solution.gradient_norm <= 1e-9
    assert solution.geometry["nuclear_norm"] == pytest.approx(sum(max(0, v - decay) for v in (3, 2, 1)), abs=1e-6)
    assert solution.words.startswith("Optimal: the objective is within ")
    assert solution.words.endswith(f" of the least possible, after {solution.steps} steps.")


@pytest.mark.parametrize("solver", SOLVERS, ids=str)
def test_history_starts_at_the_start_and_ends_at_the_end(solver):
    problem = Factorisation()
    solution = solve(problem, solver, seed=1)
    steps, values = zip(*solution.history, strict=True)
    assert steps[:5] == (0, 1, 2, 3, 4)
    assert steps[-1] == solution.steps
    assert list(steps) == sorted(set(steps))
    assert values[0] == problem.value(problem.start(torch.Generator().manual_seed(1)))
    assert values[-1] == solution.objective == problem.value(solution.point)


def test_by_hand_is_autograd_to_rounding():
    ends = [solve(Factorisation(), GradientDescent(rate=0.05, steps=200, gradient=g)) for g in ("autograd", "by hand")]
    assert_near(ends[0].point, ends[1].point, 1e-12)


def test_descent_steps_as_its_formula_says():
    problem = Factorisation()
    x = problem.start(torch.Generator().manual_seed(5))
    coefficients = {name: c[None] for name, c in problem.coefficients().items()}
    velocity = {name: torch.zeros_like(part) for name, part in x.items()}
    for step in range(40):
        rate = 0.03 * (0.1 if step >= 20 else 1) * (0.5 if step >= 30 else 1)
        gradient = problem.gradient({name: part[None] for name, part in x.items()}, coefficients)
        velocity = {name: 0.8 * v + gradient[name][0] for name, v in velocity.items()}
        x = {name: part - rate * velocity[name] for name, part in x.items()}
    solver = GradientDescent(rate=0.03, momentum=0.8, steps=40, drops=((0.5, 0.1), (0.75, 0.5)), tolerance=0.0)
    assert_near(solve(problem, solver, seed=5).point, x, 1e-13)


def test_a_saddle_is_stationary_and_not_solved():
    solution = solve(Factorisation(start_scale=0.0), LBFGS())
    assert (solution.outcome, solution.solved, solution.steps) == ("stationary", False, 0)
    assert solution.words == (
        "Stationary, not optimal for certain: the gradient norm is 0.0e+00 after 0 steps, and it may lie 4.9e+00 too "
        "high. It may be a saddle or a local minimum: try other seeds."
    )


def test_zero_is_optimal_where_the_certificate_says_so():
    solution = solve(Factorisation(start_scale=0.0, decay=3.5), LBFGS())
    assert solution.words == "Optimal: the objective is within 0.0e+00 of the least possible, after 0 steps."


def test_too_few_steps_are_told():
    solution = solve(Factorisation(), GradientDescent(steps=5))
    assert (solution.outcome, solution.solved, solution.steps) == ("step limit", False, 5)
    assert solution.words == (
        "Not solved: the limit of steps was reached; the gradient norm is 3.9e+00 after 5 steps, and it may lie "
        "4.4e+00 too high. Allow more than 5 steps, or use L-BFGS."
    )


@pytest.mark.parametrize("gradient", ["autograd", "by hand"])
def test_a_rate_too_high_is_told(gradient):
    solution = solve(Factorisation(), GradientDescent(rate=10.0, gradient=gradient))
    assert (solution.outcome, solution.solved, solution.geometry) == ("diverged", False, {})
    assert math.isnan(solution.gap)
    assert not solution.gap < CERTIFIED
    assert solution.words == (
        f"Diverged: the objective or its gradient was no finite number after {solution.steps} steps. "
        "Lower the learning rate (now 10)."
    )


def test_divergence_between_two_looks_is_told():
    solution = solve(Factorisation(), GradientDescent(rate=10.0, steps=9))
    assert (solution.outcome, solution.steps) == ("diverged", 6)
    assert solve(Factorisation(), GradientDescent(rate=1e60, steps=2)).outcome == "diverged"


def test_without_a_certificate_nothing_is_optimal():
    kink = Kink()
    solution = solve(kink, LBFGS(steps=2000), seed=0)
    assert solution.outcome == "stalled"
    assert solution.objective < 1 + 1e-12
    assert solution.words == (
        "Not solved: no lower point was found any more; the gradient norm is 1.4e+00 after "
        f"{solution.steps} steps, and nothing bounds how far it is from the optimum. "
        "Try other seeds, or GradientDescent(), which passes over kinks."
    )
    assert math.isnan(solution.distance)
    chatter = solve(kink, GradientDescent(steps=500), seed=0)
    assert chatter.outcome == "step limit"
    assert chatter.objective < 1.5


def test_a_stationary_point_without_a_certificate_says_that_nothing_certifies_it():
    class Uncertified(Factorisation):
        def gap(self, point):
            return float("nan")

    solution = solve(Uncertified(), LBFGS())
    assert (solution.outcome, solution.solved) == ("stationary", False)
    assert abs(solution.distance) < 1e-12
    assert solution.words == (
        f"Stationary: the gradient norm is {solution.gradient_norm:.1e} after {solution.steps} steps, but nothing "
        "certifies that no lower point exists."
    )


def test_a_bound_that_cannot_be_one_certifies_nothing():
    class Wrong(Factorisation):
        def gap(self, point):
            return -1.0

    assert solve(Wrong(), LBFGS()).outcome == "stationary"


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("solver", SOLVERS, ids=str)
def test_cuda_finds_the_same(solver):
    there, here = (solve(Factorisation(), solver, seed=2, device=device) for device in ("cuda", "cpu"))
    assert there.outcome == "optimal"
    assert there.point["left"].device.type == "cpu"
    assert_near(there.point, here.point, 1e-6)
