"""How theory's numbers are shown: each with a name that a newcomer understands, its symbol beside it."""

import math
from collections.abc import Mapping
from typing import Any

from deepcollapse.cli.table import show_table
from deepcollapse.cli.terminal import say

# Symbol and plain words of each fact; what is not here is shown under its own name.
NAMES: dict[str, tuple[str, str]] = {
    "margin": ("c*", "margin: the correct logit less any other"),
    "data_loss": ("", "loss without the decays"),
    "probability": ("p", "probability of the correct class"),
    "classes_price": ("K√(nλλ)", "weight of the decays against the loss"),
    "weight_norm_squared": ("|W|²", "all squared weights of the classifier"),
    "feature_norm_squared": ("|H|²", "all squared features, over all samples"),
    "loss": ("", "least loss, decay included where there is one"),
    "gap": ("", "how far from the optimum this is at most"),
    "bias": ("b", "bias, the same for every class"),
    "contrast_value": ("s_c", "logits' singular value between classes"),
    "mean_value": ("s_1", "logits' singular value of the mean"),
    "phase": ("", "phase of the minority classes"),
    "a": ("a", "margin between majority classes"),
    "b": ("b", "margin between minority classes; 0: they coincide"),
    "r": ("r", "contrast of the groups on majority samples"),
    "rho": ("ρ", "contrast of the groups on minority samples"),
    "mu": ("μ", "price of the budget; at finite R, collapse from 1 on"),
    "rank": ("", "directions that classes span"),
    "cos_w_closest": ("", "cosine of the two closest classifiers"),
    "cos_h_closest": ("", "cosine of the two closest classes' features"),
    "cos_w_minority": ("cos BB", "cosine of two minority classifiers"),
    "cos_w_majority": ("cos AA", "cosine of two majority classifiers"),
    "cos_w_cross": ("cos AB", "cosine of a majority and a minority classifier"),
    "cos_h_minority": ("", "cosine of two minority classes' features"),
    "cos_h_majority": ("", "cosine of two majority classes' features"),
    "cos_h_cross": ("", "cosine of majority and minority features"),
    "norm_ratio_w": ("", "length of minority over majority classifiers"),
    "norm_ratio_h": ("", "length of minority over majority features"),
    "threshold_ratio": ("R0", "ratio from which minority classes coincide"),
    "erasure_ratio": ("R1", "ratio from which minority classes are erased"),
    "critical_budget": ("s0", "budget up to which minority classes coincide"),
    "collapse_count": ("N²λλ", "samples up to which equal classes coincide"),
    "least_margin": ("", "least margin of any class"),
    "nuclear_norm": ("", "sum of the logits' singular values"),
}
FIGURES = 6

Facts = Mapping[str, float | int | str | None]


def show_facts(facts: Facts) -> None:
    """A table of numbers and short words; what the facts say in sentences is left to `told`."""
    rows = []
    for name, value in facts.items():
        symbol, words = NAMES.get(name, ("", name.replace("_", " ")))
        if name in ("note", "structure") or value is None:
            continue
        rows.append((symbol, words, figures(value)))
    show_table(("", "at the optimum", "value"), rows, right=(2,))


def of_groups(facts: Facts, groups: int) -> Facts:
    """The facts to show for so many groups: the phase, lengths and cosines by group mean something for two alone.

    >>> of_groups({"phase": "full", "rank": 2, "cos_w_group_1": 0.0}, 3)
    {'rank': 2}
    """
    if groups == 2:
        return facts
    hidden = ("phase", "a", "b", "r", "rho", "mu", "threshold_ratio", "norm_ratio_w", "norm_ratio_h")
    return {name: value for name, value in facts.items() if name not in hidden and "_group_" not in name}


def figures(value: Any, count: int = FIGURES) -> str:
    """A number with so many figures; words as they are, and "never" for what takes an infinite ratio.

    >>> figures(12.192447431), figures(float("nan")), figures("full"), figures(float("inf")), figures(1.23456, 4)
    ('12.1924', '–', 'full', 'never', '1.235')
    """
    from deepcollapse.report.words import number

    if value is None or isinstance(value, str):
        return value or "–"
    return "never" if math.isinf(value) else number(float(value), count)


def told(*sentences: str) -> None:
    """What the numbers mean, then what to do about it: a paragraph each."""
    for sentence in sentences:
        if sentence:
            print()
            say(sentence)


def sentence(text: object) -> str:
    """A remark as a sentence of its own; none where there is none.

    >>> sentence("all zero is optimal"), sentence(None)
    ('All zero is optimal.', '')
    """
    words = str(text or "")
    return words[:1].upper() + words[1:] + ("." if words and not words.endswith(".") else "")


def degrees(cosine: float) -> str:
    """The angle with this cosine, in words; small ones keep a figure, for only equal directions have none between them.

    >>> degrees(0.5), degrees(float("nan")), degrees(1 - 1e-8), degrees(1.0)
    ('60.0°', 'undefined', '0.008°', '0.0°')
    """
    if math.isnan(cosine):
        return "undefined"
    angle = math.degrees(math.acos(max(-1.0, min(1.0, cosine))))
    return f"{angle:.1g}°" if 0 < angle < 0.05 else f"{angle:.1f}°"
