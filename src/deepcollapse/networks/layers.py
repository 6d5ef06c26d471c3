"""The few pieces that the families share: He-initialised layers, the common skeleton, average pooling.

Initial weights are drawn in each layer's `reset_parameters`, so that a network can be drawn anew layer by layer.
"""

from torch import Tensor, nn


class HeConv2d(nn.Conv2d):
    """A convolution with He's normal weights, N(0, 2 / (out_channels * kernel area)), and zero bias."""

    def reset_parameters(self) -> None:
        """Draw the weights anew; fan-out mode keeps the variance of gradients, as the papers' networks do."""
        nn.init.kaiming_normal_(self.weight, mode="fan_out", nonlinearity="relu")
        if self.bias is not None:
            nn.init.zeros_(self.bias)


class HeLinear(nn.Linear):
    """A hidden linear map with weights N(0, gain^2 / in_features) and zero bias; relu has gain sqrt(2)."""

    def __init__(self, in_features: int, out_features: int, bias: bool = True, nonlinearity: str = "relu"):
        # nn.Linear draws its weights while it is made, so the gain has to be known before.
        self.gain = nn.init.calculate_gain(nonlinearity)  # pyright: ignore[reportArgumentType]
        super().__init__(in_features, out_features, bias)

    def reset_parameters(self) -> None:
        """Draw the weights anew; fan-in mode keeps the variance of activations."""
        nn.init.normal_(self.weight, std=self.gain / self.in_features**0.5)
        if self.bias is not None:
            nn.init.zeros_(self.bias)


class GlobalAveragePool(nn.Module):
    """The mean over height and width: (n, c, h, w) -> (n, c)."""

    def forward(self, maps: Tensor) -> Tensor:
        """Mean of each map. A plain mean, since adaptive pooling has no deterministic gradient on CUDA."""
        return maps.mean(dim=(2, 3))


class Classifier(nn.Module):
    """A stack of feature maps with a linear head: head(neck(blocks(stem(x)))).

    `blocks` is a flat sequence of blocks of one class, `neck` turns the last block's output into the vectors that
    enter the head, and `head` is the last linear layer.
    """

    def __init__(self, stem: nn.Module, blocks: list[nn.Module], neck: nn.Module, head: nn.Linear):
        super().__init__()
        self.stem = stem
        self.blocks = nn.Sequential(*blocks)
        self.neck = neck
        self.head = head

    def forward(self, images: Tensor) -> Tensor:
        """Logits (n, num_classes) of a batch of images."""
        return self.head(self.neck(self.blocks(self.stem(images))))


def imagenet_stem(channels: int, width: int) -> nn.Sequential:
    """7x7 convolution of stride 2, batch norm, relu, 3x3 max-pool of stride 2: a quarter of the resolution."""
    convolution = HeConv2d(channels, width, 7, stride=2, padding=3, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(width), nn.ReLU(), nn.MaxPool2d(3, stride=2, padding=1))
