"""The layer-peeled model at growing numbers of classes, and of different counts, beside CVXPY on the same program.

Two groups of half the classes each, E_W = 1 and E_H = 5, at the ratio half-way (in logarithms) to the threshold of
collapse, and again half-way between collapse and erasure (or at ten times the threshold where nothing is erased); then
as many different counts as classes, a hundred to one. CVXPY solves min loss(Z) over |Z|_* <= K sqrt(E_W E_H) in all
K x K logits with Clarabel; it is no dependency of ours, and is left out where it is not installed.
"""

import importlib.util
import math
import statistics
import warnings
from collections.abc import Callable

import numpy as np

from deepcollapse.theory.problems.layer_peeled import LayerPeeled, LayerPeeledOptimum
from deepcollapse.theory.problems.phases import log_ratio_of
from deepcollapse.theory.reduced.groups import Groups
from timing import columns, compute_threads, in_turn, ratios, spread

BUDGETS = (1.0, 5.0)
# Classes in two groups; those that CVXPY takes; numbers of different counts; rounds.
SIZES = {
    "full": ((10, 1000, 100_000), (10, 20, 30), (10, 30, 100), 7),
    "small": ((10, 1000, 100_000), (10,), (10, 30), 3),
    "tiny": ((4, 40), (4,), (3,), 1),
}


def run(size: str, threads: int) -> dict:
    """Seconds by number of classes and of different counts; ratios to the fewest classes, and of CVXPY to us."""
    classes, general, different, rounds = SIZES[size]
    with compute_threads(threads):
        two = {phase: _growth(phase, classes, rounds) for phase in ("full", "collapse")}
        many = {str(k): _different(k, rounds) for k in different}
        beside = {str(k): _beside(k, rounds) for k in general} if importlib.util.find_spec("cvxpy") else None
    return {"two_groups": two, "different_counts": many, "cvxpy": beside}


def _growth(phase: str, classes: tuple[int, ...], rounds: int) -> dict:
    """By number of classes: CPU seconds, over those of the fewest classes, and the gap."""
    problems = {str(k): _two_groups(k, phase) for k in classes}
    seconds = in_turn({k: problem.optimum for k, problem in problems.items()}, rounds)
    found = {k: problem.optimum() for k, problem in problems.items()}
    assert {optimum.phase for optimum in found.values()} == {phase}
    return {
        k: {
            "cpu_seconds": statistics.median(seconds[k]),
            "over_fewest": ratios(seconds[k], seconds[str(classes[0])]),
            "gap": found[k].gap,
        }
        for k in problems
    }


def _two_groups(num_classes: int, phase: str) -> LayerPeeled:
    sizes = num_classes // 2, num_classes - num_classes // 2
    collapse, erasure = (log_ratio_of(name, *sizes, *BUDGETS) for name in ("collapse", "erasure"))
    later = min(erasure, collapse + math.log(100))
    log_ratio = collapse / 2 if phase == "full" else (collapse + later) / 2
    return LayerPeeled(Groups.two(*sizes, math.exp(log_ratio)), *BUDGETS)


def _different(num_counts: int, rounds: int) -> dict:
    counts = [100 ** (-k / (num_counts - 1)) for k in range(num_counts)]
    problem = LayerPeeled(Groups.of(counts), *BUDGETS)
    found: list[LayerPeeledOptimum] = []
    seconds = in_turn({"ours": lambda: found.append(problem.optimum())}, rounds)["ours"]
    return {"cpu_seconds": statistics.median(seconds), "gap": found[0].gap}


def _beside(num_classes: int, rounds: int) -> dict:
    """CVXPY and our solver in turn on one problem of two groups, and how their losses differ."""
    problem, values = _two_groups(num_classes, "full"), {}

    def ours() -> None:
        values["ours"] = problem.optimum().value

    def theirs() -> None:
        values["cvxpy"] = _by_cvxpy(problem)

    tasks: dict[str, Callable[[], object]] = {"ours": ours, "cvxpy": theirs}
    seconds = in_turn(tasks, min(rounds, 3))
    return {
        "cpu_seconds": {name: statistics.median(taken) for name, taken in seconds.items()},
        "over_ours": ratios(seconds["cvxpy"], seconds["ours"]),
        "loss_difference": values["cvxpy"] - values["ours"],
    }


def _by_cvxpy(problem: LayerPeeled) -> float:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what an independent package warns of is not measured here
        import cvxpy as cp

        weights = np.repeat(problem.groups.class_weights, problem.groups.sizes)
        z = cp.Variable((len(weights), len(weights)))
        loss = sum(w * (cp.log_sum_exp(z[:, k]) - z[k, k]) for k, w in enumerate(weights))
        program = cp.Problem(cp.Minimize(loss), [cp.normNuc(z) <= problem.radius])
        value = program.solve(solver="CLARABEL")
    return float(value) if isinstance(value, (int, float)) else math.nan


def table(result: dict) -> str:
    """Two groups by classes, different counts, and CVXPY."""
    rows = [("two groups", "phase", "CPU ms", "over the fewest", "gap")]
    for phase, by_classes in result["two_groups"].items():
        for k, found in by_classes.items():
            milliseconds, ratio = f"{1e3 * found['cpu_seconds']:.2f}", spread(found["over_fewest"])
            rows.append((f"{k} classes", phase, milliseconds, ratio, f"{found['gap']:.0e}"))
    rows += [("", "", "", "", ""), ("counts that all differ", "", "CPU ms", "", "gap")]
    for k, found in result["different_counts"].items():
        rows.append((f"{k} classes", "", f"{1e3 * found['cpu_seconds']:.0f}", "", f"{found['gap']:.0e}"))
    lines = [columns(rows, (24, 10, 10, 22, 10)), ""]
    if result["cvxpy"] is None:
        return "\n".join([*lines, "CVXPY: not installed"])
    rows = [("CVXPY, all logits", "", "CPU ms", "over ours", "loss differs")]
    for k, found in result["cvxpy"].items():
        seconds, difference = found["cpu_seconds"]["cvxpy"], f"{found['loss_difference']:.0e}"
        rows.append((f"{k} classes", "", f"{1e3 * seconds:.0f}", spread(found["over_ours"], 0), difference))
    return "\n".join([*lines, columns(rows, (24, 0, 10, 24, 14))])
