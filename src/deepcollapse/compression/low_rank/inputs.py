r"""What enters the layers of a network: mean and second moments, streamed in float64 and mergeable.

A linear layer meets one row per sample (or per position of a sequence), a convolution one row per patch, its padding
included. Moments are kept about the running mean: never as a mean square less a squared mean.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float64
from torch import Tensor, nn
from torch.nn import functional

from deepcollapse.compression.layers import Layer, compressible_layers
from deepcollapse.compression.low_rank.passes import Watch, run
from deepcollapse.errors import CaptureError, MemoryBudgetError, MergeError, NonFiniteError
from deepcollapse.linalg import as_float64, memory_of
from deepcollapse.measurement.state import exact

CHUNK = 1 << 21  # numbers of patches at a time: 16 MiB in float64


@dataclass(frozen=True)
class InputMoments:
    """Moments of the rows that entered one layer, in `g` groups: 1, or those of a grouped convolution.

    Attributes:
        count: rows seen, N.
        mean: (g, n). scatter: (g, n, n), the sum over rows of (x - mean)(x - mean)^T. magnitude: (g, n), mean |x|.

    >>> rows = torch.tensor([[1.0, 0.0], [3.0, 0.0]]).double()
    >>> InputMoments.of(rows[None]).second_moment.tolist()
    [[[5.0, 0.0], [0.0, 0.0]]]
    """

    count: int
    mean: Float64[Tensor, "g n"]
    scatter: Float64[Tensor, "g n n"]
    magnitude: Float64[Tensor, "g n"]

    @classmethod
    def of(cls, rows: Float64[Tensor, "g N n"]) -> "InputMoments":
        """Those of rows at hand, (g, N, n) with N at least 1."""
        mean = rows.mean(dim=1)
        deviation = rows - mean[:, None]
        return cls(rows.shape[1], mean, deviation.mT @ deviation, rows.abs().mean(dim=1))

    @property
    def covariance(self) -> Float64[Tensor, "g n n"]:
        """The second moment about the mean, (g, n, n)."""
        return self.scatter / self.count

    @property
    def second_moment(self) -> Float64[Tensor, "g n n"]:
        """The mean of x x^T, (g, n, n)."""
        return self.covariance + self.mean[:, :, None] * self.mean[:, None, :]

    def merge(self, other: "InputMoments") -> "InputMoments":
        """Moments of both sets of rows; MergeError where they are of different shapes."""
        if self.mean.shape != other.mean.shape:
            raise MergeError(
                f"moments of {tuple(self.mean.shape)} and {tuple(other.mean.shape)} (groups, inputs) cannot be merged; "
                "take both from the same layer."
            )
        count = self.count + other.count
        share, shift = other.count / count, other.mean - self.mean
        between = self.count * share * shift[:, :, None] * shift[:, None, :]
        magnitude = self.magnitude + share * (other.magnitude - self.magnitude)
        return InputMoments(count, self.mean + share * shift, self.scatter + other.scatter + between, magnitude)


@dataclass(frozen=True)
class LayerInputs(Mapping[str, InputMoments]):
    """Moments of what enters each of several layers, by the layer's name.

    >>> net = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))
    >>> found = LayerInputs.collect(net, [torch.ones(5, 3)])
    >>> found["0"].count, found["2"].mean.shape
    (5, torch.Size([1, 4]))
    """

    moments: dict[str, InputMoments]

    @classmethod
    def collect(
        cls,
        network: nn.Module,
        batches: Iterable[Any],
        names: Sequence[str] | None = None,
        *,
        memory_limit: int | None = None,
    ) -> "LayerInputs":
        """Run the network over batches, and take the moments of what enters its layers (all that can be compressed).

        The network runs in eval mode and is afterwards as it was, with its random generators. Batches are tensors of
        inputs, pairs (inputs, labels) or mappings; labels are not looked at. A layer that is called several times is
        met by the rows of all calls.

        Args:
            network, names: as in `compressible_layers`. batches: at least one.
            memory_limit: bytes that the moments may take; by default half of the machine's memory.

        Raises MemoryBudgetError before anything runs, BatchError, CaptureError for a layer that is never called,
        NonFiniteError, LayerNameError.
        """
        layers = compressible_layers(network, names)
        check_memory(layers, memory_limit)
        return cls(_collected(network, batches, layers, None))

    def __getitem__(self, name: str) -> InputMoments:
        """The moments of one layer's inputs."""
        return self.moments[name]

    def __iter__(self) -> Iterator[str]:
        """The layers' names."""
        return iter(self.moments)

    def __len__(self) -> int:
        """How many layers."""
        return len(self.moments)

    def merge(self, other: "LayerInputs") -> "LayerInputs":
        """Moments of both passes; MergeError where they are of different layers."""
        if self.moments.keys() != other.moments.keys():
            raise MergeError(
                f"inputs of the layers {', '.join(self) or 'none'} and {', '.join(other) or 'none'} cannot be merged; "
                "collect both for the same layers."
            )
        return LayerInputs({name: moments.merge(other[name]) for name, moments in self.items()})


