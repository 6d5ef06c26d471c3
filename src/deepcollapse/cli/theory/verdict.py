"""What an optimum of groups of classes means for them: which are lost, which share directions, or that all is well."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from deepcollapse.cli.theory.shown import degrees, figures

if TYPE_CHECKING:
    from deepcollapse.theory.problems.group_optimum import GroupOptimum

ROUNDING = 1e-9  # margins this small are none
MOST_NAMED = 6


def lost(optimum: "GroupOptimum") -> list[int]:
    """The groups that have samples and whose margin is 0 or less: another class scores as high on them, or higher."""
    counts = optimum.groups.counts
    return [g for g, margin in enumerate(optimum.margins) if margin <= ROUNDING and counts[g] > 0]


def verdict(model: str, optimum: "GroupOptimum") -> list[str]:
    """Sentences on rank, margins and the closest classes; `all classes stand apart` where all three allow it."""
    groups = optimum.groups
    gone = lost(optimum)
    unseen = sum(size for size, count in zip(groups.sizes, groups.counts, strict=True) if count == 0)
    together = [g for g, one in enumerate(optimum.collapsed) if one]
    said = []
    if together:
        said.append(f"{_classes(optimum, together)} coincide with others of their size")
    wrong = [g for g in gone if g not in together or optimum.margins[g] < -ROUNDING]
    if wrong:
        least = min(optimum.margins[g] for g in wrong)
        worst = "" if least > -ROUNDING else f", the least {figures(least, 3)}"
        said.append(
            f"{_classes(optimum, wrong)} {'has' if _count(optimum, wrong) == 1 else 'have'} a margin of 0 or less"
            f"{worst}: some other class scores as high on their samples, or higher"
        )
    if unseen:
        have = "has" if unseen == 1 else "have"
        said.append(f"{unseen} of {groups.num_classes} classes {have} no samples to learn from")
    closest = optimum.nearest_pair()
    apart = groups.num_classes - 1 - sum(groups.sizes[g] - 1 for g in together)
    if optimum.rank < apart:
        near = "" if together else f", and the closest two classifiers stand {degrees(closest)} apart"
        said.append(
            f"{'the others' if together else 'all classes'} share directions: {optimum.rank} of them where {apart} "
            f"would keep these classes apart{near}"
        )
    if not said:
        return [
            f"By the {model} model all classes stand apart: the least margin is {figures(min(optimum.margins), 4)}, "
            f"and the closest two classifiers stand {degrees(closest)} apart."
        ]
    told = [f"By the {model} model {said[0]}.", *(f"{one[:1].upper()}{one[1:]}." for one in said[1:])]
    if together or gone:
        told.append("So the network cannot tell these classes apart.")
    return [" ".join(told)]


def _count(optimum: "GroupOptimum", places: Sequence[int]) -> int:
    return sum(optimum.groups.sizes[g] for g in places)


def _classes(optimum: "GroupOptimum", places: Sequence[int]) -> str:
    """How many classes, and which, by their samples."""
    from deepcollapse.report.figures.text import listed

    counts = [figures(optimum.groups.counts[g]) for g in places]
    if len(counts) > MOST_NAMED:
        counts = [*counts[: MOST_NAMED - 1], f"{len(counts) - MOST_NAMED + 1} other numbers of"]
    return f"{_count(optimum, places)} of {optimum.groups.num_classes} classes (those with {listed(counts)} samples)"
