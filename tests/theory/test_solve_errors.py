"""What cannot be solved is refused before it is begun, and the message says what to do."""

import re

import pytest
from factorisation import Factorisation, Kink

from deepcollapse.errors import OptionError
from deepcollapse.theory.solvers import LBFGS, Alternating, GradientDescent
from deepcollapse.theory.solvers.solve import solve, solve_many
from unchecked import shapes_unchecked

SETTINGS = {
    "rate": (lambda: GradientDescent(rate=0.0), "the learning rate must be above 0, and finite; got 0."),
    "rate below": (lambda: GradientDescent(rate=-0.5), "the learning rate must be above 0, and finite; got -0.5."),
    "rate NaN": (lambda: GradientDescent(rate=float("nan")), "the learning rate must be above 0, and finite; got nan."),
    "momentum": (lambda: GradientDescent(momentum=1.0), "momentum must be at least 0 and below 1; got 1."),
    "drops": (
        lambda: GradientDescent(drops=((1.0, 0.1),)),
        "a drop is (share of the steps, factor on the rate), with a share between 0 and 1 and a factor above 0; got "
        "((1.0, 0.1),).",
    ),
    "steps": (lambda: GradientDescent(steps=0), "a solver needs at least 1 step; got 0."),
    "steps of L-BFGS": (lambda: LBFGS(steps=-1), "a solver needs at least 1 step; got -1."),
    "steps of sweeps": (lambda: Alternating(steps=0), "a solver needs at least 1 step; got 0."),
    "tolerance": (
        lambda: LBFGS(tolerance=-1e-9),
        "the tolerance on the gradient norm must be 0 or more, and finite; got -1e-09.",
    ),
    "memory": (lambda: LBFGS(memory=0), "L-BFGS needs a memory of at least 1 pair; got 0."),
    "by hand": (
        lambda: solve(Kink(), GradientDescent(gradient="by hand")),
        'Kink brings no gradient of its own; use gradient="autograd", which needs none.',
    ),
    "sweep": (
        lambda: solve(Kink(), Alternating()),
        "Kink offers no exact minimisation over one block of variables at a time; use LBFGS() or GradientDescent().",
    ),
    "no problems": (
        lambda: solve_many([], LBFGS(), [0]),
        "there is nothing to solve: no problem was given. Pass at least one.",
    ),
    "no seeds": (
        lambda: solve_many([Kink()], LBFGS(), []),
        "there is nothing to solve: no seed was given. Pass at least one.",
    ),
    "solvers": (
        lambda: solve_many([Kink()], [LBFGS(), LBFGS()], [0]),
        "pass one solver for all problems or one each; got 2 solvers for 1 problems.",
    ),
    "a solver's name": (
        lambda: solve(Kink(), "lbfgs"),
        "a solver is a value such as LBFGS() or GradientDescent(rate=0.1); got 'lbfgs'.",
    ),
    "a solver's class": (
        lambda: solve(Kink(), LBFGS),
        "a solver is a value such as LBFGS() or GradientDescent(rate=0.1); got "
        "<class 'deepcollapse.theory.solvers.lbfgs.LBFGS'>.",
    ),
    "no problem": (
        lambda: solve("ufm", LBFGS()),
        "a problem is a model that descent can solve, such as UnconstrainedFeatures; got 'ufm'.",
    ),
    "one of many": (
        lambda: solve_many(Kink(), LBFGS(), [0]),
        "solve_many takes a list of problems and a list of seeds, such as range(8); for one problem and one seed use "
        "solve(problem, solver, seed).",
    ),
    "one seed": (
        lambda: solve_many([Kink()], LBFGS(), 3),
        "solve_many takes a list of problems and a list of seeds, such as range(8); for one problem and one seed use "
        "solve(problem, solver, seed).",
    ),
    "programs": (
        lambda: solve_many([Kink(), Kink(size=3), Factorisation()], LBFGS(), [0]),
        "problems of different programs cannot run as one batch: Kink(size=2) and Kink(size=3). Solve them in a call "
        "of their own each.",
    ),
    "programs of solvers": (
        lambda: solve_many([Kink(), Kink()], [LBFGS(), LBFGS(memory=3)], [0]),
        "solvers of different programs cannot run as one batch: LBFGS(steps=2000, memory=20, tolerance=1e-10) and "
        "LBFGS(steps=2000, memory=3, tolerance=1e-10). Solve them in a call of their own each.",
    ),
}


@pytest.mark.parametrize("name", SETTINGS)
def test_refused_with_the_whole_message(name):
    make, message = SETTINGS[name]
    with shapes_unchecked(), pytest.raises(OptionError, match=f"^{re.escape(message)}$"):
        make()
