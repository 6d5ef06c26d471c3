"""The ranks of weights: the matrix of every linear and convolutional layer, the unfolding of kernels named."""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from deepcollapse.geometry import Metric, channel_unfolding, singular_values, spatial_unfolding
from deepcollapse.geometry.rank import rounding_tolerance
from deepcollapse.measurement.evidence import wanted_measures
from deepcollapse.measurement.layers import distinct_layers, evenly_spread
from deepcollapse.measurement.measurement import Measurement
from deepcollapse.measurement.state import exact
from deepcollapse.records import Record

Kernel = nn.modules.conv._ConvNd
SUFFIX, SPATIAL_SUFFIX = "_weight", "_weight_spatial"
OF_FEATURES = {"rankme", "alpha_req", "covariance_rank"}  # ranks that are defined of features alone
MAX_WEIGHT_DIM = 2048  # a square matrix of that many rows takes some seconds, one of twice as many eight times that
MOST_WORK = 4e10  # of m n min(m, n), summed over a network: some ten seconds of one core


@dataclass(frozen=True)
class WeightMatrix:
    """A layer's weight as a matrix, the way it was unfolded, and what a reader must know of it."""

    layer: str
    matrix: Tensor
    reduction: str = "none"
    suffix: str = SUFFIX
    notes: list[str] = field(default_factory=list)

    def limit(self, max_weight_dim: int) -> int:
        """The longest that the shorter side may be."""
        return max_weight_dim // 4 if self.suffix == SPATIAL_SUFFIX else max_weight_dim

    def work(self, max_weight_dim: int) -> int:
        """What its singular values cost: m n min(m, n), and nothing where they are not taken."""
        shorter = min(self.matrix.shape)
        return self.matrix.numel() * shorter if shorter <= self.limit(max_weight_dim) else 0


def measure_weights(
    network: nn.Module, *, measures: Sequence[str] | None = None, max_weight_dim: int = MAX_WEIGHT_DIM
) -> Measurement:
    """The ranks and norms of the weights of every linear and convolutional layer of a network, without any data.

    Of each layer: numerical rank at the rounding of the weights' own type and at 1 %, stable, nuclear, effective,
    energy effective and energy rank, participation ratio, the ranks above noise, its two norms, and all singular
    values. Names end in `_weight`; `reduction` is "none" for linear maps and "channel unfolding" for kernels. A kernel
    that is wider than one position both ways has rows besides that end in `_weight_spatial`. Attention's joint
    projection of queries, keys and values is three matrices. A module, or weight, that occurs several times is measured
    once, under its first name. Lookup tables (embeddings) are left out.

    A weight that holds NaN, has no entries or whose shorter side is above `max_weight_dim` (a quarter of that for the
    spatial unfolding, which is nearly square and costs the most) gives NaN with the reason in the note. The classifier
    is a layer like any other here; `measure` records its ranks as `..._classifier` of "head", and those of all others
    as here. Raises UnknownNameError for measures that there are not.

    >>> network = nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 2, bias=False))
    >>> weights = measure_weights(network)
    >>> weights.layers, weights["numerical_rank_weight", "0"]
    (('0', '2'), 3.0)
    """
    found = list(weight_matrices(network))
    records, arrays = weight_records(found, wanted_measures(measures), max_weight_dim)
    return Measurement(tuple(records), arrays, {}, tuple(dict.fromkeys(w.layer for w in found)), runs=0)


def weight_records(
    matrices: Iterable[WeightMatrix], metrics: Mapping[str, Metric], max_weight_dim: int = MAX_WEIGHT_DIM
) -> tuple[list[Record], dict[str, Tensor]]:
    """Records of the measures that ask for a matrix, and the arrays of singular values; nothing where none does."""
    wanted = [metric for name, metric in metrics.items() if metric.needs == ("matrix",) and name not in OF_FEATURES]
    records, arrays = [], {}
    for weight in matrices if wanted else ():
        with exact():
            told, spectrum = _of_matrix(weight, wanted, max_weight_dim)
        records += told
        if spectrum is not None:
            key = f"{weight.layer}/singular_values{weight.suffix}"
            arrays[key] = spectrum
            records.append(_record(weight, "singular_values", array=key))
    return records, arrays


def weight_matrices(network: nn.Module, without: nn.Module | None = None) -> Iterator[WeightMatrix]:
    """Every distinct weight of linear and convolutional layers as a matrix, those of one module left out."""
    seen: dict[tuple[int, int], tuple[str, Tensor]] = {}
    for layer, module in distinct_layers(network).items():
        for name, held, part, weight in _weights(layer, module):
            # The tensor is kept, for an id means something only while its tensor lives.
            owner, _ = seen.setdefault((id(held), part), (name, held))
            # A weight that two modules share is one matrix, and the head's is recorded as the head's.
            if module is not without and owner == name:
                yield from _unfolded(name, module, _whole(weight))


def affordable(
    matrices: Sequence[WeightMatrix], max_weight_dim: int, most: float | int = MOST_WORK
) -> tuple[list[WeightMatrix], str | None]:
    """The matrices whose singular values together cost no more than `most`, evenly spread, and a note on those left.

    Beside features that pass by anyway, the weights of a large network would cost minutes at every measured epoch.
    """
    work = sum(weight.work(max_weight_dim) for weight in matrices)
    if work <= most:
        return list(matrices), None
    names = list(dict.fromkeys(weight.layer for weight in matrices))
    chosen = evenly_spread(names, max(2, int(len(names) * most / work)))
    note = (
        f"the weights of {len(chosen)} of {len(names)} layers are measured, evenly spread from {names[0]} to "
        f"{names[-1]}; measure_weights(network) takes all"
    )
    return [weight for weight in matrices if weight.layer in chosen], note


