"""The tables that the page of theory is drawn from, a row a point."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

Row = Mapping[str, Any]

LAYER_PEELED, SELI, UNCONSTRAINED = "layer-peeled model", "SELI", "unconstrained features"


@dataclass(frozen=True)
class Diagram:
    """Rows of plain numbers; what is undefined (the angle of erased classes) is NaN, what never happens is infinite.

    `angles`: model, majority, minority, feature_budget (None but for the layer-peeled model), ratio, phase,
    cos_w_minority, angle. `thresholds`: majority, minority, feature_budget, budget, collapse_ratio, erasure_ratio at
    the budgets that were asked for; `boundaries`: the same over a range of budgets. `depths`: classes, depth,
    loss_collapsed, loss_low_rank, loss_ratio, kappa_ratio (NaN where the construction has no single kappa), low_rank
    (its name). `settings`: what was asked for, by flag.
    """

    angles: Sequence[Row]
    thresholds: Sequence[Row]
    boundaries: Sequence[Row]
    depths: Sequence[Row]
    settings: Mapping[str, Any] = field(default_factory=dict)

    def tables(self) -> dict[str, Sequence[Row]]:
        """The tables by name."""
        names = ("angles", "thresholds", "boundaries", "depths")
        return {name: getattr(self, name) for name in names}
