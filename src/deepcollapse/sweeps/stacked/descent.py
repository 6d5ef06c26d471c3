"""Stochastic gradient descent on stacked parameters, with a rate, a decay and a momentum for each member."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor


class Descent:
    """The step of torch.optim.SGD, member by member: g += decay p; b = momentum b + g; p -= rate b.

    The buffers b (members, ...) begin at zero, so that the first step's is the gradient, as torch has it.
    """

    def __init__(
        self, parameters: Mapping[str, Tensor], buffers: Sequence[Tensor], decays: Tensor, momenta: Tensor
    ) -> None:
        self.parameters, self.buffers, self.decays, self.momenta = list(parameters.values()), buffers, decays, momenta

    @torch.no_grad()
    def step(self, gradients: Sequence[Tensor], rates: Tensor) -> None:
        """One step; the gradients are written over."""
        for p, b, g in zip(self.parameters, self.buffers, gradients, strict=True):
            shape = (-1, *[1] * (p.ndim - 1))
            g.addcmul_(p, self.decays.view(shape))
            b.mul_(self.momenta.view(shape)).add_(g)
            p.addcmul_(b, rates.view(shape), value=-1)
