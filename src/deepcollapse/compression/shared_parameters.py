r"""Weights that follow others while they train: pruned ones stay 0, those of a cluster move as one."""

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from deepcollapse.compression.few_values import in_type
from deepcollapse.compression.layers import Layer
from deepcollapse.compression.quantisation.codebook import Quantised


def cluster_gradient(gradient: Float[Tensor, "*shape"], indices: Int[Tensor, "*shape"], k: int) -> Float[Tensor, " k"]:
    """dL/dc_l = sum over {indices = l} of dL/dW, for W = c[indices]; weights of index -1 are pruned and left out.

    >>> cluster_gradient(torch.tensor([1.0, 2.0, 4.0, 8.0]), torch.tensor([0, 1, 0, -1]), 2)
    tensor([5., 2.])
    """
    bins = (indices + 1).flatten()
    return gradient.new_zeros(k + 1).index_add_(0, bins, gradient.flatten())[1:]


class PrunedWeight:
    """A weight some of whose entries stay 0."""

    def __init__(self, weight: Tensor, mask: Bool[Tensor, "..."]) -> None:
        self.weight, self.gone = weight, ~mask.to(weight.device)

    def follow(self) -> None:
        """Put zeros in place."""
        with torch.no_grad():
            self.weight.masked_fill_(self.gone, 0)

    def gather(self) -> None:
        """Keep what is pruned out of the step, whatever its gradient."""
        if self.weight.grad is not None:
            self.weight.grad.masked_fill_(self.gone, 0)


class SharedValues:
    """A codebook as a parameter, and the weights of one or several layers that follow it."""

    def __init__(self, layers: Sequence[tuple[Layer, Quantised]], decay: float | int, summed: bool) -> None:
        self.weights = [layer.weight for layer, _ in layers]
        first, few = self.weights[0], layers[0][1]
        # Steps are too small for half precision to keep; the weights are rounded to it, the values are not.
        exact = torch.float64 if any(weight.dtype == torch.float64 for weight in self.weights) else torch.float32
        self.values = nn.Parameter(torch.tensor(few.values, dtype=exact, device=first.device))
        self.indices = [torch.tensor(few.indices, dtype=torch.int64, device=first.device) for _, few in layers]
        ones = [cluster_gradient(torch.ones_like(i, dtype=exact), i, len(self.values)) for i in self.indices]
        self.share = torch.ones_like(self.values) if summed else 1 / sum(ones, start=ones[0] * 0).clamp(min=1)
        self.decay = decay

    def follow(self) -> None:
        """Write the values into the weights."""
        with torch.no_grad():
            padded = torch.cat([self.values, self.values.new_zeros(1)])  # the index -1 takes the zero
            for weight, indices in zip(self.weights, self.indices, strict=True):
                weight.copy_(padded[indices])

    def gather(self) -> None:
        """Sum the weights' gradients, and those of their decay, into the values'; weights themselves take no step."""
        total = torch.zeros_like(self.values)
        for weight, indices in zip(self.weights, self.indices, strict=True):
            if weight.grad is not None:
                full = weight.grad.to(total) + self.decay * weight.detach().to(total)
                total += cluster_gradient(full, indices, len(total))
                weight.grad = None
        self.values.grad = total * self.share

    def settle(self) -> list[Quantised]:
        """The codebook that the weights then follow exactly, in float32 and in their own type; one for each layer."""
        narrowest = max((weight.dtype for weight in self.weights), key=lambda dtype: torch.finfo(dtype).eps)
        values = in_type(self.values, narrowest)
        with torch.no_grad():
            self.values.copy_(torch.from_numpy(values))
        self.follow()
        return [Quantised(values, indices.to("cpu", torch.int32).numpy()) for indices in self.indices]
