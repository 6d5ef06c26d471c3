"""The solvers on theory's own models: each reaches the closed form from random starts, and proves it."""

import numpy as np
import pytest
import torch
from scipy.optimize import minimize

from deepcollapse.theory.problems.layer_peeled import LayerPeeled
from deepcollapse.theory.problems.squared import UnconstrainedSquared
from deepcollapse.theory.problems.unconstrained import UnconstrainedFeatures
from deepcollapse.theory.reduced.groups import Groups
from deepcollapse.theory.solution import CERTIFIED
from deepcollapse.theory.solvers import LBFGS, Alternating, GradientDescent
from deepcollapse.theory.solvers.batch import Batch, flatten, unflatten
from deepcollapse.theory.solvers.solve import solve_many

SQUARED = tuple(
    UnconstrainedSquared(4, 5, weight_decay=5e-3, feature_decay=1e-3, bias_decay=bias) for bias in (None, 0.0, 0.01)
)
PROBLEMS = (
    UnconstrainedFeatures(4, 5, weight_decay=5e-3, feature_decay=1e-3),
    UnconstrainedFeatures(4, 5, weight_decay=5e-3, feature_decay=1e-3, smoothing=0.1),
    UnconstrainedFeatures(4, 5, weight_decay=5e-3, feature_decay=1e-3, bias_decay=0.0),
    UnconstrainedFeatures(10, 3, weight_decay=5e-4, feature_decay=1e-4),
    UnconstrainedFeatures(4, 5, weight_decay=0.5, feature_decay=0.5),  # past the threshold: all zero
    *SQUARED,
    LayerPeeled(Groups.two(2, 2, 10.0), weight_budget=1.0, feature_budget=5.0),  # minority classes collapsed
    LayerPeeled(Groups.two(3, 2, 2.0), weight_budget=1.0, feature_budget=5.0),
    LayerPeeled(Groups.of([100, 30, 10, 3, 1]), weight_budget=1.0, feature_budget=5.0),
)


@pytest.mark.parametrize("problem", PROBLEMS, ids=str)
def test_lbfgs_reaches_the_optimum_from_every_seed(problem):
    for solution in solve_many([problem], LBFGS(), range(3)):
        assert solution.outcome == "optimal", solution.words
        assert abs(solution.gap) < CERTIFIED
        assert abs(solution.distance) < 1e-12


@pytest.mark.parametrize("problem", SQUARED, ids=str)
def test_alternating_ridge_steps_reach_the_optimum(problem):
    for solution in solve_many([problem], Alternating(), range(3)):
        assert solution.outcome == "optimal", solution.words
        assert abs(solution.distance) < 1e-12


def test_descent_reaches_the_optimum_where_it_is_given_time():
    decays = (0.02, 0.05)
    problems = [UnconstrainedFeatures(3, 2, weight_decay=decay, feature_decay=decay) for decay in decays]
    solutions = solve_many(problems, GradientDescent(rate=0.5, steps=4000), range(3))
    assert {solution.outcome for solution in solutions} == {"optimal"}
    margins = {problem: problem.optimum().margin for problem in problems}
    for solution in solutions:
        logits = solution.point["features"] @ solution.point["classifier"].T
        assert float(logits[0, 0] - logits[0, 1]) == pytest.approx(margins[solution.problem], abs=1e-3)


@pytest.mark.parametrize("problem", [PROBLEMS[0], PROBLEMS[-1]], ids=str)
def test_lbfgs_goes_where_scipys_goes_and_as_quickly(problem):
    (ours,) = solve_many([problem], LBFGS(), [1])
    batch = Batch.of([(problem, 1)], torch.device("cpu"))

    def value_and_gradient(x):
        value, gradient = batch.autograd(unflatten(torch.from_numpy(x)[None], batch.start))
        assert value is not None
        return float(value), flatten(gradient)[0].numpy()

    start = flatten(batch.start)[0].numpy().astype(np.float64)
    options = {"maxcor": 20, "maxiter": 2000, "ftol": 0.0, "gtol": 1e-9}
    slow = minimize(value_and_gradient, start, jac=True, method="L-BFGS-B", options=options)
    assert ours.objective == pytest.approx(slow.fun, abs=1e-13)
    assert ours.steps <= 2 * slow.nit
