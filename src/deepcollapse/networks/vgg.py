"""VGG with batch norm: in the neural-collapse experiments batch norm takes the place of dropout."""

from collections.abc import Sequence

from torch import Tensor, nn

from deepcollapse.networks.checks import maps_shape
from deepcollapse.networks.layers import Classifier, GlobalAveragePool, HeConv2d, HeLinear


class ConvolutionBlock(nn.Module):
    """3x3 convolution, batch norm, relu and, at the end of a stage, 2x2 max-pooling."""

    def __init__(self, inputs: int, outputs: int, pool: bool):
        super().__init__()
        self.convolution = HeConv2d(inputs, outputs, 3, padding=1)
        self.norm = nn.BatchNorm2d(outputs)
        self.activation = nn.ReLU()
        # Rounding up lets 28x28 and 8x8 images through five poolings; even sizes, 224 included, are as published.
        self.pool = nn.MaxPool2d(2, ceil_mode=True) if pool else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """(n, inputs, h, w) -> (n, outputs, h, w), or half the resolution at the end of a stage."""
        return self.pool(self.activation(self.norm(self.convolution(x))))


def _neck(channels: int, pool: int, hidden: Sequence[int]) -> tuple[nn.Sequential, int]:
    """Pooling and hidden layers after the last convolution, and how many features leave them."""
    layers = [GlobalAveragePool()] if pool == 1 else [nn.AdaptiveAvgPool2d(pool), nn.Flatten()]
    inputs = channels * pool**2
    for width in hidden:
        layers += [HeLinear(inputs, width), nn.BatchNorm1d(width), nn.ReLU()]
        inputs = width
    return nn.Sequential(*layers), inputs


def vgg(
    num_classes: int,
    image_shape: tuple[int, ...],
    *,
    blocks: Sequence[int],
    width: int,
    hidden: Sequence[int],
    pool: int,
) -> Classifier:
    """Stages of `blocks[i]` convolutions with `width`, 2, 4, 8, 8 times `width` channels; average pooling; the head.

    The published ImageNet form is `hidden=(4096, 4096), pool=7`: two hidden layers (with batch norm for dropout) on
    the maps pooled to 7x7. The default goes straight from the global average to the head. Images may have any size;
    inputs that are not (channels, height, width) raise `ShapeError`.

    >>> len(vgg(10, (3, 32, 32), blocks=(1, 1, 2, 2, 2), width=8, hidden=(), pool=1).blocks)
    8
    """
    channels, *_ = maps_shape(image_shape)
    stack: list[nn.Module] = []
    for stage, count in enumerate(blocks):
        for index in range(count):
            outputs = width * min(2**stage, 8)
            stack.append(ConvolutionBlock(channels, outputs, pool=index == count - 1))
            channels = outputs
    neck, features = _neck(channels, pool, hidden)
    return Classifier(nn.Identity(), stack, neck, nn.Linear(features, num_classes))
