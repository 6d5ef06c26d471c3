"""One layer taken apart once, to be put together again at any rank; and what that loses."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import torch
from jaxtyping import Float64
from torch import Tensor, nn

from deepcollapse.compression.layers import Layer
from deepcollapse.compression.low_rank.convolution import folded, tucker
from deepcollapse.compression.low_rank.factors import Directions
from deepcollapse.compression.low_rank.inputs import InputMoments
from deepcollapse.compression.low_rank.modules import channel_pair, linear_pair, spatial_pair, tucker_triple
from deepcollapse.compression.low_rank.truncation import (
    aware_directions,
    plain_directions,
    scaled_directions,
    scales_of,
)
from deepcollapse.errors import OptionError
from deepcollapse.geometry.unfolding import channel_unfolding, spatial_unfolding

Form = Literal["linear", "channel", "spatial", "tucker"]
How = Literal["weights", "scaled", "activations"]
Rank = int | tuple[int, int]


@dataclass(frozen=True)
class Cut:
    """A layer at a lower rank: the modules in its place, and the weight that they stand for, of the layer's shape."""

    module: nn.Sequential
    weight: Float64[Tensor, "..."]


@dataclass(frozen=True)
class DecomposedLayer:
    """A layer, the form in which it is cut, what it is weighed with, and (on demand) its directions.

    Attributes:
        layer: linear or convolutional. form: "linear", "channel", "spatial" or "tucker".
        how: "weights", "scaled" or "activations". moments: of the layer's inputs, or None.
        ridge: as in `activation_aware`.
    """

    layer: Layer
    form: Form
    how: How
    moments: InputMoments | None = None
    ridge: float | int = 0.0

    @property
    def groups(self) -> int:
        """How many kernels of their own the layer has; each is cut to the same rank."""
        return getattr(self.layer, "groups", 1)

    @property
    def shape(self) -> tuple[int, int]:
        """The shape (m, n) of the unfolding that is cut, of one group; of the channel unfolding in Tucker's form."""
        outputs, inputs, *size = self.layer.weight.shape
        outputs //= self.groups
        if self.form == "spatial":
            height, width = size
            return outputs * width, inputs * height
        return outputs, inputs * math.prod(size)

    @property
    def cost(self) -> int:
        """Parameters that one unit of rank takes."""
        return self.groups * sum(self.shape)

    @cached_property
    def directions(self) -> list[Directions]:
        """Those of each group's unfolding, weighed as `how` says; of weights alone in a spatial form."""
        if self.form == "tucker":
            raise OptionError("Tucker's form has two ranks and no single spectrum; give its ranks as a pair, by hand.")
        return [self._directions(group, kernel) for group, kernel in enumerate(self._kernels())]

    @cached_property
    def singular_values(self) -> Float64[Tensor, " k"]:
        """Of the weighted unfolding, largest first; over groups the root of the sum of squares."""
        return torch.stack([part.values for part in self.directions]).square().sum(dim=0).sqrt()

    def parameters(self, rank: Rank) -> int:
        """How many numbers the factors hold at a rank, without the bias; rank 0 is stored as rank 1."""
        if self.form != "tucker":
            assert isinstance(rank, int)
            return self.cost * max(rank, 1)
        outer, inner = self._pair(rank)
        weight = self.layer.weight
        size, group = weight[0, 0].numel(), (weight.shape[0] // self.groups, weight.shape[1])
        return self.groups * (outer * group[0] + outer * inner * size + inner * group[1])

    def cut(self, rank: Rank) -> Cut:
        """The layer at this rank. With `activations` its bias, if it has one, makes up for the mean that is lost."""
        if self.form == "tucker":
            parts = [tucker(kernel, self._pair(rank)) for kernel in self._kernels()]
            module, weight = tucker_triple(self._convolution(), parts), torch.cat([part.kernel() for part in parts])
        else:
            assert isinstance(rank, int)
            factors = [part.factors(rank) for part in self.directions]
            kernels = zip(factors, self._kernels(), strict=True)
            weight = torch.cat([folded(part.matrix(), tuple(kernel.shape), self.form) for part, kernel in kernels])
            if isinstance(self.layer, nn.Linear):
                module = linear_pair(self.layer, factors[0])
            elif self.form == "channel":
                module = channel_pair(self.layer, factors)
            else:
                assert isinstance(self.layer, nn.Conv2d)
                module = spatial_pair(self.layer, factors)
        self._mend_bias(module, weight)
        return Cut(module, weight)

    def weight_error(self, cut: Cut) -> float:
        """||W - W_r||_F / ||W||_F; 0 for a zero weight."""
        weight = self._weight()
        size = float(weight.norm())
        return float((weight - cut.weight).norm()) / size if size else 0.0

    def output_error(self, cut: Cut) -> float | None:
        """The root mean square change of the output on the inputs over that of W x; None without inputs."""
        if self.moments is None:
            return None
        lost = self._energy(self._weight() - cut.weight, self._moment)
        size = self._energy(self._weight(), self.moments.second_moment)
        return math.sqrt(lost / size) if size else 0.0

    @property
    def _mends_bias(self) -> bool:
        return self.how == "activations" and self.layer.bias is not None

    @cached_property
    def _moment(self) -> Float64[Tensor, "g n n"]:
        assert self.moments is not None
        return self.moments.covariance if self._mends_bias else self.moments.second_moment

    def _directions(self, group: int, kernel: Tensor) -> Directions:
        if self.form == "spatial":
            return plain_directions(spatial_unfolding(kernel))
        matrix = channel_unfolding(kernel)
        if self.how == "weights":
            return plain_directions(matrix)
        if self.moments is None:
            raise OptionError(f"nothing is known of the inputs of a layer to be cut by {self.how}; collect them too.")
        if self.how == "scaled":
            return scaled_directions(matrix, scales_of(self.moments.magnitude[group]))
        return aware_directions(matrix, self._moment[group], ridge=self.ridge)

    def _mend_bias(self, module: nn.Sequential, weight: Tensor) -> None:
        if self._mends_bias and self.moments is not None:
            lost = self._by_group(self._weight() - weight)
            bias = module[-1].get_parameter("bias")
            with torch.no_grad():
                bias.copy_(bias.double().cpu() + torch.einsum("gmn,gn->gm", lost, self.moments.mean).flatten())

    def _energy(self, weight: Tensor, moment: Tensor) -> float:
        rows = self._by_group(weight)
        return max(0.0, float(((rows @ moment) * rows).sum()))

    def _weight(self) -> Float64[Tensor, "..."]:
        return self.layer.weight.detach().double().cpu()

    def _by_group(self, weight: Tensor) -> Float64[Tensor, "g m n"]:
        return weight.flatten(1).unflatten(0, (self.groups, -1))

    def _kernels(self) -> Iterator[Tensor]:
        return iter(self._weight().unflatten(0, (self.groups, -1)))

    def _pair(self, rank: Rank) -> tuple[int, int]:
        """Tucker's ranks, no larger than the channels are many; 0 is stored as 1."""
        outer, inner = (rank, rank) if isinstance(rank, int) else rank
        outputs, inputs = self.layer.weight.shape[0] // self.groups, self.layer.weight.shape[1]
        return min(max(outer, 1), outputs), min(max(inner, 1), inputs)

    def _convolution(self) -> nn.Conv1d | nn.Conv2d | nn.Conv3d:
        assert not isinstance(self.layer, nn.Linear)
        return self.layer
