"""What a network takes: bytes to store, numbers in use, multiply-adds a sample, and time."""

import statistics
import time
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from deepcollapse.compression.coded_layers import CodedLayer, CodedLinear
from deepcollapse.compression.layers import positions
from deepcollapse.errors import BatchError
from deepcollapse.measurement.state import undisturbed


@dataclass(frozen=True)
class Footprint:
    """Bytes of the state as it is stored, weights in use, and multiply-adds of one sample in one forward pass.

    `stored_bytes` counts every tensor of the state once, shared ones too, without a file's header. `parameters` are the
    numbers that were trained; of a coded layer those that are not zero. `multiply_adds` are those of linear and
    convolutional layers; of a coded layer one for each weight that is not zero.
    """

    stored_bytes: int
    parameters: int
    multiply_adds: int


def footprint(network: nn.Module, inputs: Tensor) -> Footprint:
    """The footprint of a network for inputs (n, ...) of the size that it is used on; mode and generators are kept.

    Raises BatchError for no inputs.

    >>> footprint(nn.Linear(3, 4), torch.ones(5, 3))
    Footprint(stored_bytes=64, parameters=16, multiply_adds=12)
    """
    return Footprint(stored_bytes(network), parameters_in_use(network), multiply_adds(network, inputs))


def stored_bytes(network: nn.Module) -> int:
    """Bytes of all parameters and buffers of the state, each tensor once.

    >>> stored_bytes(nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4)))
    136
    """
    tensors = {id(value): value for value in network.state_dict(keep_vars=True).values()}
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())


def parameters_in_use(network: nn.Module) -> int:
    """How many numbers were trained and are not zero for good: parameters, and the non-zero weights of coded layers.

    >>> parameters_in_use(nn.Linear(3, 4))
    16
    """
    coded = sum(_weights_used(module) or 0 for module in network.modules())
    return coded + sum(parameter.numel() for parameter in network.parameters())


def multiply_adds(network: nn.Module, inputs: Tensor) -> int:
    """Multiply-adds of linear, convolutional and coded layers in one forward pass, per sample; rounded.

    >>> multiply_adds(nn.Conv2d(1, 2, 3), torch.ones(4, 1, 5, 5))
    162
    """
    if not len(inputs):
        raise BatchError("multiply-adds are counted in a forward pass, and there is no sample in these inputs.")
    total = 0

    def count(layer: nn.Module, given: tuple[Tensor, ...], output: Tensor) -> None:
        nonlocal total
        used, weight = _weights_used(layer), layer.weight
        assert isinstance(weight, Tensor)
        weights = weight.numel() if used is None else used
        # A transposed convolution puts its kernel at every input position, other layers theirs at every output's.
        placed = given[0] if isinstance(layer, nn.modules.conv._ConvTransposeNd) else output
        last = isinstance(layer, nn.Linear | CodedLinear)
        total += weights * positions(placed, channels_last=last) * len(output)

    kinds = (nn.Linear, nn.modules.conv._ConvNd)
    hooks = [m.register_forward_hook(count) for m in network.modules() if isinstance(m, (*kinds, CodedLayer))]
    try:
        with undisturbed(network):
            network(inputs)
    finally:
        for hook in hooks:
            hook.remove()
    return round(total / len(inputs))


def _weights_used(module: nn.Module) -> int | None:
    """The weights of a coded layer that are not zero; None of other modules."""
    return module.weights_used if isinstance(module, CodedLayer) else None


def latencies(networks: Mapping[str, nn.Module], inputs: Tensor, rounds: int = 15) -> dict[str, float]:
    """Median seconds of a forward pass of each network on these inputs, in eval mode, taken in turn.

    >>> list(latencies({"it": nn.Linear(3, 4)}, torch.ones(2, 3), rounds=1))
    ['it']
    """
    seconds: dict[str, list[float]] = {name: [] for name in networks}
    for number in range(rounds + 2):
        for name, network in networks.items():
            with undisturbed(network):
                start = time.perf_counter()
                network(inputs)
                _wait(inputs)
                taken = time.perf_counter() - start
            if number >= 2:  # the first passes fill caches
                seconds[name].append(taken)
    return {name: statistics.median(taken) for name, taken in seconds.items()}


def _wait(inputs: Tensor) -> None:
    if inputs.device.type == "cuda":
        torch.cuda.synchronize(inputs.device)
