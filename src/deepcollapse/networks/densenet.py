"""Densely connected networks: every layer sees the features of all layers before it. Dropout rate 0."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from deepcollapse.networks.checks import is_large, maps_shape
from deepcollapse.networks.layers import Classifier, GlobalAveragePool, HeConv2d, imagenet_stem


def _convolution(inputs: int, outputs: int, size: int) -> list[nn.Module]:
    """Batch norm, relu, convolution: the order that lets features be shared unnormalised."""
    convolution = HeConv2d(inputs, outputs, size, padding=size // 2, bias=False)
    return [nn.BatchNorm2d(inputs), nn.ReLU(), convolution]


class DenseLayer(nn.Module):
    """`growth` new maps beside all old ones; the first layer of a stage halves the resolution before.

    The halving is part of the layer so that the network is a flat sequence of blocks of one class.
    """

    def __init__(self, inputs: int, growth: int, bottleneck: bool, squeeze: int | None):
        super().__init__()
        self.transition = nn.Identity()
        if squeeze is not None:
            # Rounding up keeps small and odd sizes alive; even ones are as published.
            halve = nn.AvgPool2d(2, ceil_mode=True)
            self.transition = nn.Sequential(*_convolution(inputs, squeeze, 1), halve)
            inputs = squeeze
        narrow = _convolution(inputs, 4 * growth, 1) if bottleneck else []
        self.new = nn.Sequential(*narrow, *_convolution(4 * growth if bottleneck else inputs, growth, 3))
        self.outputs = inputs + growth

    def forward(self, x: Tensor) -> Tensor:
        """(n, inputs, h, w) -> (n, outputs, h, w), or half the resolution at the start of a stage."""
        x = self.transition(x)
        return torch.cat([x, self.new(x)], dim=1)


def densenet(
    num_classes: int,
    image_shape: tuple[int, ...],
    *,
    blocks: Sequence[int],
    growth: int,
    width: int,
    bottleneck: bool,
    compression: float,
    stem: str,
) -> Classifier:
    """Stages of `blocks[i]` dense layers that add `growth` maps each, on `width` maps from the stem.

    `compression` is the share of maps that a transition keeps. `stem` is as for `resnet`: "auto" takes the 7x7 stem
    from 64 pixels on and one 3x3 convolution below. Inputs that are not (channels, height, width) raise
    `ShapeError`.

    >>> parameters = {"growth": 4, "width": 8, "bottleneck": True, "compression": 0.5, "stem": "auto"}
    >>> densenet(10, (1, 8, 8), blocks=(2, 2), **parameters).head.in_features
    16
    """
    channels, *_ = maps_shape(image_shape)
    large = is_large(image_shape, stem)
    maps, stack = width, []
    for stage, count in enumerate(blocks):
        for index in range(count):
            squeeze = max(1, int(maps * compression)) if stage and index == 0 else None
            layer = DenseLayer(maps, growth, bottleneck, squeeze)
            stack.append(layer)
            maps = layer.outputs
    first = imagenet_stem(channels, width) if large else HeConv2d(channels, width, 3, padding=1, bias=False)
    neck = nn.Sequential(nn.BatchNorm2d(maps), nn.ReLU(), GlobalAveragePool())
    return Classifier(first, stack, neck, nn.Linear(maps, num_classes))
