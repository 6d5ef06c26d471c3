"""How theory's numbers are shown: each with a name that a newcomer understands, its symbol beside it."""

import math
from collections.abc import Mapping
from typing import Any

from deepcollapse.cli.terminal import say, show_table

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

Facts = Mapping[str, float | str | None]


def show_facts(facts: Facts) -> None:
    """A table of numbers and short words; what the facts say in sentences is left to `told`."""
    rows = []
    for name, value in facts.items():
        symbol, words = NAMES.get(name, ("", name.replace("_", " ")))
        if name in ("note", "structure") or value is None:
            continue
        rows.append((symbol, words, figures(value)))
    show_table(("", "at the optimum", "value"), rows, right=(2,))


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
    """The angle with this cosine, in words.

    >>> degrees(0.5), degrees(float("nan"))
    ('60.0°', 'undefined')
    """
    return "undefined" if math.isnan(cosine) else f"{math.degrees(math.acos(max(-1.0, min(1.0, cosine)))):.1f}°"
