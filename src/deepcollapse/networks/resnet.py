"""Residual networks, with the stem that the size of the images calls for."""

from collections.abc import Sequence

from torch import Tensor, nn

from deepcollapse.networks.checks import is_large, maps_shape
from deepcollapse.networks.layers import Classifier, GlobalAveragePool, HeConv2d, imagenet_stem


def _shortcut(inputs: int, outputs: int, stride: int) -> nn.Module:
    """The identity, or a 1x1 convolution where the shape changes."""
    if inputs == outputs and stride == 1:
        return nn.Identity()
    return nn.Sequential(HeConv2d(inputs, outputs, 1, stride=stride, bias=False), nn.BatchNorm2d(outputs))


class BasicBlock(nn.Module):
    """Two 3x3 convolutions beside a shortcut."""

    expansion = 1

    def __init__(self, inputs: int, width: int, stride: int):
        super().__init__()
        self.residual = nn.Sequential(
            HeConv2d(inputs, width, 3, stride=stride, padding=1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(),
            HeConv2d(width, width, 3, padding=1, bias=False),
            nn.BatchNorm2d(width),
        )
        self.shortcut = _shortcut(inputs, width, stride)
        self.activation = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        """(n, inputs, h, w) -> (n, width, h / stride, w / stride)."""
        return self.activation(self.residual(x) + self.shortcut(x))


class Bottleneck(nn.Module):
    """1x1, 3x3 and 1x1 convolutions beside a shortcut; the stride sits in the 3x3, as in today's reference networks."""

    expansion = 4

    def __init__(self, inputs: int, width: int, stride: int):
        super().__init__()
        outputs = width * self.expansion
        self.residual = nn.Sequential(
            HeConv2d(inputs, width, 1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(),
            HeConv2d(width, width, 3, stride=stride, padding=1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(),
            HeConv2d(width, outputs, 1, bias=False),
            nn.BatchNorm2d(outputs),
        )
        self.shortcut = _shortcut(inputs, outputs, stride)
        self.activation = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        """(n, inputs, h, w) -> (n, 4 width, h / stride, w / stride)."""
        return self.activation(self.residual(x) + self.shortcut(x))


def _small_stem(channels: int, width: int) -> nn.Sequential:
    """3x3 convolution of stride 1, batch norm, relu: the resolution is kept."""
    return nn.Sequential(HeConv2d(channels, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU())


def resnet(
    num_classes: int,
    image_shape: tuple[int, ...],
    *,
    blocks: Sequence[int],
    width: int,
    bottleneck: bool,
    stem: str,
) -> Classifier:
    """Stages of `blocks[i]` residual blocks with `width * 2**i` channels, each stage at half the resolution.

    `stem="auto"` takes the 7x7 stem with max-pooling from 64 pixels on and a 3x3 stem of stride 1 below; "small" and
    "large" choose one. Inputs that are not (channels, height, width) raise `ShapeError`.

    >>> resnet(10, (3, 32, 32), blocks=(1, 1, 1), width=16, bottleneck=False, stem="auto").head.in_features
    64
    """
    channels, *_ = maps_shape(image_shape)
    make = Bottleneck if bottleneck else BasicBlock
    inputs, stack = width, []
    for stage, count in enumerate(blocks):
        for index in range(count):
            stack.append(make(inputs, width * 2**stage, stride=2 if stage and index == 0 else 1))
            inputs = width * 2**stage * make.expansion
    first = imagenet_stem(channels, width) if is_large(image_shape, stem) else _small_stem(channels, width)
    return Classifier(first, stack, GlobalAveragePool(), nn.Linear(inputs, num_classes))
