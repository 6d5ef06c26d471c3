"""Groups of like classes at an optimum: how many, how long, and how far apart they stand."""

import math
from typing import TYPE_CHECKING, Any

from deepcollapse.cli.terminal import say, show_table
from deepcollapse.cli.theory.shown import degrees, figures

if TYPE_CHECKING:
    from deepcollapse.theory.reduced.groups import Balanced, Groups

MOST_ROWS = 20


def group_facts(groups: "Groups", balanced: "Balanced", collapsed: "tuple[bool, ...] | None") -> list[dict[str, Any]]:
    """Of each group: samples a class, classes, squared lengths, cosines inside it, and whether its classes coincide."""
    facts = []
    for g, (size, count) in enumerate(zip(groups.sizes, groups.counts, strict=True)):
        facts.append(
            {
                "samples": count,
                "classes": size,
                "weight_norm_squared": balanced.norm_squared("classifier", g),
                "cos_w": balanced.cosine("classifier", g, g),
                "cos_h": balanced.cosine("features", g, g),
                "collapsed": bool(collapsed[g]) if collapsed and size > 1 else False,
            }
        )
    return facts


def show_groups(groups: list[dict[str, Any]]) -> None:
    """A row a group, those with most samples first."""
    rows = [
        (
            figures(group["samples"]),
            str(group["classes"]),
            figures(math.sqrt(group["weight_norm_squared"])),
            "one class" if group["classes"] == 1 else _apart(group["cos_w"]),
            "one class" if group["classes"] == 1 else _apart(group["cos_h"]),
            "yes" if group["collapsed"] else "",
        )
        for group in groups[:MOST_ROWS]
    ]
    print()
    heads = ("samples\na class", "classes", "length of\nclassifiers", "angle of\nclassifiers", "angle of\nfeatures")
    show_table((*heads, "coincide"), rows, right=(0, 1, 2, 3, 4))
    if len(groups) > MOST_ROWS:
        print()
        say(f"{len(groups) - MOST_ROWS} more groups with fewer samples are in the output of --json.")


def _apart(cosine: float) -> str:
    return "–" if math.isnan(cosine) else degrees(cosine)
