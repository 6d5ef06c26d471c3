"""Tables of the shape that the page of theory is drawn from, from simple formulas."""

import math

from deepcollapse.report.theory.diagram import LAYER_PEELED, SELI, UNCONSTRAINED, Diagram

RATIOS = [10 ** (i / 10) for i in range(41)]


def thresholds(majority, budget):
    minority = 10 - majority
    collapse = math.exp(10 * budget / (majority - 1 + math.sqrt(minority / 10)))
    never = 10 * budget > majority * (majority - 1) * math.log(1 + math.sqrt(10 / minority))
    return {
        "majority": majority,
        "minority": minority,
        "budget": budget,
        "collapse_ratio": collapse,
        "erasure_ratio": math.inf if never else 2 * collapse,
    }


def angle(ratio, mark):
    if ratio >= mark["erasure_ratio"]:
        return "erased", math.nan
    if ratio >= mark["collapse_ratio"]:
        return "collapse", 1.0
    share = math.log(ratio) / math.log(mark["collapse_ratio"])
    return "full", -1 / 9 + 10 / 9 * share**3


def line(model, majority, budget, values):
    for ratio, (phase, cosine) in zip(RATIOS, values, strict=True):
        degrees = math.degrees(math.acos(cosine)) if math.isfinite(cosine) else math.nan
        yield {"model": model, "majority": majority, "minority": 10 - majority, "feature_budget": budget} | {
            "ratio": ratio,
            "phase": phase,
            "cos_w_minority": cosine,
            "angle": degrees,
        }


def diagram(**settings):
    marks = [thresholds(m, math.sqrt(e)) | {"feature_budget": e} for m in (3, 5, 7) for e in (5.0, 10.0)]
    angles = []
    for mark in marks:
        values = [angle(ratio, mark) for ratio in RATIOS]
        angles += line(LAYER_PEELED, mark["majority"], mark["feature_budget"], values)
    for m in (3, 5, 7):
        angles += line(SELI, m, None, [(None, -1 / 9 + math.log10(r) / 5) for r in RATIOS])
        values = [("collapse", 1.0) if r > 1000 else ("full", -1 / 9 + math.log10(r) / 3) for r in RATIOS]
        angles += line(UNCONSTRAINED, m, None, values)
    boundaries = [thresholds(m, 0.05 * i) for m in (3, 5, 7) for i in range(1, 81)]
    depths = [depth(k, layers) for k in range(2, 46) for layers in range(2, 9)]
    return Diagram(angles, marks, boundaries, depths, {"classes": 10, "decay": 5e-4, **settings})


def depth(classes, layers):
    triangular = math.isqrt(8 * classes + 1) ** 2 == 8 * classes + 1
    ratio = 1.5 - 0.08 * layers - 0.1 * math.log(classes) if classes >= 6 and layers > 2 else math.nan
    return {
        "classes": classes,
        "depth": layers,
        "loss_collapsed": 0.01 * layers,
        "loss_low_rank": 0.01 * layers * ratio,
        "loss_ratio": ratio,
        "kappa_ratio": ratio if triangular else math.nan,
        "low_rank": "strongly regular graph" if triangular else "blocks",
    }
