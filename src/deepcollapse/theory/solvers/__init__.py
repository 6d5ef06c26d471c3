"""One method a file, each running a whole batch of problems and seeds as one tensor program."""

from deepcollapse.theory.solvers.alternating import Alternating
from deepcollapse.theory.solvers.gradient_descent import GradientDescent
from deepcollapse.theory.solvers.lbfgs import LBFGS
from deepcollapse.theory.solvers.solver import Solver

__all__ = ["LBFGS", "Alternating", "GradientDescent", "Solver"]
