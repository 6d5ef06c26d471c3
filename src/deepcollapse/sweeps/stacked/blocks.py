"""How many members of a stack are computed at once."""

from typing import Any

from torch import Tensor, nn

from deepcollapse.measurement.state import undisturbed
from deepcollapse.training.loop import Training

# Numbers that a layer may give at once: 1 MiB of them measured best, between 8 members of width 256 and 32 of width 64.
CACHED, LEAST_BLOCK = 1 << 18, 4


def block_size(training: Training, most: int) -> int:
    """How many members are computed at once: on a CPU so many that what passes between layers stays in its cache."""
    if training.place.device.type != "cpu":
        return most
    x, _ = next(iter(training.splits.train.batches(1)))
    numbers = widest(training.network, x) * training.recipe.batch
    return min(most, max(LEAST_BLOCK, CACHED // numbers))


def widest(network: nn.Module, inputs: Tensor) -> int:
    """The most numbers that any layer without parts gives for these inputs.

    >>> import torch
    >>> widest(nn.Sequential(nn.Linear(2, 5), nn.Linear(5, 3)), torch.ones(1, 2))
    5
    """
    most = 1

    def compare(_: nn.Module, __: Any, output: Tensor) -> None:
        nonlocal most
        most = max(most, output.numel())

    parts = [module for module in network.modules() if not any(True for _ in module.children())]
    hooks = [part.register_forward_hook(compare) for part in parts]
    with undisturbed(network):
        network(inputs)
    for hook in hooks:
        hook.remove()
    return most
