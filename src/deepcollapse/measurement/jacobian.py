"""Partial Jacobians: the derivative of every layer's features by some of the input's coordinates, and its rank."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Float64, Int64
from torch import Tensor, nn

from deepcollapse.errors import ShapeError
from deepcollapse.geometry.gram_rank import gram_rank
from deepcollapse.geometry.rank import numerical_rank, rescaled
from deepcollapse.measurement.coordinates import checked_coordinates
from deepcollapse.measurement.derivatives import Derivatives, Mode
from deepcollapse.measurement.layer_outputs import LayerOutputs
from deepcollapse.measurement.passes import parse_bytes
from deepcollapse.measurement.state import exact


@dataclass(frozen=True)
class PartialJacobians:
    """Singular values and ranks of the Jacobians J (p, k) of each layer at each of n inputs.

    Attributes:
        coordinates: (k,) the input's coordinates, as flat indices into one input.
        outputs: p, the number of features of each layer, in order of depth; maps and sequences are flattened.
        singular_values: (n, min(p, k)) a layer, largest first, in units of feature over input.
        gram_ranks: (n,) a layer, whole numbers, by the published rule: see `gram_rank`.
        svd_ranks: (n,) a layer, by the plain rule: see `numerical_rank`, with the eps of the network's own precision.
        mode: how derivatives were taken. Neither way changes what they are.
        notes: layers that were left out.
    """

    coordinates: Int64[Tensor, " k"]
    outputs: dict[str, int]
    singular_values: dict[str, Float64[Tensor, "n r"]]
    gram_ranks: dict[str, Float64[Tensor, " n"]]
    svd_ranks: dict[str, Float64[Tensor, " n"]]
    mode: Mode
    notes: tuple[str, ...] = ()

    @property
    def layers(self) -> tuple[str, ...]:
        """The layers, in the order in which they fire."""
        return tuple(self.outputs)


def partial_jacobians(
    network: nn.Module,
    inputs: Float[Tensor, "n ..."],
    *,
    layers: str | Sequence[str] | None = None,
    head: str | None = "auto",
    coordinates: Sequence[int] | Int64[Tensor, " k"] | None = None,
    memory_budget: int | str = "1GiB",
    progress: Callable[[int], None] | None = None,
) -> PartialJacobians:
    r"""Ranks of J = d h_l / d x_S at every layer l and input x, with h_l the flattened features and S some coordinates.

    The rank of a subset of columns is at most the full one, max_x rank J the dimension of the layer's function. Exact
    rank never grows with depth where each layer sees the one before alone; numerical ranks may, so nothing here
    assumes that they fall. The network runs in eval mode in its own precision (half precision widened to float32), one
    input at a time; modes, hooks, gradients and random generators are afterwards as they were. Derivatives go forward,
    many directions at once and all layers in one sweep, or backward where outputs are fewer than coordinates or an
    operation knows no forward derivative. A zero Jacobian, as of a constant layer or behind a `detach`, has rank 0.

    Args:
        network, layers, head: as in `measure`; the head's input is always among the layers.
        inputs: one floating tensor (n, ...), as the network takes it.
        coordinates: distinct flat indices into one input; by default the centre patch (`centre_patch`).
        memory_budget: for the Jacobians of one sweep; layers beyond it wait for another sweep.
        progress: called with the number of inputs so far.

    Raises ShapeError without inputs, BatchError, OptionError, CaptureError, LayerNameError, NonFiniteError, and
    MemoryBudgetError where one layer's Jacobian alone is larger. Source: Feng et al. 2022.

    >>> net = nn.Sequential(nn.Linear(5, 3), nn.Identity(), nn.Linear(3, 4))
    >>> found = partial_jacobians(net, torch.randn(2, 5), layers=["1", "2"])
    >>> {layer: ranks.tolist() for layer, ranks in found.gram_ranks.items()}
    {'1': [3.0, 3.0], 'head.input': [3.0, 3.0], '2': [3.0, 3.0]}
    """
    budget = parse_bytes(memory_budget)
    with LayerOutputs(network, layers=layers, head=head) as features:
        x = features.placed(inputs)
        if len(x) == 0:
            raise ShapeError(f"inputs have shape {tuple(x.shape)}; expected (samples, ...) with at least one sample.")
        chosen = checked_coordinates(coordinates, x.shape[1:])
        derivatives = Derivatives(features, chosen.to(x.device), budget)
        found: list[dict[str, _Spectrum]] = []
        for number in range(1, len(x) + 1):
            found.append({name: _Spectrum.of(j) for name, j in derivatives.at(x[number - 1 : number])})
            if progress is not None:
                progress(number)
    assert derivatives.mode is not None
    by_layer = {name: [spectra[name] for spectra in found] for name in derivatives.outputs}
    return PartialJacobians(
        coordinates=chosen,
        outputs=derivatives.outputs,
        singular_values={name: torch.stack([s.values for s in spectra]) for name, spectra in by_layer.items()},
        gram_ranks={name: torch.stack([s.gram_rank for s in spectra]) for name, spectra in by_layer.items()},
        svd_ranks={name: torch.stack([s.svd_rank for s in spectra]) for name, spectra in by_layer.items()},
        mode=derivatives.mode,
        notes=tuple(features.notes),
    )


@dataclass(frozen=True)
class _Spectrum:
    """What is kept of one Jacobian, on the CPU."""

    values: Float64[Tensor, " r"]
    gram_rank: Float64[Tensor, ""]
    svd_rank: Float64[Tensor, ""]

    @classmethod
    def of(cls, jacobian: Float[Tensor, "p k"]) -> "_Spectrum":
        with exact():
            values = tall_singular_values(jacobian)
            share = max(jacobian.shape) * torch.finfo(jacobian.dtype).eps
            rank = numerical_rank(values, min(share, 0.5))
            return cls(values.cpu(), gram_rank(jacobian).cpu(), rank.cpu())


def tall_singular_values(matrix: Float[Tensor, "p k"]) -> Float64[Tensor, " r"]:
    """The min(p, k) singular values, largest first; a tall matrix is folded, block after block, into its R factor.

    >>> tall_singular_values(torch.tensor([[3.0], [0.0], [4.0]])).tolist()
    [5.0]
    """
    rows, columns = matrix.shape
    peak = matrix.abs().amax() if matrix.numel() else matrix.new_zeros(())
    scale = rescaled(peak.double())[1]
    if rows <= 8 * columns:
        return torch.linalg.svdvals(matrix.double() / scale) * scale
    folded = torch.zeros(0, columns, dtype=torch.float64, device=matrix.device)
    for block in matrix.split(4 * columns):
        folded = torch.linalg.qr(torch.cat([folded, block.double() / scale]), mode="r").R
    return torch.linalg.svdvals(folded) * scale
