"""The tables that the page of theory is drawn from, worked out with closed forms."""

import math
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from deepcollapse.report.theory.diagram import LAYER_PEELED, SELI, UNCONSTRAINED
from deepcollapse.theory.reduced.groups import Groups

if TYPE_CHECKING:
    from deepcollapse.theory.problems.deep.model import DeepUnconstrainedFeatures

Row = dict[str, Any]

PER_DECADE = 16
BUDGETS = 64
HALVINGS = 8


def thresholds(classes: int, majorities: Sequence[int], weight_budget: float, budgets: Sequence[float]) -> list[Row]:
    """R0 and R1 for each number of majority classes and each feature budget."""
    return [
        _thresholds(majority, classes - majority, weight_budget, budget) | {"feature_budget": budget}
        for majority in majorities
        for budget in budgets
    ]


def boundaries(classes: int, majorities: Sequence[int], largest: float) -> list[Row]:
    """R0 and R1 over budgets s up to a quarter more than the largest that was asked for.

    R1 goes to infinity at a finite budget, close to which there are more points.
    """
    from deepcollapse.theory.problems.phases import erasure_budget

    rows = []
    for majority in majorities:
        last = erasure_budget(majority, classes - majority)
        span = [1.25 * largest * (i + 1) / BUDGETS for i in range(BUDGETS)]
        span += [s for s in (last, *(last * (1 - 0.1**digits) for digits in range(1, 8))) if 0 < s < 1.25 * largest]
        rows += [_thresholds(majority, classes - majority, s, s) for s in sorted(span)]
    return rows


def _thresholds(majority: int, minority: int, weight_budget: float, feature_budget: float) -> Row:
    from deepcollapse.theory.problems.phases import collapse_ratio, erasure_ratio

    sizes = (majority, minority, weight_budget, feature_budget)
    return {
        "majority": majority,
        "minority": minority,
        "budget": math.sqrt(weight_budget * feature_budget),
        "collapse_ratio": collapse_ratio(*sizes),
        "erasure_ratio": erasure_ratio(*sizes),
    }


def angles(
    classes: int,
    marks: Sequence[Row],
    weight_budget: float,
    highest: float,
    decays: Sequence[float],
    per_class: int,
) -> list[Row]:
    """The cosine of two minority classifiers over ratios, by model; curves bend at R0 and end at R1, so those are in.

    The unconstrained-features model has `per_class` samples a majority class, and whole numbers of minority samples.
    """
    from deepcollapse.theory.problems.imbalanced import UnconstrainedImbalanced
    from deepcollapse.theory.problems.layer_peeled import LayerPeeled
    from deepcollapse.theory.problems.seli import Seli

    rows = []
    for mark in marks:
        of = (mark["majority"], mark["minority"])
        near = (mark["collapse_ratio"] * (1 - 0.3 * 0.5**halvings) for halvings in range(HALVINGS))
        for ratio in _ratios(highest, *near, mark["collapse_ratio"], mark["erasure_ratio"]):
            facts = LayerPeeled(Groups.two(*of, ratio), weight_budget, mark["feature_budget"]).optimum().facts()
            rows.append(_angle(LAYER_PEELED, of, mark["feature_budget"], ratio, facts))
    for majority in dict.fromkeys(mark["majority"] for mark in marks):
        of = (majority, classes - majority)
        for ratio in _ratios(highest):
            rows.append(_angle(SELI, of, None, ratio, Seli(Groups.two(*of, ratio)).optimum().facts()))
        counts = (
            {max(1, round(per_class / ratio)) for ratio in _ratios(min(highest, float(per_class)))} if decays else ()
        )
        for count in sorted(counts, reverse=True):
            groups = Groups(of, (float(per_class), float(count)))
            facts = UnconstrainedImbalanced(groups, decays[0], decays[1]).optimum().facts()
            rows.append(_angle(UNCONSTRAINED, of, None, per_class / count, facts))
    return rows


def _ratios(highest: float, *more: float) -> list[float]:
    steps = max(2, round(PER_DECADE * math.log10(highest)))
    spaced = (highest ** (i / steps) for i in range(steps + 1))
    return sorted({*spaced, *(ratio for ratio in more if 1 <= ratio <= highest)})


def _angle(model: str, of: tuple[int, int], budget: float | None, ratio: float, facts: Any) -> Row:
    cosine = float(facts["cos_w_minority"])
    return {
        "model": model,
        "majority": of[0],
        "minority": of[1],
        "feature_budget": budget,
        "ratio": ratio,
        "phase": facts.get("phase"),
        "cos_w_minority": cosine,
        "angle": math.degrees(math.acos(max(-1.0, min(1.0, cosine)))) if math.isfinite(cosine) else math.nan,
    }


def depths(classes: Iterable[int], depths: Iterable[int], decay: float) -> list[Row]:
    """Losses of collapse and of the best known low-rank solution, for each number of layers and of classes.

    Where collapse is the best that is known, the strongly regular graph stands beside it, if there is one.
    """
    from deepcollapse.cli.theory.deep_ufm import most_width
    from deepcollapse.theory.problems.deep.model import DeepUnconstrainedFeatures

    return [
        _depth(DeepUnconstrainedFeatures.uniform(size, depth, decay, most_width(size)))
        for depth in depths
        for size in classes
    ]


def _depth(problem: "DeepUnconstrainedFeatures") -> Row:
    from deepcollapse.theory.problems.deep.strongly_regular import strongly_regular_ratio, vertices_of

    collapsed, best = problem.collapsed(), problem.optimum()
    vertices = vertices_of(problem.num_classes) if problem.depth > 1 else None
    # At six classes and two layers both cost the same, but for rounding.
    low = best if best.loss < (1 - 1e-9) * collapsed.loss else problem.strongly_regular() if vertices else None
    loss = low.loss if low is not None and low.nontrivial else math.nan
    return {
        "classes": problem.num_classes,
        "depth": problem.depth,
        "loss_collapsed": collapsed.loss,
        "loss_low_rank": loss,
        "loss_ratio": loss / collapsed.loss,
        "kappa_ratio": strongly_regular_ratio(vertices, problem.depth) if vertices else math.nan,
        "low_rank": None if math.isnan(loss) or low is None else low.name,
    }
