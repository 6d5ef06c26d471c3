"""What is optimal: theory's models of a trained classifier, each with its closed form and its certificate.

A *problem* is a frozen value (`UnconstrainedFeatures(...).optimum()`), a *solver* a method, a *solution* an answer with
its evidence (`solve(problem, LBFGS(), seed=0)`). `beside(measurement)` lays every model's prediction beside what was
measured; `forecast(counts, ...)` tells what class counts lead to. Names are imported when first used.
"""

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from deepcollapse.theory.bounds.of_network import NetworkBounds, rank_collapse_bounds
    from deepcollapse.theory.bounds.rank_collapse import RankCollapse, rank_collapse
    from deepcollapse.theory.bounds.rank_memory import RankMemory
    from deepcollapse.theory.bounds.sgd_rank import SgdRankBound, sgd_rank_bound
    from deepcollapse.theory.bounds.stationary import Stationary, to_stationarity
    from deepcollapse.theory.exploration import explore, summarise
    from deepcollapse.theory.predictions.beside import beside
    from deepcollapse.theory.predictions.forecast import Forecast, forecast
    from deepcollapse.theory.predictions.of_run import budgets_of, counts_of
    from deepcollapse.theory.problem import Optimum, Problem
    from deepcollapse.theory.problems.central_path import CentralPath, signal_to_noise, squared_flow_limit
    from deepcollapse.theory.problems.decomposition import Decomposition, decompose, least_squares_head
    from deepcollapse.theory.problems.deep.conditions import collapse_wins
    from deepcollapse.theory.problems.deep.model import DeepUnconstrainedFeatures
    from deepcollapse.theory.problems.focal import UnconstrainedFocal
    from deepcollapse.theory.problems.imbalanced import UnconstrainedImbalanced
    from deepcollapse.theory.problems.layer_peeled import LayerPeeled
    from deepcollapse.theory.problems.phases import (
        collapse_ratio,
        critical_budget,
        erasure_ratio,
        oversampling_for_cosine,
        oversampling_past_collapse,
    )
    from deepcollapse.theory.problems.seli import Seli
    from deepcollapse.theory.problems.squared import UnconstrainedSquared, decay_of_mse_loss
    from deepcollapse.theory.problems.unconstrained import UnconstrainedFeatures
    from deepcollapse.theory.reduced.groups import GroupMatrix, Groups
    from deepcollapse.theory.solution import Solution
    from deepcollapse.theory.solvers import LBFGS, Alternating, GradientDescent, Solver
    from deepcollapse.theory.solvers.solve import solve, solve_many

# Where each public name lives.
_HOMES = {
    "Groups": "reduced.groups",
    "GroupMatrix": "reduced.groups",
    "UnconstrainedFeatures": "problems.unconstrained",
    "UnconstrainedFocal": "problems.focal",
    "UnconstrainedSquared": "problems.squared",
    "UnconstrainedImbalanced": "problems.imbalanced",
    "LayerPeeled": "problems.layer_peeled",
    "Seli": "problems.seli",
    "DeepUnconstrainedFeatures": "problems.deep.model",
    "collapse_wins": "problems.deep.conditions",
    "collapse_ratio": "problems.phases",
    "critical_budget": "problems.phases",
    "erasure_ratio": "problems.phases",
    "oversampling_past_collapse": "problems.phases",
    "oversampling_for_cosine": "problems.phases",
    "decay_of_mse_loss": "problems.squared",
    "decompose": "problems.decomposition",
    "Decomposition": "problems.decomposition",
    "least_squares_head": "problems.decomposition",
    "CentralPath": "problems.central_path",
    "signal_to_noise": "problems.central_path",
    "squared_flow_limit": "problems.central_path",
    "Problem": "problem",
    "Optimum": "problem",
    "solve": "solvers.solve",
    "solve_many": "solvers.solve",
    "Solution": "solution",
    "Solver": "solvers",
    "GradientDescent": "solvers",
    "LBFGS": "solvers",
    "Alternating": "solvers",
    "explore": "exploration",
    "summarise": "exploration",
    "beside": "predictions.beside",
    "forecast": "predictions.forecast",
    "Forecast": "predictions.forecast",
    "budgets_of": "predictions.of_run",
    "counts_of": "predictions.of_run",
    "rank_collapse": "bounds.rank_collapse",
    "RankCollapse": "bounds.rank_collapse",
    "rank_collapse_bounds": "bounds.of_network",
    "NetworkBounds": "bounds.of_network",
    "to_stationarity": "bounds.stationary",
    "Stationary": "bounds.stationary",
    "sgd_rank_bound": "bounds.sgd_rank",
    "SgdRankBound": "bounds.sgd_rank",
    "RankMemory": "bounds.rank_memory",
}

__all__ = [
    "Groups",
    "GroupMatrix",
    "UnconstrainedFeatures",
    "UnconstrainedFocal",
    "UnconstrainedSquared",
    "UnconstrainedImbalanced",
    "LayerPeeled",
    "Seli",
    "DeepUnconstrainedFeatures",
    "collapse_wins",
    "collapse_ratio",
    "critical_budget",
    "erasure_ratio",
    "oversampling_past_collapse",
    "oversampling_for_cosine",
    "decay_of_mse_loss",
    "decompose",
    "Decomposition",
    "least_squares_head",
    "CentralPath",
    "signal_to_noise",
    "squared_flow_limit",
    "Problem",
    "Optimum",
    "solve",
    "solve_many",
    "Solution",
    "Solver",
    "GradientDescent",
    "LBFGS",
    "Alternating",
    "explore",
    "summarise",
    "beside",
    "forecast",
    "Forecast",
    "budgets_of",
    "counts_of",
    "rank_collapse",
    "RankCollapse",
    "rank_collapse_bounds",
    "NetworkBounds",
    "to_stationarity",
    "Stationary",
    "sgd_rank_bound",
    "SgdRankBound",
    "RankMemory",
]


def __getattr__(name: str):
    if name not in _HOMES:
        raise AttributeError(f"module 'deepcollapse.theory' has no attribute {name!r}")
    return getattr(importlib.import_module(f"deepcollapse.theory.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
