r"""Deep neural collapse: class means as an orthogonal frame, and weights that point along them.

Behind a ReLU all features are non-negative, and without biases classes collapse onto vectors that are orthogonal and
equally long: a simplex ETF once they are centred, but not before. These measures therefore take class means as they
are, about 0 and not about their own mean. Deep neural collapse in a layer is `trace_ratio` 0 (DNC1), the frame error 0
(DNC2), and alignment with the layer's weights 0 (DNC3).
"""

import math
from functools import partial

import torch
from jaxtyping import Float, Float64
from torch import Tensor

from deepcollapse.errors import ShapeError
from deepcollapse.geometry.metric import metric
from deepcollapse.geometry.rank import checked_matrix, numerical_rank, rescaled, singular_values
from deepcollapse.geometry.simplex import checked_rows, directed

_measure = partial(metric, source="sukenik2023", invariant_to=("rotation", "scale"))


@_measure(
    symbol="DNC2",
    range=(0.0, math.sqrt(2)),
    collapsed=None,
    collapsed_formula="sqrt(2-2 sqrt(1-1/C))",
    cost="O(C^2 d)",
    needs=("moments",),
)
def orthogonal_frame_error(class_means: Float[Tensor, "c d"]) -> Float64[Tensor, ""]:
    r"""| M M^T / |M M^T|_F - I / sqrt(C) |_F: how far class means M (C, d) are from orthogonal and equally long.

    Dimensionless, in [0, sqrt(2 - 2/sqrt(C))]: 0 for an orthogonal frame only, and the upper end where all means agree.
    Pass means as they are, not centred: centred ones are never orthogonal, and a simplex ETF stands at
    sqrt(2 - 2 sqrt(1-1/C)). Means that are all 0 give NaN. Where C > d it cannot be 0. Raises ShapeError,
    NonFiniteError, TooFewClassesError. Source: the property is that of Súkeník, Mondelli & Lampert 2023.

    >>> orthogonal_frame_error(torch.tensor([[2.0, 0.0, 0.0], [0.0, 0.0, 2.0]])).item() < 1e-15
    True
    """
    means, _ = rescaled(checked_rows(class_means, "class_means"))
    gram = means @ means.T
    return (gram / gram.norm() - torch.eye(len(gram), dtype=gram.dtype, device=gram.device) / len(gram) ** 0.5).norm()


def orthogonal_conditioning(class_means: Float[Tensor, "c d"]) -> Float64[Tensor, ""]:
    r"""s_1 / s_C - 1 of the singular values of class means (C, d), not centred: 0 for an orthogonal frame.

    Dimensionless, at least 0, unchanged by rotation and scale; infinite where the means have a rank below C, as all
    centred ones and a simplex ETF do, which is why it is no measure of every layer. Means that are all 0 give NaN.
    Raises ShapeError, NonFiniteError, TooFewClassesError. Source: a variant of `orthogonal_frame_error`.

    >>> round(orthogonal_conditioning(torch.tensor([[3.0, 0.0], [0.0, 2.0]])).item(), 12)
    0.5
    """
    means = checked_rows(class_means, "class_means")
    s = singular_values(means)
    if len(s) < len(means) or numerical_rank(class_means) < len(means):
        return torch.where(s[0] > 0, torch.inf, torch.nan).to(s)
    return s[0] / s[-1] - 1


@_measure(symbol="DNC3", range=(0.0, 1.0), collapsed=0.0, cost="O(C^2 d)", needs=("classifier", "moments"))
def row_alignment(classifier: Float[Tensor, "q d"], class_means: Float[Tensor, "c d"]) -> Float64[Tensor, ""]:
    r"""sum_q |w_q|^2 / |W|_F^2 (1 - max_c |cos(w_q, mu_c)|): how far weights point from every class mean.

    For any weights (q, d), the classifier's or a hidden layer's, and the class means (C, d) of what they act on, not
    centred; a row counts by its squared norm, so that rows of 0 count nothing. Dimensionless, in [0, 1]: 0 where every
    row lies along some class mean, as in deep neural collapse. NaN where all weights or all means are 0; means of 0
    are left out. Raises ShapeError, NonFiniteError, TooFewClassesError. Source: the property is that of Súkeník,
    Mondelli & Lampert 2023; the weights of the average are our choice.

    >>> row_alignment(torch.tensor([[0.0, 2.0], [0.0, 0.0]]), torch.tensor([[1.0, 1.0], [0.0, -3.0]])).item()
    0.0
    """
    rows, means = checked_matrix(classifier, "classifier"), checked_rows(class_means, "class_means")
    if rows.shape[1] != means.shape[1]:
        raise ShapeError(
            f"weights have {rows.shape[1]} columns and class means dimension {means.shape[1]}; pass the class means of "
            "the features that the weights act on."
        )
    means, weight = directed(means), rescaled(rows)[0].square().sum(dim=1)
    if len(means) == 0:
        return rows.new_full((), torch.nan)
    lengths = rows.norm(dim=1, keepdim=True)
    cosines = torch.where(lengths > 0, rows / lengths, 0.0) @ means.T
    return (weight * (1 - cosines.abs().amax(dim=1).clamp(max=1))).sum() / weight.sum()
