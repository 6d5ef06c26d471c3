"""`deepcollapse theory seli`: the geometry that unlimited training of an imbalanced classifier tends to."""

from dataclasses import dataclass, field

from deepcollapse.cli.terminal import say_json
from deepcollapse.cli.theory.classes import Classes
from deepcollapse.cli.theory.group_table import group_facts, show_groups
from deepcollapse.cli.theory.shown import degrees, of_groups, show_facts, told
from deepcollapse.errors import OptionError


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
        if 0 in groups.counts:
            raise OptionError(
                "SELI needs samples of every class; got one with 0 of them. Leave it out, or ask deepcollapse theory "
                "layer-peeled, which takes classes without samples."
            )
        optimum = Geometry(groups).optimum()
        facts, each = dict(optimum.facts()), group_facts(optimum)
        if self.json:
            say_json({**facts, "model": "SELI", "groups": each})
            return 0
        show_facts(of_groups(facts, len(groups.sizes)))
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
