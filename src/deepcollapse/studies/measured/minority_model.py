"""What the layer-peeled model says of minority classes, as tables: figures and thresholds of :cite:`fang2021`.

K = 10 classes, E_W = 1. Cosines of minority classifiers come from the reduced model, exact to its certificate; those
"by descent" from a general solver that starts from random features and classifiers, as a check that knows no theory.
"""

import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from deepcollapse.records.study import Judgement
from deepcollapse.studies.judging.criteria import middle, spearman
from deepcollapse.studies.judging.exact import exactly, largest, rows_of, smallest
from deepcollapse.studies.measured.table import computed
from deepcollapse.studies.study import Computation, Task

if TYPE_CHECKING:
    import pandas

    from deepcollapse.studies.judging.evidence import Evidence
    from deepcollapse.theory.problems.layer_peeled import LayerPeeled

MODEL = "layer-peeled model"
EXACT = 1e-9
CLASSES = 10
BALANCED = -1 / (CLASSES - 1)
FEATURE_BUDGETS, MAJORITIES = (5.0, 10.0), (3, 5, 7)
# As good as balanced, and yet two groups to the solver: the balanced case then is not taken from its closed form.
NEARLY_BALANCED = 1 + 1e-11
# Over-sampling in the model: K_A = 5, E_H = 5.
OVERSAMPLED_RATIO, TIMES = 1000.0, (1, 10, 50, 82, 83, 100, 200, 500, 1000)
SHRINKING_BUDGETS = (10.0, 7.5, 5.0, 3.5, 2.5, 1.5)


def peeled(majority: int, ratio: float, budget: float) -> "LayerPeeled":
    """The model with K_A majority classes, ratio R, E_W = 1 and E_H as given."""
    from deepcollapse.theory.problems.layer_peeled import LayerPeeled
    from deepcollapse.theory.reduced.groups import Groups

    return LayerPeeled(Groups.two(majority, CLASSES - majority, ratio), 1.0, budget)


def solved(setting: Mapping[str, Any]) -> dict[str, Any]:
    """Cosine of two minority classifiers (NaN once they vanish), phase and certified gap."""
    optimum = peeled(setting["majority"], setting["ratio"], setting["budget"]).optimum()
    cosine = optimum.balanced.cosine("classifier", 1, 1)
    return {"cosine": cosine, "phase": optimum.phase, "gap": optimum.gap}


def descended(setting: Mapping[str, Any]) -> dict[str, Any]:
    """The same cosine by descent in all of W and H."""
    import torch

    from deepcollapse.geometry.minority import minority_angle_mean
    from deepcollapse.theory.solvers.lbfgs import LBFGS
    from deepcollapse.theory.solvers.solve import solve

    problem = peeled(setting["majority"], setting["ratio"], setting["budget"])
    classifier, _ = problem.factors(found := solve(problem, LBFGS(), seed=0).point)
    cosine = float(minority_angle_mean(classifier, range(setting["majority"], CLASSES)))
    return {"cosine": cosine, "gap": float(problem.gap({name: torch.as_tensor(x) for name, x in found.items()}))}


def at_thresholds(setting: Mapping[str, Any]) -> dict[str, Any]:
    """R0 and R1, the cosine on both sides of R0, and how far balanced classes are from the simplex ETF."""
    from deepcollapse.theory.problems.phases import collapse_ratio, erasure_ratio

    majority, budget = setting["majority"], setting["budget"]
    sizes = (majority, CLASSES - majority, 1.0, budget)
    ratio, erased = collapse_ratio(*sizes), erasure_ratio(*sizes)
    sides = {
        side: solved({**setting, "ratio": factor * ratio})["cosine"]
        for side, factor in (("below", 0.999), ("above", 1.001))
    }
    balanced = peeled(majority, NEARLY_BALANCED, budget).optimum()
    pairs = [balanced.balanced.cosine("classifier", *pair) for pair in ((0, 0), (0, 1), (1, 1))]
    off = max(abs(cosine - BALANCED) for cosine in pairs)
    return {
        "collapse_ratio": ratio,
        "erasure_ratio": erased if math.isfinite(erased) else None,
        **sides,
        "off_etf": off,
        "gap": balanced.gap,
    }


# ---------------------------------------------------------------- what is claimed of the model


