"""Multilayer perceptron: the network of the deep unconstrained-features experiments and of the quickest demo."""

import math

from torch import Tensor, nn

from deepcollapse.networks.layers import Classifier, HeLinear

# Each activation with the name under which torch knows its gain.
ACTIVATIONS = {"relu": (nn.ReLU, "relu"), "tanh": (nn.Tanh, "tanh"), "identity": (nn.Identity, "linear")}


class HiddenLayer(nn.Module):
    """Linear map, batch norm if asked for, activation."""

    def __init__(self, inputs: int, width: int, batch_norm: bool, activation: str, bias: bool):
        super().__init__()
        make, gain_name = ACTIVATIONS[activation]
        self.linear = HeLinear(inputs, width, bias, gain_name)
        self.norm = nn.BatchNorm1d(width) if batch_norm else nn.Identity()
        self.activation = make()

    def forward(self, x: Tensor) -> Tensor:
        """(n, inputs) -> (n, width)."""
        return self.activation(self.norm(self.linear(x)))


def mlp(
    num_classes: int,
    image_shape: tuple[int, ...],
    *,
    width: int,
    depth: int,
    batch_norm: bool,
    activation: str,
    bias: bool,
) -> Classifier:
    """`depth` hidden layers of `width` units on the flattened input, then the head; `bias` covers every linear map.

    Inputs may have any shape. With the identity as activation and no batch norm it is a deep linear network.

    >>> mlp(3, (1, 2, 2), width=5, depth=2, batch_norm=True, activation="tanh", bias=True).head
    Linear(in_features=5, out_features=3, bias=True)
    """
    widths = [math.prod(image_shape)] + [width] * depth
    blocks: list[nn.Module] = [HiddenLayer(inputs, width, batch_norm, activation, bias) for inputs in widths[:-1]]
    return Classifier(nn.Flatten(), blocks, nn.Identity(), nn.Linear(widths[-1], num_classes, bias))
