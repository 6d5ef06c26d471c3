"""Networks with every layer before the head cut to one rank, for many ranks: the small singular values removed."""

import copy
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn

from deepcollapse.compression.layers import Layer, compressible_layers
from deepcollapse.geometry import channel_unfolding


def hidden_layers(network: nn.Module) -> dict[str, Layer]:
    """The linear and convolutional layers before the head, by name."""
    layers = compressible_layers(network)
    return dict(list(layers.items())[:-1])


def cut_to_ranks(network: nn.Module, ranks: Sequence[int]) -> Iterator[tuple[int, nn.Module]]:
    """For each rank, a network whose hidden layers' weights are the nearest of that rank; biases stay.

    It is one copy that changes from one to the next; kernels are cut as matrices with a row an output channel.

    >>> network = nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 3))
    >>> [int(torch.linalg.matrix_rank(cut[0].weight)) for _, cut in cut_to_ranks(network, (1, 4, 9))]
    [1, 4, 5]
    """
    twin = copy.deepcopy(network)
    layers = hidden_layers(twin)
    parts = {name: _decomposed(layer.weight.detach()) for name, layer in layers.items()}
    for rank in ranks:
        for name, layer in layers.items():
            u, s, vh = (part[..., :rank] if i < 2 else part[:rank] for i, part in enumerate(parts[name]))
            with torch.no_grad():
                layer.weight.copy_(((u * s) @ vh).reshape(layer.weight.shape))
        yield rank, twin


def _decomposed(weight: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    return torch.linalg.svd(channel_unfolding(weight).double().cpu(), full_matrices=False)
