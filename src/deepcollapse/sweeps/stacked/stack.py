"""Networks of one make with their parameters in stacked tensors: (members, ...)."""

import copy
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.func import functional_call


class Stack:
    """Networks that differ in their weights alone, seen as one: (members, n, ...) -> (members, n, classes).

    From then on the networks' own parameters and buffers are views into the stacked ones, so that each of them can be
    measured, saved and loaded as if it stood alone.
    """

    def __init__(self, networks: Sequence[nn.Module]):
        self.skeleton = copy.deepcopy(networks[0])
        self.parameters = {
            name: _gathered([network.get_parameter(name) for network in networks]).requires_grad_()
            for name, _ in networks[0].named_parameters()
        }
        self.buffers = {
            name: _gathered([network.get_buffer(name) for network in networks])
            for name, _ in networks[0].named_buffers()
        }
        self._mapped = torch.vmap(self._one)
        self._mapped_on_same = torch.vmap(self._one, in_dims=(0, 0, None))

    def train(self) -> None:
        """Batch norm takes the statistics of the batch, and keeps a running mean of them."""
        self.skeleton.train()

    def eval(self) -> None:
        """Batch norm takes the running statistics."""
        self.skeleton.eval()

    def __call__(self, x: Tensor) -> Tensor:
        """Logits (members, n, classes) of each member's own inputs (members, n, ...)."""
        return self._mapped(self.parameters, self.buffers, x)

    def on_same(self, x: Tensor) -> Tensor:
        """Logits (members, n, classes) of the same inputs (n, ...)."""
        return self._mapped_on_same(self.parameters, self.buffers, x)

    def _one(self, parameters: dict[str, Tensor], buffers: dict[str, Tensor], x: Tensor) -> Tensor:
        return functional_call(self.skeleton, (parameters, buffers), (x,))


def _gathered(tensors: list[Tensor]) -> Tensor:
    """The tensors stacked; each of them is a view of its part afterwards."""
    stacked = torch.stack([tensor.detach() for tensor in tensors])
    for tensor, part in zip(tensors, stacked, strict=True):
        tensor.data = part
    return stacked
