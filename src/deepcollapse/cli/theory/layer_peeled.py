"""`deepcollapse theory layer-peeled`: free features and a linear classifier, both of bounded length."""

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from deepcollapse.cli.terminal import say, say_json
from deepcollapse.cli.theory.classes import Classes
from deepcollapse.cli.theory.group_table import group_facts, show_groups, warn_of_time
from deepcollapse.cli.theory.shown import degrees, figures, of_groups, show_facts, told
from deepcollapse.cli.theory.verdict import lost, verdict

if TYPE_CHECKING:
    from deepcollapse.theory.problems.layer_peeled import LayerPeeledOptimum
    from deepcollapse.theory.reduced.groups import Groups


@dataclass(frozen=True)
class LayerPeeled:
    """The layer-peeled model: how imbalance closes angles between minority classes."""

    classes: Classes = field(default_factory=Classes)
    """Which classes there are; name them in one way."""
    weight_budget: float = 1.0
    """Mean squared length that the classifier's rows may have (E_W); deepcollapse measure tells a network's."""
    feature_budget: float = 5.0
    """Mean squared length that features may have (E_H), about their mean; deepcollapse measure tells it too."""
    json: bool = False
    """Print every digit as JSON."""

    def run(self) -> int:
        """Solve the model and say in which phase it is."""
        from deepcollapse.theory.problems.layer_peeled import LayerPeeled as Problem

        groups = self.classes.groups()
        warn_of_time(len(groups.sizes))
        optimum = Problem(groups, self.weight_budget, self.feature_budget).optimum()
        facts, each = dict(optimum.facts()), group_facts(optimum)
        two = len(groups.sizes) == 2
        if self.json:
            budgets = {"weight_budget": self.weight_budget, "feature_budget": self.feature_budget}
            say_json({**facts, "model": "layer-peeled", "settings": budgets, "groups": each})
            return 0
        say(f"Solved for budgets E_W = {figures(self.weight_budget)} and E_H = {figures(self.feature_budget)}.")
        print()
        show_facts(of_groups(facts, len(groups.sizes)))
        if not two:
            show_groups(each)
        told(*(self._two(groups, optimum) if two else _others(groups, optimum)))
        return 0

    def _two(self, groups: "Groups", optimum: "LayerPeeledOptimum") -> list[str]:
        """The phase in words, how far it is from the threshold, and what would restore the angle."""
        majority, minority = groups.sizes
        counts = groups.counts
        ratio = counts[0] / counts[1] if counts[1] else math.inf
        return [
            _phase(optimum, groups),
            _distance(ratio, optimum.threshold_ratio) if minority > 1 else "",
            self._remedy(majority, minority, ratio, optimum.threshold_ratio) if minority > 1 else "",
        ]

    def _remedy(self, majority: int, minority: int, ratio: float, threshold: float) -> str:
        from deepcollapse.theory.problems.phases import critical_budget

        if ratio == 1:
            return ""
        if math.isinf(ratio):
            return "What to do: collect samples of the minority classes; without any, no budget tells them apart."
        budget = math.sqrt(self.weight_budget * self.feature_budget)
        least = critical_budget(majority, minority, ratio)
        out = f"more than {figures(ratio / threshold, 4)} times to part the classes, " if ratio >= threshold else ""
        return (
            f"What to do: show each minority sample {out}{figures(ratio)} times to restore the angle of balanced "
            "classes. Less weight decay, too, makes the budget larger: the classes stand apart where √(E_W E_H), here "
            f"{figures(budget, 4)}, is above {figures(least, 4)}."
        )


def _phase(optimum: "LayerPeeledOptimum", groups: "Groups") -> str:
    minority = groups.sizes[1]
    which = f"the {minority} minority classes"
    if minority == 1:
        fate = "is erased: its classifier and features are zero" if optimum.phase == "erased" else "keeps a direction"
        if not groups.counts[1]:
            fate = "has no samples, so nothing but the other classes shapes its classifier"
        return f"By the layer-peeled model the one minority class {fate}."
    if optimum.phase == "erased":
        return f"By the layer-peeled model {which} are erased: their classifiers and features are zero."
    if optimum.phase == "collapse":
        return (
            f"By the layer-peeled model this is minority collapse: the classifiers of {which} coincide, and the "
            "network cannot tell these classes apart."
        )
    angle, best = degrees(optimum.balanced.cosine("classifier", 1, 1)), degrees(-1 / (groups.num_classes - 1))
    return f"By the layer-peeled model {which} stand {angle} apart; balanced classes would stand {best} apart."


def _distance(ratio: float, threshold: float) -> str:
    if math.isinf(threshold):
        return "The threshold R0 of minority collapse lies beyond all numbers."
    if math.isinf(ratio):
        return f"Minority classes coincide from a ratio of R0 = {figures(threshold)} on; here they have no samples."
    apart, where = (ratio / threshold, "beyond") if ratio >= threshold else (threshold / ratio, "below")
    return (
        f"Minority classes coincide from a ratio of R0 = {figures(threshold)} on: {figures(ratio)} is a factor of "
        f"{apart:.3g} {where} it."
    )


def _others(groups: "Groups", optimum: "LayerPeeledOptimum") -> list[str]:
    """The verdict where classes are balanced or of more than two sizes."""
    if len(groups.sizes) == 1:
        angle = degrees(-1 / (groups.num_classes - 1))
        return [f"By the layer-peeled model balanced classes form a simplex ETF: every two stand {angle} apart."]
    told = verdict("layer-peeled", optimum)
    if lost(optimum):
        told.append(
            "What to do: deepcollapse theory forecast with these --counts tells how often to show the smallest classes."
        )
    return told
