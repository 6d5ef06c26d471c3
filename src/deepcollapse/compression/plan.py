"""What can go at each layer and why: the rank of its weight, of its outputs, of what classes need, and of noise."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice

import torch
from jaxtyping import Float64
from torch import Tensor, nn

from deepcollapse.compression.low_rank.decomposed import DecomposedLayer
from deepcollapse.compression.low_rank.decomposition import LowRank
from deepcollapse.compression.low_rank.rank_choice import largest_useful_rank, rank_for_energy
from deepcollapse.errors import BatchError
from deepcollapse.geometry import effective_rank, rank_at_one_percent, singular_values

ENERGY = 0.999  # of a layer's outputs that is to be kept
# Training samples on which layers are looked at.
SAMPLES = 4096


@dataclass(frozen=True)
class LayerPlan:
    """What one layer's spectrum says can go.

    `rank_at_one_percent` counts the weight's singular values above 1 % of the first, `effective_rank` is that of the
    weight. `energy_rank` directions hold 99.9 % of the variance of the layer's outputs on training samples.
    `distance_to_rank_c` is the share of the weight's Frobenius norm beyond its first C singular values, and `bound`
    what training allows it to be, where that is known. `proposed_rank` is the rank to cut to, min(shape) where the
    layer should stay as it is, and `reason` says why.
    """

    name: str
    shape: tuple[int, int]
    rank_at_one_percent: int
    effective_rank: float
    energy_rank: int
    distance_to_rank_c: float
    bound: float | None
    proposed_rank: int
    reason: str


def plan_of(
    network: nn.Module,
    batches: Iterable[tuple[Tensor, Tensor]],
    layers: Sequence[str] | None = None,
    bounds: Mapping[str, float] | None = None,
) -> tuple[LayerPlan, ...]:
    """Look at every layer: its weight, and on the first few thousand samples what it puts out.

    `bounds` are upper bounds on each layer's relative distance to rank C, by name, such as
    `deepcollapse.theory.rank_collapse_bounds` gives.

    >>> net = nn.Sequential(nn.Linear(8, 64), nn.Linear(64, 2))
    >>> [plan.name for plan in plan_of(net, [(torch.randn(32, 8), torch.arange(32) % 2)])]
    ['0', '1']
    """
    few = first_samples(batches)
    classes = len(torch.cat([y.flatten() for _, y in few]).unique())
    found = LowRank(network, layers, few, how="activations").layers
    return tuple(_plan(name, layer, classes, (bounds or {}).get(name)) for name, layer in found.items())


def first_samples(batches: Iterable[tuple[Tensor, Tensor]]) -> list[tuple[Tensor, Tensor]]:
    """The first batches, as many as hold `SAMPLES` samples; BatchError where there are none."""
    first = next(iter(batches), None)
    if first is None or not len(first[0]):
        raise BatchError("there is no sample in the training batches. Is the data loader empty?")
    return list(islice(iter(batches), math.ceil(SAMPLES / len(first[0]))))


def _plan(name: str, layer: DecomposedLayer, classes: int, bound: float | None) -> LayerPlan:
    # Of a grouped convolution the first group's weight stands for all; ranks of outputs are over all groups.
    weight, (m, n) = layer.directions[0].weight, layer.shape
    numerical, energy = int(rank_at_one_percent(weight)), rank_for_energy(layer.singular_values, ENERGY)
    proposed = max(1, min(numerical, energy))
    if proposed > largest_useful_rank((m, n)):
        proposed, reason = min(m, n), _kept(m, n, min(numerical, energy))
    else:
        reason = _reason(numerical, energy, classes, m, n)
    effective, distance = float(effective_rank(weight)), _beyond(weight, classes)
    reason = _told(distance, bound, classes) + reason if min(m, n) > classes else reason
    return LayerPlan(name, (m, n), numerical, effective, energy, distance, bound, proposed, reason)


def _beyond(weight: Float64[Tensor, "m n"], rank: int) -> float:
    """The share of a weight's Frobenius norm that is beyond its first singular values; 0 of a zero matrix."""
    s = singular_values(weight)
    norm = float(s.norm())
    return float(s[rank:].norm()) / norm if norm else 0.0


def _told(distance: float, bound: float | None, classes: int) -> str:
    """How far the weight is from rank C, and what its training bounds that by where the bound says anything."""
    bounded = f" (at most {100 * bound:.3g} % by its bound)" if bound is not None and bound < 1 else ""
    return f"{100 * distance:.3g} % of its norm lies beyond rank C = {classes}{bounded}; "


def _kept(m: int, n: int, rank: int) -> str:
    return f"factors of rank {rank} would take as much as the layer's {m} x {n} weights: keep it"


def _reason(numerical: int, energy: int, classes: int, m: int, n: int) -> str:
    if energy <= numerical:
        what = f"its outputs vary in {energy} of {m} directions but for 0.1 %"
        if energy <= classes - 1:
            return f"{what}, no more than the C - 1 = {classes - 1} that collapsed classes need"
        if energy <= 2 * classes:
            return f"{what}, near the C - 1 = {classes - 1} that collapsed classes need"
        return f"{what}; collapse would need C - 1 = {classes - 1}"
    return f"its weight has {numerical} of {min(m, n)} singular values above 1 % of the first"