def inputs_of_one(network: nn.Module, batches: Iterable[Any], name: str, layer: Layer, calls: int) -> InputMoments:
    """The moments of one layer's inputs, by passes that end after its `calls`-th call."""
    return _collected(network, batches, {name: layer}, calls)[name]


def _collected(
    network: nn.Module, batches: Iterable[Any], layers: Mapping[str, Layer], calls: int | None
) -> dict[str, InputMoments]:
    running: dict[str, InputMoments] = {}

    @exact()
    def take(name: str, layer: Layer, x: Tensor) -> None:
        if not x.isfinite().all():
            raise NonFiniteError(
                f"what enters layer {name!r} holds {int((~x.isfinite()).sum())} NaN or infinite entries. "
                "Look for a diverged network, half-precision overflow or NaN in the data."
            )
        for rows in rows_of(layer, x):
            found = InputMoments.of(rows)
            running[name] = running[name].merge(found) if name in running else found

    run(network, batches, Watch(layers, take, calls))
    if missing := [name for name in layers if name not in running]:
        raise CaptureError(
            f"layer {missing[0]!r} was never called as a module, so nothing is known of its inputs. "
            "Leave it out, or truncate by weights alone."
        )
    return {name: _on_cpu(running[name]) for name in layers}


def _on_cpu(moments: InputMoments) -> InputMoments:
    return InputMoments(moments.count, moments.mean.cpu(), moments.scatter.cpu(), moments.magnitude.cpu())


def rows_of(layer: Layer, x: Tensor) -> Iterator[Float64[Tensor, "g N n"]]:
    """The rows that a layer's weight meets in its input x, in float64 and in chunks; none of an empty input."""
    if isinstance(layer, nn.Linear):
        rows = x.detach().reshape(-1, layer.in_features)
        step = max(1, CHUNK // layer.in_features)
        for start in range(0, len(rows), step):
            yield as_float64(rows[start : start + step])[None]
        return
    x = x.detach()
    x = x if x.ndim == layer.weight.ndim else x[None]
    step = max(1, CHUNK // max(1, patches(layer, x[:1]).numel()))
    for start in range(0, len(x), step):
        yield as_float64(patches(layer, x[start : start + step]))


def patches(layer: nn.Conv1d | nn.Conv2d | nn.Conv3d, x: Tensor) -> Tensor:
    """The patches that a convolution's kernel meets in x (N, I, ...), padding included: (g, N positions, I/g k_h k_w).

    Columns are in the order of the channel unfolding's. Any stride, padding, padding mode and dilation, one to three
    axes.

    >>> patches(nn.Conv2d(2, 4, 3, padding=1, groups=2), torch.zeros(5, 2, 6, 6)).shape
    torch.Size([2, 180, 9])
    """
    mode = "constant" if layer.padding_mode == "zeros" else layer.padding_mode
    padding = list(layer._reversed_padding_repeated_twice)
    x = functional.pad(x, padding, mode=mode) if any(padding) else x
    axes = x.ndim - 2
    for axis in range(axes):
        k, stride, dilation = layer.kernel_size[axis], layer.stride[axis], layer.dilation[axis]
        # A window of all that the dilated kernel spans, of which it sees every dilation-th entry.
        x = x.unfold(axis + 2, dilation * (k - 1) + 1, stride)[..., ::dilation]
    x = x.unflatten(1, (layer.groups, x.shape[1] // layer.groups))  # N, g, I/g, positions..., kernel...
    order = (1, 0, *range(3, 3 + axes), 2, *range(3 + axes, 3 + 2 * axes))
    return x.permute(order).reshape(layer.groups, -1, layer.weight[0].numel())


def check_memory(layers: Mapping[str, Layer], limit: int | None) -> None:
    """Raise MemoryBudgetError where the moments of these layers' inputs would take more than `limit` bytes."""
    limit = memory_of(torch.device("cpu")) // 2 if limit is None else limit
    need = {name: _bytes(layer) for name, layer in layers.items()}
    if (total := sum(need.values()) + 2 * max(need.values(), default=0)) > limit:
        largest = max(need, key=lambda name: need[name])
        n = layers[largest].weight[0].numel()
        raise MemoryBudgetError(
            f"second moments of the inputs of {len(layers)} layers take {total / 1e9:.3g} GB, and {limit / 1e9:.3g} GB "
            f"are allowed; the largest is of {largest!r}, {n} x {n}. Name fewer layers, or truncate by weights alone."
        )


def _bytes(layer: Layer) -> int:
    groups = getattr(layer, "groups", 1)
    return 8 * groups * layer.weight[0].numel() ** 2
