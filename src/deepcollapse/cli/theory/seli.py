"""`deepcollapse theory seli`: the geometry that unlimited training of an imbalanced classifier tends to."""

from dataclasses import dataclass, field

from deepcollapse.cli.terminal import say_json
from deepcollapse.cli.theory.classes import Classes
from deepcollapse.cli.theory.group_table import group_facts, show_groups
from deepcollapse.cli.theory.shown import degrees, show_facts, told


@dataclass(frozen=True)
class Seli:
    """SELI: the geometry without any limit on weights or features, for any imbalance."""

    classes: Classes = field(default_factory=Classes)
    """Which classes there are; name them in one way."""
    json: bool = False
    """Print every digit as JSON."""

    def run(self) -> int:
        """Work the geometry out and say what it means."""
        from deepcollapse.theory.problems.seli import Seli as Geometry

        groups = self.classes.groups()
        optimum = Geometry(groups).optimum()
        facts, each = dict(optimum.facts()), group_facts(groups, optimum.balanced, None)
        if self.json:
            say_json({**facts, "groups": each})
            return 0
        show_facts(facts)
        show_groups(each)
        angle = degrees(-1 / (groups.num_classes - 1))
        told(
            "By SELI, the direction that training without decay tends to, slowly, no classes coincide at any finite "
            f"ratio; balanced classes stand {angle} apart, and imbalance brings the classifiers of smaller classes "
            "closer while their features spread.",
            "What to do: where a network has weight decay, ask the models that know of it too: deepcollapse theory "
            "layer-peeled and deepcollapse theory ufm. They say otherwise.",
        )
        return 0
