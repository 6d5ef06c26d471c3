"""A forecast in sentences, each with its model's name, that a person understands who has not read the papers."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from deepcollapse.theory.predictions.forecast import PeeledForecast, UnconstrainedForecast

# Directions whose cosine is 1 but for so much are one but for rounding.
SAME = 1e-9
# From here on four figures show a cosine as 1.
NEARLY = 0.99995
DIGITS = 4


def rounded_up(value: float, digits: int = DIGITS) -> float:
    """The least number of so many figures that is greater: what is advised has to be more than a threshold.

    >>> rounded_up(147.9077), rounded_up(82.018), rounded_up(5.0)
    (148.0, 82.02, 5.001)
    """
    unit = 10.0 ** (math.floor(math.log10(value)) + 1 - digits)
    return float(f"{(math.floor(value / unit) + 1) * unit:.{digits}g}")


def peeled_in_words(told: "PeeledForecast", counts: Sequence[float], merged: bool) -> list[str]:
    """What the layer-peeled model expects, how far off its threshold is, and what helps."""
    say = "The layer-peeled model, at this budget of classifier and features,"
    sentences = [f"{say} expects {_expected(told, len(counts) - 1)}.", *_threshold(told)]
    if not math.isnan(told.cosine):
        closest, known = direction(told.cosine, bool(told.collapsed), merged)
        which = "it" if known else "their cosine"
        sentences.append(
            f"The closest two classifiers {closest}; with balanced classes {which} would be {told.balanced_cosine:.4g}."
        )
    smallest = min(counts)
    if told.rank < len(counts) - 1 and not math.isnan(told.floor):
        enough = rounded_up(told.floor)
        sentences.append(
            f"Show every class with fewer than {enough:.4g} samples as often as if it had {enough:.4g}, the smallest "
            f"{rounded_up(enough / smallest):.4g} times as often as now: that is enough for every class to keep a "
            "direction of its own."
        )
    if told.ratio > 1:
        sentences.append(
            f"Seeing every class as often as the largest, the smallest {told.restoring:.4g} times as often as now, "
            "restores the angles of balanced classes."
        )
    return sentences


def unconstrained_in_words(told: "UnconstrainedForecast", counts: Sequence[float], merged: bool) -> list[str]:
    """What the unconstrained-features model expects, and the rule that it goes by."""
    say = "The unconstrained-features model, at these decays:"
    if told.trivial:
        return [
            f"{say} all zero is optimal, for the decays outweigh all that logits could gain; no class keeps a "
            "direction. Weaken a decay."
        ]
    rule = f"classes of equal count coincide from {told.threshold_count:.4g} samples downwards"
    end = f"; your smallest class has {min(counts):g}"
    if told.collapsed:
        end = f", which {_classes(len(told.collapsed))} have"
    sentences = [f"{say} {rule}{end}."]
    if told.rank < len(counts) - 1:
        lost = f"Its classifiers span {_dimensions(told.rank, len(counts) - 1)}"
        if told.phase == "erased":
            sentences.append(f"{lost}, and those of some small classes are zero.")
        else:
            sentences.append(f"{lost}; the closest two {direction(told.cosine, bool(told.collapsed), merged)[0]}.")
    return sentences


def direction(cosine: float, coincide: bool, merged: bool) -> tuple[str, bool]:
    """What the two closest classifiers do, and whether that names their cosine.

    Classes of different counts never coincide, but may lie on one line. Where counts were merged (`merged`) a cosine
    of 1 may be due to that alone.

    >>> direction(1.0, coincide=False, merged=False)
    ('point in the same direction, with different lengths', False)
    >>> direction(0.99999996, coincide=False, merged=False)
    ('point in nearly the same direction, with a cosine of 1 less 4e-08', False)
    """
    if cosine < NEARLY or (coincide and cosine > 1 - SAME):
        return f"have a cosine of {cosine:.4g}", True
    if cosine < 1 - SAME:
        return f"point in nearly the same direction, with a cosine of 1 less {1 - cosine:.1g}", False
    if merged:
        return "point in nearly the same direction", False
    return "point in the same direction, with different lengths", False


def _expected(told: "PeeledForecast", most: int) -> str:
    which, spanned = _classes(len(told.collapsed)), _dimensions(told.rank, most)
    if told.phase == "erased":
        return f"small classes to vanish: of {which} classifiers are zero, or coincide"
    if told.phase == "collapse":
        return (
            f"minority collapse: the classifiers of {which} coincide with others of their count, and all together span "
            f"{spanned}"
        )
    if told.rank < most:
        return f"no two classes to coincide, but their classifiers to span {spanned}"
    return "every class to keep a direction of its own"


def _threshold(told: "PeeledForecast") -> list[str]:
    if math.isnan(told.threshold_ratio):
        return []
    if math.isinf(told.threshold_ratio):
        return [f"At this budget no class ratio reaches its threshold; yours is {told.ratio:.4g}."]
    away = told.ratio / told.threshold_ratio
    apart = f"{away:.3g} times beyond" if away >= 1 else f"{1 / away:.3g} times below"
    return [
        f"Its threshold is a class ratio of {told.threshold_ratio:.4g}; yours is {told.ratio:.4g}, {apart} it. At "
        f"your ratio the budget sqrt(E_W E_H) must exceed {told.threshold_budget:.4g}; it is {told.budget:.4g}."
    ]


def _classes(count: int) -> str:
    return f"{count} class{'es' * (count != 1)}"


def _dimensions(rank: int, most: int) -> str:
    return f"{rank} dimension{'s' * (rank != 1)} in place of {most}"
