r"""A convolution's kernel as a matrix: there is more than one way, and each has a rank of its own.

A kernel K (O, I, k_h, k_w) has output channels o, input channels i and offsets u, v along height and width. The channel
unfolding is the matrix that meets each patch of the input; of rank r it is a convolution to r channels followed by a
1 x 1 one. The spatial unfolding parts height from width; of rank r it is a k_h x 1 convolution to r channels followed
by a 1 x k_w one. The convolution itself, as a linear map between images, has the singular values of the kernel's
Fourier transform, frequency by frequency, where the image's edges are joined.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float, Float64
from torch import Tensor

from deepcollapse.errors import ShapeError
from deepcollapse.geometry.rank import checked_finite


def channel_unfolding(kernel: Float[Tensor, "o i *k"]) -> Float[Tensor, "o p"]:
    """The matrix (O, I k_h k_w) with one row an output channel, of a kernel with any number of spatial axes.

    Entries and type stay as they are. Raises ShapeError for a vector or a number.

    >>> channel_unfolding(torch.zeros(4, 3, 2, 5)).shape
    torch.Size([4, 30])
    """
    if kernel.ndim < 2:
        raise ShapeError(f"kernel has shape {tuple(kernel.shape)}; expected (outputs, inputs, ...).")
    return kernel.flatten(1) if kernel.ndim > 2 else kernel


def spatial_unfolding(kernel: Float[Tensor, "o i h w"]) -> Float[Tensor, "p q"]:
    """The matrix (O k_w, I k_h) with rows (o, v) and columns (i, u), of a kernel (O, I, k_h, k_w) with two axes.

    Entries and type stay as they are. Raises ShapeError for kernels with another number of spatial axes: with one there
    is nothing to part, with three there are several ways.

    >>> spatial_unfolding(torch.zeros(4, 3, 2, 5)).shape
    torch.Size([20, 6])
    """
    if kernel.ndim != 4:
        raise ShapeError(
            f"kernel has shape {tuple(kernel.shape)}; the spatial unfolding is of (outputs, inputs, height, width). "
            "Take channel_unfolding for other kernels."
        )
    outputs, inputs, height, width = kernel.shape
    return kernel.permute(0, 3, 1, 2).reshape(outputs * width, inputs * height)


def circular_singular_values(kernel: Float[Tensor, "o i *k"], size: int | Sequence[int]) -> Float64[Tensor, " r"]:
    r"""Singular values of the convolution as a map between images of this size whose edges are joined, largest first.

    Takes a kernel (O, I, ...) of stride 1 and one group with one, two or three spatial axes, and the image's `size`
    along each of them (one number for all); min(O, I) values for each of the image's positions, those of K's Fourier
    transform at each frequency. At least 0, in the unit of the kernel; their squares sum to positions * ||K||_F^2.
    Padding with zeros changes them little where the image is large. Raises ShapeError where the kernel has no spatial
    axis or does not fit into the image, NonFiniteError. Source: Sedghi, Gupta & Long 2019.

    >>> circular_singular_values(torch.tensor([[[1.0, -1.0]]]), 2).tolist()
    [2.0, 0.0]
    """
    axes = tuple(kernel.shape[2:])
    sizes = (size,) * len(axes) if isinstance(size, int) else tuple(size)
    if not axes or len(sizes) != len(axes) or any(s < k for s, k in zip(sizes, axes, strict=True)) or 0 in kernel.shape:
        raise ShapeError(
            f"kernel has shape {tuple(kernel.shape)} and the image size {sizes or size}; expected (outputs, inputs, "
            "...) with one size for each further axis, none of them smaller than the kernel."
        )
    transformed = torch.fft.fftn(checked_finite(kernel, "kernel"), s=sizes, dim=tuple(range(2, kernel.ndim)))
    return torch.linalg.svdvals(transformed.flatten(2).movedim(-1, 0)).flatten().sort(descending=True).values
