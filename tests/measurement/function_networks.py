"""Networks and inputs that the tests of function rank share."""

import torch
from torch import Tensor, nn


def gaussian(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def curve(rows: int, columns: int, phase: float) -> Tensor:
    """sin(phase + (i + 1) (j + 1)^1.5): of full rank, and the same everywhere."""
    i, j = torch.arange(1, rows + 1).double()[:, None], torch.arange(1, columns + 1).double()
    return torch.sin(phase + i * j**1.5)


def worked_network() -> nn.Sequential:
    """A small ReLU network in float64, activations "1" and "3", logits "4"."""
    network = nn.Sequential(nn.Linear(5, 6), nn.ReLU(inplace=True), nn.Linear(6, 6), nn.ReLU(), nn.Linear(6, 4))
    weights = {
        "0.weight": curve(6, 5, 0.1),
        "0.bias": 0.3 * torch.cos(torch.arange(6).double()),
        "2.weight": curve(6, 6, 0.4),
        "2.bias": torch.full((6,), -0.2),
        "4.weight": curve(4, 6, 0.7),
        "4.bias": torch.zeros(4),
    }
    network.double().load_state_dict(weights)
    return network


def worked_inputs() -> Tensor:
    return torch.tensor([[1, -1, 0.5, 0, 2], [-1, -2, 0.3, 1, -0.5]], dtype=torch.float64)


def conv_net() -> nn.Sequential:
    """Convolution, batch norm with statistics of its own, in-place ReLU, pooling, and a head, for 1 x 8 x 8."""
    torch.manual_seed(0)
    norm = nn.BatchNorm2d(4)
    norm.running_mean, norm.running_var = torch.randn(4), torch.rand(4) + 0.5
    layers = (nn.Conv2d(1, 4, 3, padding=1), norm, nn.ReLU(inplace=True), nn.MaxPool2d(2), nn.Tanh())
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(64, 5)).eval()
