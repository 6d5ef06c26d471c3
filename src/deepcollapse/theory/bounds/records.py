"""The bounds as records: a row a layer and number, with what it assumes and does not find in the note."""

import math
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from torch import Tensor, nn

from deepcollapse.errors import DeepCollapseError
from deepcollapse.measurement import Measurement
from deepcollapse.records import Record
from deepcollapse.theory.bounds.assumptions import Loss
from deepcollapse.theory.bounds.of_network import NetworkBounds, rank_collapse_bounds
from deepcollapse.theory.bounds.rank_collapse import RankCollapse

# Measure by attribute of RankCollapse; the first stands for a layer of which nothing can be told.
MEASURES = {
    "relative_distance_to_rank_k_weight": "relative_distance",
    "rank_collapse_bound_weight": "bound_cross",
    "rank_collapse_bound_product_weight": "bound_product",
    "rank_collapse_bound_variability_weight": "bound_variability",
    "rank_collapse_bound_alignment_weight": "bound_alignment",
    "rank_collapse_bound_without_decay_weight": "relative_bound",
    "stationarity_residual_weight": "stationarity_residual",
    "implied_decay_weight": "implied_decay",
    "input_cluster_variation_weight": "input_variation",
    "rank_collapse_groups_weight": "groups",
}
# In the unit of the weights; recorded as shares of |W|_F, so that layers can be compared.
_LENGTHS = ("bound_cross", "bound_product", "bound_variability", "bound_alignment")
_UNITS = {"input_variation": "squared input", "groups": "groups"}


def bound_records(found: NetworkBounds, split: str = "train") -> list[Record]:
    """Both sides for every layer, distances and bounds as shares of |W|_F; null with the reason where there is none.

    >>> import torch
    >>> from deepcollapse.theory.bounds.of_network import rank_collapse_bounds
    >>> batches = [(torch.eye(2), torch.arange(2))]
    >>> rows = bound_records(rank_collapse_bounds(nn.Linear(2, 2), batches, nn.functional.cross_entropy, 0.1))
    >>> rows[0].measure, rows[0].value, rows[0].note
    ('relative_distance_to_rank_k_weight', 0.0, 'k = 2: trivially true: with 2 groups no rank of 2 x 2 lies above')
    """
    rows = []
    for layer, bounds in found.layers.items():
        rows += [_record(layer, measure, name, bounds, found, split) for measure, name in MEASURES.items()]
    first = next(iter(MEASURES))
    rows += [Record(layer=layer, measure=first, split=split, note=why) for layer, why in found.left_out.items()]
    return rows


def _record(layer: str, measure: str, name: str, bounds: RankCollapse, found: NetworkBounds, split: str) -> Record:
    value = float(getattr(bounds, name))
    if name in _LENGTHS:
        value = value / bounds.norm if bounds.norm else math.nan
    places = found.positions.get(layer, 1)
    groups = f"k = {bounds.groups}" + (f", {found.partition} times {places} positions" if places > 1 else "")
    note = ": ".join([groups, *(["; ".join(bounds.assumptions)] if bounds.assumptions else [])])
    return Record(layer=layer, measure=measure, value=value, unit=_UNITS.get(name, "1"), split=split, note=note)


def with_bounds(
    measurement: Measurement,
    network: nn.Module,
    batches: Iterable[Any],
    loss: Loss,
    decay: float | None,
    *,
    groups: Tensor | None = None,
    decoupled: bool = False,
    augmented: bool = False,
) -> Measurement:
    """The measurement with the bounds of every layer among its records; a row of the network says why there are none.

    `augmented` says that inputs may have been changed at random in training, which no bound knows of.
    """
    try:
        found = rank_collapse_bounds(network, batches, loss, decay, groups=groups, decoupled=decoupled)
    except (DeepCollapseError, RuntimeError) as error:  # RuntimeError: networks that cannot be differentiated
        note = f"no layer's bound on rank could be worked out: {str(error).splitlines()[0]}"
        row = Record(layer="network", measure=next(iter(MEASURES)), split="train", note=note)
        return replace(measurement, records=(*measurement.records, row))
    if augmented:
        note = "inputs come from code of your own: if it changes them at random, the bounds are for one such draw"
        layers = {n: replace(b, assumptions=(*b.assumptions, note)) for n, b in found.layers.items() if b.rows}
        found = replace(found, layers=found.layers | layers)
    return replace(measurement, records=(*measurement.records, *bound_records(found)))
