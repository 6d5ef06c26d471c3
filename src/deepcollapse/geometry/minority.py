r"""Minority collapse: classes with few samples lose their own direction, or vanish altogether.

The measures take any C `rows` (the classifier's, or centred class means) and a `subset` of class indices, the minority
classes. Rows are never centred here.
"""

from collections.abc import Sequence
from functools import partial

import torch
from jaxtyping import Float, Float64
from torch import Tensor

from deepcollapse.errors import LabelError, OptionError
from deepcollapse.geometry.metric import metric
from deepcollapse.geometry.rank import rescaled
from deepcollapse.geometry.simplex import ZERO_NORM, checked_rows

_measure = partial(metric, invariant_to=("rotation", "scale"), needs=("rows",), source="fang2021")


def erased_classes(rows: Float[Tensor, "c d"], tolerance: float = ZERO_NORM) -> tuple[int, ...]:
    r"""The classes whose row (C, d) has a norm of at most `tolerance` times the largest norm, in order.

    Empty at collapse; every class where all rows are 0. Below the critical imbalance of the Layer-Peeled Model the
    optimum itself erases minority classes. Raises OptionError for a tolerance outside [0, 1), ShapeError,
    NonFiniteError, TooFewClassesError. Source: Fang et al. 2021.

    >>> erased_classes(torch.tensor([[1.0, 0.0], [0.0, 0.0], [0.0, 1.0]]))
    (1,)
    """
    if not 0 <= tolerance < 1:
        raise OptionError(f"tolerance is a share of the largest norm, at least 0 and below 1; got {tolerance}.")
    norms = rescaled(checked_rows(rows))[0].norm(dim=1)
    return tuple((norms <= tolerance * norms.max()).nonzero().flatten().tolist())


def _checked_subset(subset: Sequence[int], num_classes: int, least: int, most: int) -> list[int]:
    """The indices as a list, or LabelError where they are no classes, repeated, too few or too many."""
    chosen = list(subset)
    wrong = [i for i in chosen if not 0 <= i < num_classes]
    if wrong or len(set(chosen)) != len(chosen):
        what = f"{wrong[0]} is none of them" if wrong else "a class is named twice"
        raise LabelError(f"subset {tuple(chosen)} must name classes 0 to {num_classes - 1}, each once; {what}.")
    if not least <= len(chosen) <= most:
        raise LabelError(f"subset names {len(chosen)} of {num_classes} classes; this measure takes {least} to {most}.")
    return chosen


def _subset_cosines(rows: Float[Tensor, "c d"], subset: Sequence[int], tolerance: float) -> Float64[Tensor, " pairs"]:
    """cos(r_i, r_j) for i < j in the subset; a single NaN where any of them is erased."""
    erased = erased_classes(rows, tolerance)
    chosen = _checked_subset(subset, len(rows), 2, len(rows))
    small = rescaled(checked_rows(rows))[0][chosen]
    if set(chosen) & set(erased):
        return small.new_full((1,), torch.nan)
    unit = small / small.norm(dim=1, keepdim=True)
    i, j = torch.triu_indices(len(chosen), len(chosen), 1, device=unit.device)
    return (unit @ unit.T)[i, j].clamp(-1, 1)


@_measure(
    symbol="minority angle",
    range=(-1.0, 1.0),
    collapsed=None,
    collapsed_formula="-1/(C-1)",
    cost="O(B^2 d)",
)
def minority_angle_mean(
    rows: Float[Tensor, "c d"], subset: Sequence[int], tolerance: float = ZERO_NORM
) -> Float64[Tensor, ""]:
    r"""Avg_{i != j in subset} cos(r_i, r_j) for rows (C, d).

    Dimensionless, in [-1, 1]: -1/(C-1) at balanced collapse, 1 at minority collapse. NaN where any class of the subset
    is erased (`erased_classes` with this `tolerance` names it): a vanished row has no angle. Unchanged by rotation and
    scale. Raises LabelError for a subset of fewer than two or unknown classes, OptionError, ShapeError, NonFiniteError,
    TooFewClassesError. Source: Fang et al. 2021.

    >>> minority_angle_mean(torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.0, 2.0]]), (1, 2)).item()
    1.0
    """
    return _subset_cosines(rows, subset, tolerance).mean()


@_measure(
    symbol="min minority angle",
    range=(-1.0, 1.0),
    collapsed=None,
    collapsed_formula="-1/(C-1)",
    cost="O(B^2 d)",
)
def minority_angle_min(
    rows: Float[Tensor, "c d"], subset: Sequence[int], tolerance: float = ZERO_NORM
) -> Float64[Tensor, ""]:
    r"""min_{i != j in subset} cos(r_i, r_j) for rows (C, d): the pair of minority classes that is widest apart.

    Dimensionless, in [-1, 1]: -1/(C-1) at balanced collapse, 1 where all of the subset has merged. NaN and errors as
    `minority_angle_mean`. Source: Fang et al. 2021.

    >>> minority_angle_min(torch.eye(3), (0, 1, 2)).item()
    0.0
    """
    return _subset_cosines(rows, subset, tolerance).min()


@_measure(symbol="minority norm ratio", range=(0.0, float("inf")), collapsed=1.0, cost="O(C d)")
def minority_norm_ratio(rows: Float[Tensor, "c d"], subset: Sequence[int]) -> Float64[Tensor, ""]:
    r"""Avg_{subset} |r_c| / Avg_{the rest} |r_c| for rows (C, d).

    Dimensionless, at least 0: 1 at balanced collapse, 0 where the whole subset is erased. Infinite where only the rest
    is 0, NaN where all rows are. Unchanged by rotation and scale. Raises LabelError for an empty subset, one that
    leaves no rest, or unknown classes; ShapeError, NonFiniteError, TooFewClassesError. Source: Fang et al. 2021.

    >>> minority_norm_ratio(torch.tensor([[4.0, 0.0], [0.0, 1.0], [0.0, 1.0]]), (1, 2)).item()
    0.25
    """
    norms = rescaled(checked_rows(rows))[0].norm(dim=1)
    chosen = torch.zeros(len(norms), dtype=torch.bool, device=norms.device)
    chosen[_checked_subset(subset, len(norms), 1, len(norms) - 1)] = True
    return norms[chosen].mean() / norms[~chosen].mean()
