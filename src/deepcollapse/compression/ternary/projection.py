"""Nearest weights from a finite set times one scale a layer."""

import torch
from jaxtyping import Float, Float64, Int64
from torch import Tensor

from deepcollapse.errors import NonFiniteError, OptionError

TERNARY = (-1.0, 0.0, 1.0)
_ROUNDS = 100  # alternations between scale and assignment; a handful are enough, for each lowers the distance


def ternary_projection(weight: Float[Tensor, "..."]) -> tuple[Float[Tensor, "..."], float]:
    r"""Signs in {-1, 0, 1} and one scale a >= 0 so that a * signs stands for the weight: the rule of ternary networks.

    sign(w) where |w| > 0.7 mean|w|, else 0; a is the mean of |w| over those. Takes a weight of any shape; the signs
    have its shape and type, the scale its unit. A zero or empty weight gives zeros and scale 0. Raises NonFiniteError.
    Source: Li, Zhang & Liu 2016.

    >>> ternary_projection(torch.tensor([[1.0, -0.25, 0.0], [-1.0, 0.5, -0.5]]))
    (tensor([[ 1.,  0.,  0.],
            [-1.,  1., -1.]]), 0.75)
    """
    _refuse_nonfinite(weight)
    size = weight.detach().double().abs()
    kept = size > 0.7 * (size.mean() if size.numel() else 0.0)
    scale = size[kept].mean().item() if kept.any() else 0.0
    return weight.detach().sign().where(kept, 0.0), scale


def project(
    weight: Float[Tensor, "..."], values: Float64[Tensor, " r"], scale: float | int | None = None
) -> tuple[Int64[Tensor, "..."], float]:
    """The index of each weight's value in `values` (ascending), and the scale that the values are times.

    With a scale given, or for values that are not -1, 0, 1, each weight takes the nearest of scale * values, the lower
    one half-way; a scale not given minimises the squared distance, alternating with the assignment. -1, 0, 1 without a
    scale follow `ternary_projection`. Where no scale is better than another (a zero weight) it is 1.

    >>> project(torch.tensor([0.5, -0.25, 1.5]), torch.tensor([-1.0, 1.0]).double())
    (tensor([1, 0, 1]), 0.75)
    """
    _refuse_nonfinite(weight)
    w = weight.detach().double()
    if scale is not None:
        return _nearest(w / scale, values), float(scale)
    if values.tolist() == list(TERNARY):
        signs, scale = ternary_projection(weight)
        return signs.long() + 1, scale or 1.0
    return _alternate(w, values)


def _alternate(w: Tensor, values: Tensor) -> tuple[Tensor, float]:
    peak = values.abs().max()
    scale = float(w.abs().mean() / values.abs().mean()) if w.numel() and peak > 0 else 0.0
    if scale == 0:
        return _nearest(w, values), 1.0
    chosen = _nearest(w / scale, values)
    for _ in range(_ROUNDS):
        q = values[chosen]
        if not q.any():
            break
        better = float((w * q).sum() / q.square().sum())
        again = _nearest(w / better, values) if better > 0 else chosen
        scale = better if better > 0 else scale
        if torch.equal(again, chosen):
            break
        chosen = again
    return chosen, scale


def _nearest(w: Tensor, values: Tensor) -> Tensor:
    half_way = (values[1:] + values[:-1]) / 2
    return torch.bucketize(w, half_way)  # right=False: half-way itself goes to the lower value


def _refuse_nonfinite(weight: Tensor) -> None:
    if not weight.isfinite().all():
        count = int((~weight.isfinite()).sum())
        raise NonFiniteError(
            f"the weight holds {count} NaN or infinite entries; start from a network that trained without diverging."
        )


def checked_values(values: object) -> Float64[Tensor, " r"]:
    """The allowed values, ascending, or OptionError where they are fewer than two, repeated or not finite."""
    found = torch.as_tensor(values, dtype=torch.float64).flatten().sort().values
    if len(found) < 2 or not found.isfinite().all() or (found.diff() == 0).any():
        raise OptionError(f"values must be two or more distinct finite numbers; got {found.tolist()}.")
    return found
