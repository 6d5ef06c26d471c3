"""Each link of a chain as numbers: a matrix with a bias row, where its inputs lie, what each channel passes through.

Activations are laid out channel first, (channels, samples, ...), so that a channel is one contiguous piece, and trials
of T weights are T channels. A map's inputs are the rows of X: for each channel of the layer before, `taps` of them (one
for each value of a flattened map, one for each place of a kernel), then a row of ones for the bias.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from deepcollapse.compression.ternary.chain import NORMS, Link
from deepcollapse.errors import MemoryBudgetError, ShapeError
from deepcollapse.geometry.unfolding import channel_unfolding
from deepcollapse.linalg import memory_of
from deepcollapse.networks.layers import GlobalAveragePool


@dataclass(frozen=True, eq=False)
class Affine:
    """Batch norm in eval mode: scale and shift, (channels, 1) or, after a flatten, (channels, places)."""

    scale: Tensor
    shift: Tensor

    def __call__(self, a: Tensor, channels: Tensor) -> Tensor:
        """Channels (k, samples, ...) of the numbers given, or all of one channel."""
        shape = (len(channels), 1, *([self.scale.shape[1]] if self.scale.shape[1] > 1 else [1] * (a.ndim - 2)))
        return a * self.scale[channels].reshape(shape) + self.shift[channels].reshape(shape)


@dataclass(frozen=True, eq=False)
class Plain:
    """A module that treats every channel alike."""

    module: nn.Module

    def __call__(self, a: Tensor, channels: Tensor) -> Tensor:
        """Channels (k, samples, ...); pooling needs to see them as maps of one channel."""
        if isinstance(self.module, nn.Flatten):
            return a.flatten(2) if a.ndim > 2 else a
        if isinstance(self.module, GlobalAveragePool):
            return a.mean(dim=(2, 3))
        if a.ndim == 4:
            pooled = self.module(a.flatten(0, 1)[:, None])
            return pooled.reshape(a.shape[0], a.shape[1], *pooled.shape[2:])
        return self.module(a)


Function = Callable[[Tensor, Tensor], Tensor]


class Stage:
    """One link: `weight` (rows + 1, columns) with the bias as its last row, and the functions after it."""

    def __init__(self, link: Link, shape: tuple[int, ...]) -> None:
        """`shape` is that of one sample before the link: (channels,), (channels, places) or (channels, h, w)."""
        self.name, self.layer, self.chosen = link.name, link.layer, link.chosen
        self.channels = shape[0]
        matrix = channel_unfolding(link.layer.weight.detach()).T
        self.taps = matrix.shape[0] // self.channels
        self.columns = matrix.shape[1]
        bias = link.layer.bias
        self.biased = bias is not None
        row = matrix.new_zeros(self.columns) if bias is None else bias.detach()
        self.weight = torch.cat([matrix, row[None]]).contiguous()
        self._refuse_shape(shape, matrix.shape[0])
        self.after = [self._function(module) for module in link.after]

    def _refuse_shape(self, shape: tuple[int, ...], rows: int) -> None:
        conv = isinstance(self.layer, nn.Conv2d)
        if (conv and (len(shape) != 3 or self.channels != self.layer.in_channels)) or (
            not conv and (len(shape) > 2 or self.channels * (shape[1] if len(shape) == 2 else 1) != rows)
        ):
            wants = f"({self.layer.in_channels}, height, width)" if conv else f"({rows},) after a flatten"
            raise ShapeError(
                f"layer {self.name!r} is given values of shape {shape} a sample; trials of its weights need {wants}."
            )

    def _function(self, module: nn.Module) -> Function:
        if not isinstance(module, NORMS):
            return Plain(module)
        mean, variance = module.running_mean, module.running_var
        assert mean is not None  # held by chain_of
        assert variance is not None
        scale = (variance + module.eps).rsqrt()
        scale = scale if module.weight is None else scale * module.weight.detach()
        shift = -mean * scale if module.bias is None else module.bias.detach() - mean * scale
        return Affine(scale.reshape(self.columns, -1), shift.reshape(self.columns, -1))

    def taken(self, a: Tensor) -> Tensor:
        """The inputs that each channel of `a` (k, samples, ...) gives the map: (k, taps, samples, places)."""
        if isinstance(self.layer, nn.Linear):
            return a[:, None, :, None] if a.ndim == 2 else a.transpose(1, 2)[..., None]
        kernel, stride, dilation = self.layer.kernel_size, self.layer.stride, self.layer.dilation
        padded = functional.pad(a.flatten(0, 1)[:, None], _pads(self.layer))
        patches = functional.unfold(padded, kernel, dilation=dilation, stride=stride)
        return patches.reshape(a.shape[0], a.shape[1], *patches.shape[1:]).transpose(1, 2)

    def inputs(self, a: Tensor) -> Tensor:
        """X (rows + 1, samples, places) of all channels, with ones as the last row."""
        x = self.taken(a).flatten(0, 1)
        return torch.cat([x, torch.ones_like(x[:1])])

    def mapped(self, x: Tensor, shape: tuple[int, ...]) -> Tensor:
        """Z (columns, samples, *shape) from X."""
        return (self.weight.T @ x.flatten(1)).reshape(self.columns, x.shape[1], *shape)

    def passed(self, z: Tensor, channels: Tensor | None = None) -> Tensor:
        """What the functions after the map make of channels z (k, samples, ...); of all of them by default."""
        channels = torch.arange(self.columns) if channels is None else channels
        for function in self.after:
            z = function(z, channels)
        return z

    def places(self, a: Tensor) -> tuple[int, ...]:
        """The shape of one output map: () of a linear layer, (h, w) of a convolution."""
        if isinstance(self.layer, nn.Linear):
            return ()
        left, right, top, bottom = _pads(self.layer)
        padded = (a.shape[2] + top + bottom, a.shape[3] + left + right)
        reach = zip(padded, self.layer.kernel_size, self.layer.stride, self.layer.dilation, strict=True)
        return tuple((size - dilation * (kernel - 1) - 1) // stride + 1 for size, kernel, stride, dilation in reach)


def _pads(layer: nn.Conv2d) -> list[int]:
    """Zeros to the left and right, above and below, as functional.pad takes them."""
    if not isinstance(layer.padding, str):
        return [layer.padding[1], layer.padding[1], layer.padding[0], layer.padding[0]]
    pads = []
    for kernel, dilation in zip(reversed(layer.kernel_size), reversed(layer.dilation), strict=True):
        total = dilation * (kernel - 1) if layer.padding == "same" else 0
        pads += [total // 2, total - total // 2]
    return pads


def stages_of(links: tuple[Link, ...], features: Tensor) -> list[Stage]:
    """The stages of a chain for features as they enter it, (n, features) or (n, channels, height, width)."""
    stages, a, kept = [], features[:1].transpose(0, 1), 0
    for link in links:
        stages.append(Stage(link, (a.shape[0], *a.shape[2:])))
        x = stages[-1].inputs(a)
        z = stages[-1].mapped(x, stages[-1].places(a))
        a = stages[-1].passed(z)
        kept += x.numel() + 2 * z.numel() + 2 * a.numel()
    _refuse_too_many(len(features), kept)
    if a.ndim != 2:
        raise ShapeError(
            f"the network gives {tuple(a.shape[:1] + a.shape[2:])} values a sample; expected one logit a class."
        )
    return stages


def _refuse_too_many(samples: int, numbers: int) -> None:
    """What every layer takes and gives is kept for all samples, in float64."""
    needed, there = 8 * samples * numbers, memory_of(torch.device("cpu"))
    if needed > there / 2:
        raise MemoryBudgetError(
            f"trials would keep {numbers:,} numbers for each of {samples:,} samples, {needed / 2**30:.0f} GiB of "
            f"{there / 2**30:.0f}; give fewer samples, or name later layers alone."
        )
