"""Groups of like classes at an optimum: how many, how long, and how far apart they stand."""

import math
import sys
from typing import TYPE_CHECKING, Any

from deepcollapse.cli.table import show_table
from deepcollapse.cli.terminal import say
from deepcollapse.cli.theory.shown import degrees, figures
from deepcollapse.cli.theory.verdict import ROUNDING

if TYPE_CHECKING:
    from deepcollapse.theory.problems.group_optimum import GroupOptimum

MOST_ROWS = 20
MANY = 60  # groups of different size that take longer than a breath


def group_facts(optimum: "GroupOptimum") -> list[dict[str, Any]]:
    """Of each group: samples a class, classes, squared lengths, cosines inside it and to the nearest other class,
    margin (NaN without samples), and whether its classes coincide.
    """
    groups, balanced = optimum.groups, optimum.balanced
    facts = []
    for g, (size, count) in enumerate(zip(groups.sizes, groups.counts, strict=True)):
        facts.append(
            {
                "samples": count,
                "classes": size,
                "weight_norm_squared": balanced.norm_squared("classifier", g),
                "cos_w": balanced.cosine("classifier", g, g),
                "cos_h": balanced.cosine("features", g, g),
                "cos_w_nearest": optimum.nearest("classifier", g),
                "cos_h_nearest": optimum.nearest("features", g),
                "margin": optimum.margins[g] if count > 0 else math.nan,
                "collapsed": optimum.collapsed[g],
            }
        )
    return facts


def warn_of_time(groups: int) -> None:
    """Say beforehand, on standard error, that so many groups of different size may take a while."""
    if groups >= MANY:
        print(f"Solving for {groups} different numbers of samples; this may take a minute or so.", file=sys.stderr)


def show_groups(groups: list[dict[str, Any]]) -> None:
    """A row a group, those with most samples first; narrow enough for 60 columns."""
    rows = [
        (
            f"{group['classes']} × {figures(group['samples'])}",
            figures(math.sqrt(group["weight_norm_squared"]), 4),
            _apart(group["cos_w_nearest"]),
            _apart(group["cos_h_nearest"]),
            figures(group["margin"], 3),
            _fate(group),
        )
        for group in groups[:MOST_ROWS]
    ]
    print()
    show_table(("classes ×\nsamples", "length", "angle", "angle of\nfeatures", "margin", ""), rows, right=range(5))
    if len(groups) > MOST_ROWS:
        print()
        say(f"{len(groups) - MOST_ROWS} more groups with fewer samples are in the output of --json.")
    print()
    say("Length and angle are those of classifiers, angles those to the nearest other class of any group.")


def _fate(group: dict[str, Any]) -> str:
    if group["collapsed"]:
        return "coincide"
    return "lost" if group["margin"] <= ROUNDING else ""


def _apart(cosine: float) -> str:
    return "–" if math.isnan(cosine) else degrees(cosine)
