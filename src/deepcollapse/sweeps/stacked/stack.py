"""Networks of one make with their parameters in stacked tensors: (members, ...)."""

import copy
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.func import functional_call

from deepcollapse.sweeps.stacked.perceptron import Perceptrons


class Stack:
    """Networks that differ in their weights alone, in one place.

    From then on the networks' own parameters and buffers are views into the stacked ones, so that each of them can be
    measured, saved and loaded as if it stood alone. `networks` computes all of them at once.
    """

    def __init__(self, networks: Sequence[nn.Module]):
        skeleton = copy.deepcopy(networks[0])
        self.parameters = {
            name: _gathered([network.get_parameter(name) for network in networks])
            for name, _ in skeleton.named_parameters()
        }
        self.buffers = {
            name: _gathered([network.get_buffer(name) for network in networks]) for name, _ in skeleton.named_buffers()
        }
        kind = Perceptrons if Perceptrons.serves(skeleton) else Mapped
        self.networks = kind(skeleton, self.parameters, self.buffers)


class Mapped:
    """Networks of any make, by torch's vectorising map and automatic differentiation."""

    def __init__(self, skeleton: nn.Module, parameters: Mapping[str, Tensor], buffers: Mapping[str, Tensor]):
        self.skeleton, self.buffers = skeleton, dict(buffers)
        self.parameters = {name: p.requires_grad_() for name, p in parameters.items()}
        self._own = torch.vmap(self._one)
        self._same = torch.vmap(self._one, in_dims=(0, 0, None))

    def gradients(
        self, x: Tensor, y: Tensor, losses: Callable[[Tensor, Tensor], Tensor]
    ) -> tuple[Tensor, list[Tensor]]:
        """The members' losses (members,) of inputs (members, n, ...) and labels (members, n), and the gradients of
        their parameters in the order of the parameters; running statistics of batch norm are kept up."""
        self.skeleton.train()
        each = losses(self._own(self.parameters, self.buffers, x), y)
        # Each member's parameters are in its own loss alone, so the sum has the gradients of all of them.
        return each.detach(), list(torch.autograd.grad(each.sum(), list(self.parameters.values())))

    @torch.no_grad()
    def logits(self, x: Tensor, same: bool) -> Tensor:
        """Logits (members, n, classes) in evaluation: of each member's inputs (members, n, ...), or the `same` (n, ...)
        for all."""
        self.skeleton.eval()
        return (self._same if same else self._own)(self.parameters, self.buffers, x)

    def _one(self, parameters: dict[str, Tensor], buffers: dict[str, Tensor], x: Tensor) -> Tensor:
        return functional_call(self.skeleton, (parameters, buffers), (x,))


def _gathered(tensors: list[Tensor]) -> Tensor:
    """The tensors stacked; each of them is a view of its part afterwards."""
    stacked = torch.stack([tensor.detach() for tensor in tensors])
    for tensor, part in zip(tensors, stacked, strict=True):
        tensor.data = part
    return stacked
