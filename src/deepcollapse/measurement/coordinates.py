"""Which coordinates of an input a partial Jacobian is taken by."""

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from deepcollapse.errors import OptionError

PATCH = 16  # pixels, the published side
MOST = 3 * PATCH * PATCH  # coordinates of an input that is no image


def centre_patch(shape: Sequence[int], size: int = PATCH) -> Int64[Tensor, " k"]:
    """Flat indices, into one input of this shape, of the coordinates that partial Jacobians are taken by, (k,).

    Of an image (channels, height, width) the centre patch of `size` x `size` pixels, or all of a smaller side, in
    every channel: rows and columns 104 to 119 of 224, as published. Of anything else all coordinates, or 768 of them,
    evenly spread, where there are more.

    >>> centre_patch((1, 4, 4), size=2).tolist(), len(centre_patch((3, 224, 224))), centre_patch((3,)).tolist()
    ([5, 6, 9, 10], 768, [0, 1, 2])
    """
    everything = torch.arange(torch.Size(shape).numel())
    if len(shape) != 3:
        return everything if len(everything) <= MOST else torch.linspace(0, len(everything) - 1, MOST).round().long()
    _, height, width = shape
    top, left = max(0, height - size) // 2, max(0, width - size) // 2
    return everything.reshape(*shape)[:, top : top + size, left : left + size].flatten()


def checked_coordinates(
    coordinates: Sequence[int] | Int64[Tensor, " k"] | None, shape: Sequence[int]
) -> Int64[Tensor, " k"]:
    """The coordinates that were asked for, or `centre_patch`. Raises OptionError where one is none of the input's."""
    if coordinates is None:
        return centre_patch(shape)
    chosen = torch.as_tensor(coordinates, dtype=torch.int64).cpu()
    numel = torch.Size(shape).numel()
    outside = chosen[(chosen < 0) | (chosen >= numel)]
    if chosen.ndim != 1 or len(chosen) == 0 or len(outside) or len(chosen.unique()) < len(chosen):
        given = f"{int(outside[0])} among them" if len(outside) else f"shape {tuple(chosen.shape)}"
        given = "one of them twice" if not len(outside) and 0 < len(chosen.unique()) < chosen.numel() else given
        raise OptionError(
            f"coordinates are distinct indices from 0 to {numel - 1} into a flattened input of shape {tuple(shape)}, "
            f"at least one; got {given}."
        )
    return chosen


def patch_alone(
    inputs: Float[Tensor, "n ..."], coordinates: Sequence[int] | Int64[Tensor, " k"] | None = None
) -> Float[Tensor, "n ..."]:
    """The inputs (n, ...) with all but the chosen coordinates (by default `centre_patch`) set to 0.

    The published Jacobians are taken there: the authors cut the patch out and pad it with zeros inside the network.

    >>> patch_alone(torch.tensor([[1.0, 2.0, 3.0]]), [1]).tolist()
    [[0.0, 2.0, 0.0]]
    """
    chosen = checked_coordinates(coordinates, inputs.shape[1:]).to(inputs.device)
    flat = inputs.flatten(1)
    return torch.zeros_like(flat).index_copy_(1, chosen, flat[:, chosen]).reshape(inputs.shape)