def _weights(layer: str, module: nn.Module) -> Iterator[tuple[str, Tensor, int, Tensor]]:
    """The weights of a module itself that act as linear maps: layer, the tensor that holds it, which part of it, it."""
    if isinstance(module, nn.MultiheadAttention):
        together = module.in_proj_weight
        for part, name in enumerate(("q_proj", "k_proj", "v_proj")):
            held = getattr(module, f"{name}_weight") if together is None else together
            yield f"{layer}.{name}", held, part, held if together is None else together.chunk(3)[part]
    elif isinstance(module, nn.Linear | Kernel) or type(module).__name__ == "Conv1D":  # transformers' linear map
        weight = _made(module)
        if isinstance(weight, Tensor) and weight.ndim > 1 and not is_lazy(weight):
            yield layer, weight, 0, weight


def _made(module: nn.Module) -> object:
    """A module's weight. One that is made anew at each use is made in eval mode, where it leaves no trace."""
    parametrizations = getattr(module, "parametrizations", None)
    modes = {} if parametrizations is None else {part: part.training for part in parametrizations.modules()}
    try:
        for part in modes:
            part.training = False
        with torch.no_grad():
            return getattr(module, "weight", None)
    finally:
        for part, mode in modes.items():
            part.training = mode


def _whole(weight: Tensor) -> Tensor:
    """A weight on the CPU, put together where it is sharded."""
    return getattr(weight, "full_tensor", lambda: weight)().detach().cpu()


def _unfolded(name: str, module: nn.Module, weight: Tensor) -> Iterator[WeightMatrix]:
    if not isinstance(module, Kernel):
        yield WeightMatrix(name, weight)
        return
    notes = [] if module.groups == 1 else [f"{module.groups} groups: the kernel as it is stored, groups stacked"]
    # Transposed convolutions store their inputs first; grouped ones cannot be turned without taking groups apart.
    kernel = weight.transpose(0, 1) if module.transposed and module.groups == 1 else weight
    if kernel.ndim == 4 and math.prod(kernel.shape[2:]) > 1:
        yield WeightMatrix(name, spatial_unfolding(kernel), "spatial unfolding", SPATIAL_SUFFIX, notes)
    yield WeightMatrix(name, channel_unfolding(kernel), "channel unfolding", SUFFIX, notes)


def _of_matrix(weight: WeightMatrix, metrics: Sequence[Metric], limit: int) -> tuple[list[Record], Tensor | None]:
    """A matrix's records and its singular values; None where it has none."""
    matrix = weight.matrix
    sides = {"rows": len(matrix), "columns": matrix.shape[1]}
    records = [_record(weight, name, value=value, unit=name) for name, value in sides.items()]
    reason = _why_not(matrix, weight.limit(limit))
    s = None if reason else singular_values(matrix)
    norms = {"spectral_norm": math.nan, "frobenius_norm": math.nan}
    if s is not None:
        norms = {"spectral_norm": float(s[0]), "frobenius_norm": float(torch.linalg.vector_norm(s))}
        reason = None if s[0] > 0 else "all weights are 0"
    for metric in metrics:
        value, note = (math.nan, None) if s is None else _value(metric, matrix, s)
        records.append(_record(weight, metric.name, value=value, unit=metric.unit, note=reason or note))
    for name, value in norms.items():
        records.append(_record(weight, name, value=value, unit="weight", note=reason))
    return records, s


def _why_not(matrix: Tensor, limit: int) -> str | None:
    """Why a matrix has no singular values here; None where it has."""
    if matrix.numel() == 0:
        return "the weight has no entries"
    if bad := int((~matrix.isfinite()).sum()):
        return f"the weight holds {bad} NaN or infinite entries"
    if min(matrix.shape) > limit:
        sides = " x ".join(map(str, matrix.shape))
        return f"the shorter side of {sides} is above {limit} (see max_weight_dim), so no singular values were taken"
    return None


def _value(metric: Metric, matrix: Tensor, s: Tensor) -> tuple[float, str | None]:
    """A measure of a matrix whose singular values are known, and how it was taken where that is a choice."""
    tolerance, given, note = rounding_tolerance(matrix), {}, None
    if "shape" in metric.parameters:
        given["shape"] = (len(matrix), matrix.shape[1])
        # Rounding is noise too, but of no one size, and some of it would stand above its own edge.
        s = torch.where(s > tolerance * s[0], s, 0.0)
    if metric.name == "numerical_rank":
        given["tolerance"] = tolerance
        note = f"above {tolerance:.2g} of the largest: the rounding of {_rounded_as(matrix.dtype)}"
    return float(metric.function(s, **given)), note  # pyright: ignore[reportArgumentType]


def _rounded_as(came_in: torch.dtype) -> str:
    """The type whose rounding the tolerance is, in words: half precisions are held to float32's."""
    name = str(came_in).removeprefix("torch.")
    half = torch.finfo(came_in).eps > torch.finfo(torch.float32).eps
    return f"float32, for {name}'s own would hide too much" if half else name


def _record(weight: WeightMatrix, measure: str, note: str | None = None, **columns: Any) -> Record:
    notes = "; ".join([*([note] if note else []), *weight.notes]) or None
    return Record(
        layer=weight.layer, measure=measure + weight.suffix, reduction=weight.reduction, note=notes, **columns
    )
