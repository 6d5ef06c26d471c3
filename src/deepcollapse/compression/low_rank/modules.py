"""Thin factors as ordinary layers of torch, one after the other, in place of the layer that they were made from.

All of them compute what the layer would with the truncated weight, also at the borders: stride, padding and dilation go
to the axes on which a factor acts, whatever the padding mode, for padding along one axis and a map along another (or
across channels) do not meet. What is made has the layer's type, device and mode, draws no random numbers, and keeps
a bias exactly where there was one (or where the factors bring a change of it).
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.utils import skip_init

from deepcollapse.compression.layers import Layer
from deepcollapse.compression.low_rank.convolution import Tucker, spatial_kernels
from deepcollapse.compression.low_rank.factors import Factors
from deepcollapse.errors import OptionError, ShapeError

Convolution = nn.Conv1d | nn.Conv2d | nn.Conv3d


def linear_pair(layer: nn.Linear, factors: Factors) -> nn.Sequential:
    """x -> left (right x) + bias as two linear layers: (n, r) without bias, then (r, m) with the layer's.

    Of rank 0 it gives the bias alone: one direction of weight 0, since layers without any are not taken everywhere.
    Raises ShapeError where the factors are those of another shape.

    >>> linear_pair(nn.Linear(6, 4), Factors(torch.ones(4, 2).double(), torch.ones(2, 6).double()))
    Sequential(
      (0): Linear(in_features=6, out_features=2, bias=False)
      (1): Linear(in_features=2, out_features=4, bias=True)
    )
    """
    factors = _checked(factors, layer, (layer.out_features, layer.in_features))
    bias = _bias(layer, factors.bias_change)
    first = skip_init(nn.Linear, layer.in_features, factors.rank, bias=False, **_like(layer))
    second = skip_init(nn.Linear, factors.rank, layer.out_features, bias=bias is not None, **_like(layer))
    return _filled(layer, [(first, factors.right), (second, factors.left)], bias)


def channel_pair(layer: Convolution, factors: Sequence[Factors]) -> nn.Sequential:
    """A convolution to r channels with the layer's kernel, and a 1 x 1 one; `factors` are one a group, of one rank.

    Of the channel unfoldings (O/g, (I/g) k_h k_w) of the layer's g groups. Raises ShapeError, OptionError.

    >>> layer = nn.Conv2d(3, 4, 3, padding=1)
    >>> channel_pair(layer, [Factors(torch.ones(4, 2).double(), torch.ones(2, 27).double())])
    Sequential(
      (0): Conv2d(3, 2, kernel_size=(3, 3), stride=(1, 1), padding=(1, 1), bias=False)
      (1): Conv2d(2, 4, kernel_size=(1, 1), stride=(1, 1))
    )
    """
    matrix = (layer.out_channels // layer.groups, layer.weight[0].numel())
    parts = [_checked(part, layer, matrix) for part in _one_a_group(layer, factors)]
    rank, axes = parts[0].rank, layer.weight.ndim - 2
    shape = tuple(layer.weight.shape[1:])
    first = torch.cat([part.right.reshape(rank, *shape) for part in parts])
    second = torch.cat([part.left.reshape(-1, rank, *(1,) * axes) for part in parts])
    changes = [part.bias_change for part in parts]
    change = torch.cat([c for c in changes if c is not None]) if changes[0] is not None else None
    bias = _bias(layer, change)
    made = [
        (_convolution(layer, first, stride=layer.stride, padding=layer.padding, dilation=layer.dilation), first),
        (_convolution(layer, second, bias=bias is not None), second),
    ]
    return _filled(layer, made, bias)


def spatial_pair(layer: nn.Conv2d, factors: Sequence[Factors]) -> nn.Sequential:
    """A k_h x 1 convolution to r channels along the height, and a 1 x k_w one along the width.

    `factors` are one a group, of one rank, of the spatial unfoldings (O/g k_w, I/g k_h). Raises ShapeError,
    OptionError.

    >>> layer = nn.Conv2d(3, 4, 3, padding=1)
    >>> spatial_pair(layer, [Factors(torch.ones(12, 2).double(), torch.ones(2, 9).double())])
    Sequential(
      (0): Conv2d(3, 2, kernel_size=(3, 1), stride=(1, 1), padding=(1, 0), bias=False)
      (1): Conv2d(2, 4, kernel_size=(1, 3), stride=(1, 1), padding=(0, 1))
    )
    """
    height, width = layer.kernel_size
    matrix = (layer.out_channels // layer.groups * width, layer.weight.shape[1] * height)
    parts = [_checked(part, layer, matrix) for part in _one_a_group(layer, factors)]
    kernels = [spatial_kernels(part, (height, width)) for part in parts]
    first, second = (torch.cat([pair[place] for pair in kernels]) for place in (0, 1))
    stride, dilation = layer.stride, layer.dilation
    bias = _bias(layer, None)
    down = _convolution(layer, first, stride=(stride[0], 1), padding=_on_axis(layer, 0), dilation=(dilation[0], 1))
    across = _convolution(
        layer,
        second,
        bias=bias is not None,
        stride=(1, stride[1]),
        padding=_on_axis(layer, 1),
        dilation=(1, dilation[1]),
    )
    return _filled(layer, [(down, first), (across, second)], bias)


def tucker_triple(layer: Convolution, parts: Sequence[Tucker]) -> nn.Sequential:
    """A 1 x 1 convolution to r_i channels, one with the layer's kernel to r_o, and a 1 x 1 one; `parts` one a group.

    Raises ShapeError, OptionError.

    >>> from deepcollapse.compression.low_rank.convolution import tucker
    >>> layer = nn.Conv2d(3, 4, 3, padding=1)
    >>> tucker_triple(layer, [tucker(layer.weight, (2, 1))])
    Sequential(
      (0): Conv2d(3, 1, kernel_size=(1, 1), stride=(1, 1), bias=False)
      (1): Conv2d(1, 2, kernel_size=(3, 3), stride=(1, 1), padding=(1, 1), bias=False)
      (2): Conv2d(2, 4, kernel_size=(1, 1), stride=(1, 1))
    )
    """
    parts, ones = _one_a_group(layer, parts), (1,) * (layer.weight.ndim - 2)
    if any(part.kernel().shape[1:] != layer.weight.shape[1:] for part in parts):
        raise ShapeError(f"Tucker factors are those of another kernel than the layer's, {tuple(layer.weight.shape)}.")
    first = torch.cat([part.inputs.T.reshape(*part.inputs.T.shape, *ones) for part in parts])
    middle = torch.cat([part.core for part in parts])
    last = torch.cat([part.outputs.reshape(*part.outputs.shape, *ones) for part in parts])
    bias = _bias(layer, None)
    made = [
        (_convolution(layer, first), first),
        (_convolution(layer, middle, stride=layer.stride, padding=layer.padding, dilation=layer.dilation), middle),
        (_convolution(layer, last, bias=bias is not None), last),
    ]
    return _filled(layer, made, bias)


def _one_a_group(layer: Convolution, parts: Sequence) -> Sequence:
    if len(parts) != layer.groups:
        raise OptionError(f"the layer has {layer.groups} groups and factors came for {len(parts)}; pass one a group.")
    return parts


def _checked(factors: Factors, layer: Layer, shape: tuple[int, int]) -> Factors:
    """Factors that fit; of rank 0, one direction of weight 0."""
    if (factors.left.shape[0], factors.right.shape[1]) != shape:
        raise ShapeError(
            f"factors of a {factors.left.shape[0]} x {factors.right.shape[1]} matrix do not fit a layer whose weight "
            f"{tuple(layer.weight.shape)} unfolds to {shape[0]} x {shape[1]}."
        )
    if factors.rank:
        return factors
    return Factors(factors.left.new_zeros(shape[0], 1), factors.right.new_zeros(1, shape[1]), factors.bias_change)


def _on_axis(layer: nn.Conv2d, axis: int) -> str | tuple[int, int]:
    """The layer's padding along one axis alone; "same" and "valid" see for themselves."""
    if isinstance(layer.padding, str):
        return layer.padding
    return (layer.padding[0], 0) if axis == 0 else (0, layer.padding[1])