def balanced_classes(evidence: "Evidence") -> Judgement:
    """Whether all cosines of balanced classes are those of the simplex ETF."""
    rows = rows_of(evidence.table("thresholds"))
    off, gap = (largest([row[name] for row in rows], name) for name in ("off_etf", "gap"))
    told = f"cosines are {BALANCED:.4g} to {off:.1g}, with a certified gap of {gap:.1g} nat"
    return Judgement(MODEL, exactly(max(off, gap) <= EXACT), told, {"largest distance": off, "gap": gap})


def thresholds(evidence: "Evidence") -> Judgement:
    """Whether minority classifiers coincide above R0, and not below."""
    rows = rows_of(evidence.table("thresholds"))
    apart = largest([row["below"] for row in rows], "the cosine below R0")
    close = smallest([row["above"] for row in rows], "the cosine above R0")
    told = ", ".join(f"{r['collapse_ratio']:.6g} (K_A {r['majority']}, E_H {r['budget']:g})" for r in rows)
    said = f"R0 = {told}; at 0.999 R0 the cosine is at most {apart:.4g}, at 1.001 R0 it is {close:.4g}"
    numbers = {f"R0, K_A {r['majority']}, E_H {r['budget']:g}": float(r["collapse_ratio"]) for r in rows}
    return Judgement(MODEL, exactly(apart < 1 - 1e-6 and close > 1 - EXACT), said, numbers)


def smaller_budgets(evidence: "Evidence") -> Judgement:
    """Whether R0 falls with the budget of features, for each number of majority classes."""
    table = evidence.table("thresholds over budgets")
    largest(table["collapse_ratio"], "R0")
    groups = table.groupby("majority")
    found = [spearman([*rows["budget"]], [*rows["collapse_ratio"]]) for _, rows in groups]
    told = f"correlation of budget and R0 {middle(found)} over {len(found)} numbers of majority classes"
    return Judgement(MODEL, exactly(min(found) == 1), told, {"correlation": min(found)})


def repeated_samples(evidence: "Evidence") -> Judgement:
    """Whether minority classifiers coincide at R = 1000, and are as in balanced classes when seen R times as often."""
    cosines = {row["times"]: row["cosine"] for row in rows_of(evidence.table("model over-sampled"))}
    off = largest([abs(cosines[max(cosines)] - BALANCED)], "the cosine of repeated samples")
    before = smallest([cosines[1]], "the cosine without repetition")
    told = f"at R = 1000 the cosine is {before:.4g}; seen 1000 times as often it is {BALANCED:.4g} to {off:.1g}"
    numbers = {"before": before, "distance from -1/(K-1)": off}
    return Judgement(MODEL, exactly(off <= EXACT and before > 1 - EXACT), told, numbers)


# ---------------------------------------------------------------- what is computed


def _grid(task: Task) -> list[dict[str, Any]]:
    steps = task.scale["ratio_steps"]
    ratios = [10 ** (step / steps) for step in range(4 * steps + 1)]
    return [
        {"budget": budget, "majority": majority, "ratio": ratio}
        for budget in FEATURE_BUDGETS
        for majority in MAJORITIES
        for ratio in ratios
    ]


def _some(task: Task) -> list[dict[str, Any]]:
    return [setting | {"ratio": ratio} for setting in _panels(task) for ratio in (1.0, 10.0, 100.0, 1000.0)]


def _panels(task: Task) -> list[dict[str, Any]]:
    del task
    return [{"budget": budget, "majority": majority} for budget in FEATURE_BUDGETS for majority in MAJORITIES]


def _budgets(task: Task) -> list[dict[str, Any]]:
    del task
    return [{"budget": budget, "majority": majority} for majority in MAJORITIES for budget in SHRINKING_BUDGETS]


def _times(task: Task) -> list[dict[str, Any]]:
    del task
    # A sample seen w times counts w times: the ratio falls from R to R/w.
    seen = [(times, OVERSAMPLED_RATIO / times) for times in TIMES]
    return [
        {"budget": 5.0, "majority": 5, "times": times, "ratio": max(ratio, NEARLY_BALANCED)} for times, ratio in seen
    ]


def _table(
    name: str,
    settings: Callable[[Task], list[dict[str, Any]]],
    compute: Callable[[Mapping[str, Any]], dict[str, Any]],
) -> Computation:
    def rows(task: Task) -> "pandas.DataFrame":
        return computed(task.path, settings(task), compute, task.progress)

    return Computation(name, rows)


COMPUTATIONS = (
    _table("model over ratios", _grid, solved),
    _table("model by descent", _some, descended),
    _table("thresholds", _panels, at_thresholds),
    _table("thresholds over budgets", _budgets, at_thresholds),
    _table("model over-sampled", _times, solved),
)
