"""How many dimensions the features span around one input: PCA of the features of many slightly perturbed copies."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Float64
from torch import Tensor, nn

from deepcollapse.errors import MemoryBudgetError, OptionError, ShapeError
from deepcollapse.geometry.rank import checked_finite, rescaled
from deepcollapse.linalg import as_float64, memory_of
from deepcollapse.measurement.layer_outputs import LayerOutputs, finite
from deepcollapse.measurement.passes import parse_bytes

AT_ONCE = 1 << 24  # numbers of the layers' features that one batch of copies carries
SMALLEST = float(torch.finfo(torch.float32).eps)


@dataclass(frozen=True)
class PerturbedDimensions:
    """Variances along the principal axes of each layer's features around each of n inputs, and how many count.

    Attributes:
        copies: m, the perturbed copies of each input. sigma: the size of the perturbations, in the unit of the inputs.
        outputs: p, the number of features of each layer, in order of depth; maps and sequences are flattened.
        variances: (n, min(m, p)) a layer, largest first, in feature^2: eigenvalues of the covariance over the copies.
        dimensions: (n,) a layer, whole numbers: see `principal_count`.
        notes: layers that were left out.
    """

    copies: int
    sigma: float
    outputs: dict[str, int]
    variances: dict[str, Float64[Tensor, "n r"]]
    dimensions: dict[str, Float64[Tensor, " n"]]
    notes: tuple[str, ...] = ()

    @property
    def layers(self) -> tuple[str, ...]:
        """The layers, in the order in which they fire."""
        return tuple(self.outputs)


def principal_count(variances: Float[Tensor, " r"], tolerance: float | int = 1.0) -> Float64[Tensor, ""]:
    r"""How many of the min(m, p) = r variances are at least tolerance * r * eps32 times the largest.

    A whole number in [0, r]; 0 where all are 0. The published cut, with tolerance 1, is 6.0e-4 of the largest variance
    (2.4 % of a standard deviation) for r = 5000, and stricter where fewer copies or features leave fewer axes. Raises
    NonFiniteError, and OptionError for a tolerance that is negative. Source: Feng et al. 2022.

    >>> principal_count(torch.tensor([1.0, 1e-3, 1e-9])).item()
    2.0
    """
    if not tolerance >= 0:
        raise OptionError(f"tolerance must be at least 0; got {tolerance}.")
    found = rescaled(checked_finite(variances, "variances"))[0]
    top = found.amax() if len(found) else found.new_zeros(())
    if top <= 0:
        return found.new_zeros(())
    return (found >= tolerance * len(found) * SMALLEST * top).sum().double()


def perturbed_dimensions(
    network: nn.Module,
    inputs: Float[Tensor, "n ..."],
    *,
    layers: str | Sequence[str] | None = None,
    head: str | None = "auto",
    copies: int = 5000,
    sigma: float | int = 1e-3,
    tolerance: float | int = 1.0,
    seed: int = 0,
    memory_budget: int | str = "1GiB",
    progress: Callable[[int], None] | None = None,
) -> PerturbedDimensions:
    r"""The number of principal axes of h_l(x + sigma N(0, I)) over many copies, at every layer l and input x.

    About the rank of the layer's Jacobian where the network is nearly linear within sigma, and more where it curves.
    Features h_l are flattened, and centred on their mean over the copies. For a layer of p features and m copies the
    smaller of the p x p and m x m Gram matrices is summed in float64, so that the m x p features are never kept: where
    p > m in blocks of features, for which the network runs again on the same copies. The network runs in eval mode in
    its own precision (half precision widened to float32); modes, hooks and random generators are afterwards as they
    were, and the noise depends on nothing but `seed`.

    Args:
        network, layers, head: as in `measure`; the head's input is always among the layers.
        inputs: one floating tensor (n, ...), as the network takes it.
        copies, sigma, tolerance: published as 5000, 1e-3 and 1.
        seed: of the noise, drawn on the CPU.
        memory_budget: for blocks of features and Gram matrices of one sweep; more layers wait for another sweep.
        progress: called with the number of inputs so far.

    Raises ShapeError without inputs, BatchError, OptionError, CaptureError, LayerNameError, NonFiniteError, and
    MemoryBudgetError where the Gram matrix of a layer is larger than memory allows. Source: Feng et al. 2022.

    >>> net = nn.Sequential(nn.Linear(5, 3), nn.Identity(), nn.Linear(3, 8))
    >>> found = perturbed_dimensions(net, torch.randn(1, 5), layers=["2"], copies=100)
    >>> {layer: dimensions.tolist() for layer, dimensions in found.dimensions.items()}
    {'head.input': [3.0], '2': [3.0]}
    """
    _check_options(copies, sigma)
    budget, sub_seeds = parse_bytes(memory_budget), torch.Generator().manual_seed(seed)
    found: list[dict[str, Tensor]] = []
    with LayerOutputs(network, layers=layers, head=head) as features:
        x = features.placed(inputs)
        if len(x) == 0:
            raise ShapeError(f"inputs have shape {tuple(x.shape)}; expected (samples, ...) with at least one sample.")
        around = _Around(features, copies, float(sigma), budget)
        for number in range(1, len(x) + 1):
            own = int(torch.randint(1 << 62, (), generator=sub_seeds))
            found.append(dict(around(x[number - 1 : number], own)))
            if progress is not None:
                progress(number)
    variances = {name: torch.stack([one[name] for one in found]) for name in around.outputs}
    return PerturbedDimensions(
        copies=copies,
        sigma=float(sigma),
        outputs=around.outputs,
        variances=variances,
        dimensions={
            name: torch.stack([principal_count(row, tolerance) for row in rows]) for name, rows in variances.items()
        },
        notes=tuple(features.notes),
    )


def _check_options(copies: int, sigma: float | int) -> None:
    if copies < 2:
        raise OptionError(f"copies must be at least 2, to have a variance; got {copies}.")
    if not 0 < sigma < float("inf"):
        raise OptionError(f"sigma must be above 0 and finite; got {sigma}.")


@dataclass(frozen=True)
class _Block:
    """Some of a layer's features, `columns` of them, in one sweep; `tall` where the layer has more than copies."""

    layer: str
    columns: slice
    tall: bool


