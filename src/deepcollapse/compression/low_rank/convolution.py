r"""Kernels K (O, I, k_h, k_w) of lower rank: the spatial form's two kernels, and Tucker's three.

A kernel has as many ranks as ways to unfold it. Its channel form is that of the matrix `channel_unfolding`, and needs
nothing beyond what matrices have. Its spatial form is that of `spatial_unfolding`; Tucker's has a rank for the output
channels and one for the input channels. Groups of a convolution are kernels of their own.
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float, Float64
from torch import Tensor

from deepcollapse.compression.low_rank.factors import Factors, checked_rank
from deepcollapse.errors import OptionError, ShapeError
from deepcollapse.geometry.rank import checked_finite

SETTLED = 1e-13  # sweeps end where the kept energy grows by no larger a share


@dataclass(frozen=True)
class Tucker:
    r"""K_{o i ...} = sum_{a b} outputs_{o a} core_{a b ...} inputs_{i b}, in place of a kernel (O, I, ...).

    Attributes:
        outputs: (O, r_o) and inputs: (I, r_i), orthonormal columns. core: (r_o, r_i, ...). All float64 on the CPU.
    """

    outputs: Float64[Tensor, "o a"]
    core: Float64[Tensor, "a b *k"]
    inputs: Float64[Tensor, "i b"]

    @property
    def parameters(self) -> int:
        """How many numbers the three hold: r_o O + r_o r_i k_h k_w + r_i I."""
        return self.outputs.numel() + self.core.numel() + self.inputs.numel()

    def kernel(self) -> Float64[Tensor, "o i *k"]:
        """The kernel (O, I, ...) that they stand for."""
        return torch.einsum("oa,ab...,ib->oi...", self.outputs, self.core, self.inputs)


def tucker(kernel: Float[Tensor, "o i *k"], ranks: tuple[int, int], sweeps: int = 200) -> Tucker:
    r"""A kernel (O, I, ...) of ranks (r_o, r_i) in its output and input channels, by alternating improvement.

    Starts from the truncated higher-order SVD, which is what `sweeps=0` gives: the first left singular vectors of the
    unfoldings by output and by input channel. Each sweep takes the best directions of the one given the other's, so
    that ||K - K_r||_F never grows; it ends where the error no longer falls. A local optimum, at most sqrt(2) times the
    least error. Ranks larger than a channel count are taken as that count. Raises ShapeError, NonFiniteError, and
    OptionError for a negative rank. Sources :cite:`delathauwer2000,kim2016`.

    >>> found = tucker(torch.ones(4, 3, 2, 2), (1, 1))
    >>> found.core.shape, torch.allclose(found.kernel(), torch.ones(4, 3, 2, 2).double())
    (torch.Size([1, 1, 2, 2]), True)
    """
    if kernel.ndim < 2:
        raise ShapeError(f"the kernel has shape {tuple(kernel.shape)}; expected (outputs, inputs, ...).")
    K = checked_finite(kernel.detach(), "the kernel").cpu()
    by_output, by_input = (min(checked_rank(r), K.shape[axis]) for axis, r in enumerate(ranks))
    outputs, inputs = _leading(K, by_output), _leading(K.transpose(0, 1), by_input)
    kept, energy = _core(K, outputs, inputs).square().sum(), K.square().sum()
    for _ in range(sweeps):
        outputs = _leading(torch.einsum("oi...,ib->ob...", K, inputs), by_output)
        inputs = _leading(torch.einsum("oi...,oa->ia...", K, outputs), by_input)
        before, kept = kept, _core(K, outputs, inputs).square().sum()
        if kept - before <= SETTLED * energy:
            break
    return Tucker(outputs, _core(K, outputs, inputs), inputs)


def _leading(unfolded: Tensor, rank: int) -> Float64[Tensor, "m r"]:
    """The first left singular vectors of a tensor's unfolding by its first axis."""
    matrix = unfolded.flatten(1)
    if matrix.shape[1] < rank:  # the other rank is so small that directions run out: any others will do
        return torch.linalg.svd(matrix, full_matrices=True).U[:, :rank]
    return torch.linalg.svd(matrix, full_matrices=False).U[:, :rank]


def _core(K: Tensor, outputs: Tensor, inputs: Tensor) -> Tensor:
    return torch.einsum("oi...,oa,ib->ab...", K, outputs, inputs)


def spatial_kernels(
    factors: Factors, kernel_size: tuple[int, int]
) -> tuple[Float64[Tensor, "r i h 1"], Float64[Tensor, "o r 1 w"]]:
    """The k_h x 1 and the 1 x k_w kernel of factors (O k_w, r), (r, I k_h) of a spatial unfolding.

    Raises ShapeError where the factors do not divide into such kernels.

    >>> import torch
    >>> pair = Factors(torch.zeros(8, 3).double(), torch.zeros(3, 15).double())
    >>> [part.shape for part in spatial_kernels(pair, (5, 2))]
    [torch.Size([3, 3, 5, 1]), torch.Size([4, 3, 1, 2])]
    """
    height, width = kernel_size
    (rows, rank), columns = factors.left.shape, factors.right.shape[1]
    if rows % width or columns % height:
        raise ShapeError(
            f"factors of a {rows} x {columns} matrix are none of a spatial unfolding for a kernel of size "
            f"{height} x {width}."
        )
    first = factors.right.reshape(rank, columns // height, height, 1)
    second = factors.left.reshape(rows // width, width, rank).transpose(1, 2)[:, :, None, :]
    return first, second


def folded(matrix: Float64[Tensor, "m n"], shape: tuple[int, ...], form: str) -> Float64[Tensor, "*k"]:
    """The kernel of this shape (O, I, ...) whose channel or spatial unfolding is `matrix`.

    >>> folded(torch.zeros(8, 15).double(), (4, 3, 5, 2), "spatial").shape
    torch.Size([4, 3, 5, 2])
    """
    if math.prod(shape) != matrix.numel() or form not in ("linear", "channel", "spatial"):
        raise OptionError(f"a {form} unfolding of shape {tuple(matrix.shape)} is none of a kernel of shape {shape}.")
    if form != "spatial":
        return matrix.reshape(shape)
    outputs, inputs, height, width = shape
    return matrix.reshape(outputs, width, inputs, height).permute(0, 2, 3, 1)