def _bias(layer: Layer, change: Tensor | None) -> Tensor | None:
    if layer.bias is None or change is None:
        return change if layer.bias is None else layer.bias.detach()
    return layer.bias.detach().double().cpu() + change


def _like(layer: Layer) -> dict:
    return {"device": layer.weight.device, "dtype": layer.weight.dtype}


def _convolution(layer: Convolution, weight: Tensor, *, bias: bool = False, **geometry) -> nn.Module:
    kind = next(kind for kind in (nn.Conv1d, nn.Conv2d, nn.Conv3d) if isinstance(layer, kind))
    mode = layer.padding_mode if geometry.get("padding") else "zeros"  # nothing to pad: nothing to say
    channels = weight.shape[1] * layer.groups, weight.shape[0]
    return skip_init(
        kind,
        *channels,
        tuple(weight.shape[2:]),
        groups=layer.groups,
        bias=bias,
        padding_mode=mode,
        **geometry,
        **_like(layer),
    )


def _filled(layer: Layer, made: Sequence[tuple[nn.Module, Tensor]], bias: Tensor | None) -> nn.Sequential:
    """The layers in a row with their weights, and the bias in the last."""
    with torch.no_grad():
        for module, weight in made:
            module.get_parameter("weight").copy_(weight).requires_grad_(layer.weight.requires_grad)
        if bias is not None:
            kept = layer.weight if layer.bias is None else layer.bias
            made[-1][0].get_parameter("bias").copy_(bias).requires_grad_(kept.requires_grad)
    return nn.Sequential(*(module for module, _ in made)).train(layer.training)