class _Around:
    """Variances of every layer's features around one input after the other."""

    def __init__(self, features: LayerOutputs, copies: int, sigma: float, budget: int) -> None:
        self.features, self.copies, self.sigma, self.budget = features, copies, sigma, budget
        self.outputs: dict[str, int] = {}

    def __call__(self, x: Float[Tensor, "1 ..."], seed: int) -> Iterator[tuple[str, Float64[Tensor, " r"]]]:
        centre = {name: finite(name, values, "features") for name, values in self.features(x).items()}
        self.outputs = {name: values.shape[1] for name, values in centre.items()}
        self._check_memory(x.device)
        grams: dict[str, Tensor] = {}
        sweeps = self._sweeps()
        for number, blocks in enumerate(sweeps):
            self._sweep(x, seed, centre, blocks, grams)
            waiting = {block.layer for later in sweeps[number + 1 :] for block in later}
            for name in [name for name in grams if name not in waiting]:
                gram, scale = rescaled(finite(name, grams.pop(name), "features of perturbed copies"))
                yield name, (torch.linalg.eigvalsh(gram) * (scale / self.copies)).clamp(min=0).flip(0).cpu()

    def _check_memory(self, device: torch.device) -> None:
        name, p = max(self.outputs.items(), key=lambda item: item[1])
        side, have = min(p, self.copies), memory_of(device)
        if (need := 3 * 8 * side**2) > have // 2:
            raise MemoryBudgetError(
                f"layer {name!r}: principal axes of {p} features over {self.copies} copies take {need / 1e9:.1f} GB, "
                f"and half of the memory is {have / 2e9:.1f} GB. Choose fewer copies, or leave the layer out."
            )

    def _sweeps(self) -> list[list[_Block]]:
        """Blocks of features in groups that fit the budget together; each takes at least one feature."""
        sweeps, left = [], 0
        column = 8 * self.copies
        for name, p in self.outputs.items():
            tall, start = p > self.copies, 0
            while start < p or start == p == 0:
                # The Gram matrix counts where it is the whole of a layer, the block of features where it is not.
                need = column if tall else 8 * p**2
                if not sweeps or need > left:
                    sweeps.append([])
                    left = max(self.budget, column)
                stop = min(p, start + left // column) if tall else p
                left -= column * (stop - start) if tall else need
                sweeps[-1].append(_Block(name, slice(start, stop), tall))
                start = max(stop, 1)
        return sweeps

    def _sweep(self, x: Tensor, seed: int, centre: dict[str, Tensor], blocks: list[_Block], grams: dict) -> None:
        """Run all copies once and add what these blocks of features give to the Gram matrices."""
        # About the features of the input itself they are of the size of the perturbations: sums of squares keep digits.
        own = {block.layer: as_float64(centre[block.layer][:, block.columns]) for block in blocks}
        rows = {b.layer: own[b.layer].new_empty(self.copies, own[b.layer].shape[1]) for b in blocks if b.tall}
        sums = {b.layer: torch.zeros_like(own[b.layer][0]) for b in blocks if not b.tall}
        start = 0
        for found in self._copies(x, seed):
            for block in blocks:
                rest = as_float64(found[block.layer][:, block.columns]) - own[block.layer]
                if block.tall:
                    rows[block.layer][start : start + len(rest)] = rest
                else:
                    sums[block.layer] += rest.sum(dim=0)
                    _add(grams, block.layer, rest.T @ rest)
            start += len(next(iter(found.values())))
        for name, total in sums.items():
            grams[name] -= total.outer(total / self.copies)
        for name, whole in rows.items():
            whole -= whole.mean(dim=0)
            _add(grams, name, whole @ whole.T)

    def _copies(self, x: Tensor, seed: int) -> Iterator[dict[str, Tensor]]:
        """The features of all copies, batch by batch: the same ones for the same seed, however large the batches."""
        generator = torch.Generator().manual_seed(seed)
        step = max(1, AT_ONCE // (x.numel() + sum(self.outputs.values())))
        for start in range(0, self.copies, step):
            # One by one: what a generator draws at once depends on how much.
            draws = range(min(step, self.copies - start))
            noise = torch.stack([torch.randn(x.shape[1:], generator=generator) for _ in draws])
            yield self.features(x + self.sigma * noise.to(x.device, x.dtype))


def _add(grams: dict[str, Tensor], name: str, part: Tensor) -> None:
    grams[name] = grams[name].add_(part) if name in grams else part
