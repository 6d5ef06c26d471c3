r"""NC3: whether the rows of the classifier point along the centred class means.

`classifier` (C, d) and `means` (C, d) hold the same classes in the same order; where classes are absent, pass the
present rows of both. Means are centred beforehand; neither argument is centred here. A classifier row or mean of norm
below 1e-12 times the largest of its kind has no direction, and its cosine is NaN and left out of averages.
"""

from functools import partial

import torch
from jaxtyping import Float, Float64
from torch import Tensor

from deepcollapse.errors import ShapeError
from deepcollapse.geometry.metric import metric
from deepcollapse.geometry.rank import checked_finite, rescaled
from deepcollapse.geometry.simplex import checked_rows, simplex_gram_error, unit_rows

INFINITY = float("inf")

_measure = partial(
    metric, invariant_to=("rotation", "scale", "translation"), cost="O(C d)", needs=("classifier", "means")
)


def _pair(classifier: Tensor, means: Tensor) -> tuple[Float64[Tensor, "c d"], Float64[Tensor, "c d"]]:
    """Both in float64, or an error where they are not rows of the same classes."""
    rows, means = checked_rows(classifier, "classifier"), checked_rows(means, "means")
    if rows.shape != means.shape:
        raise ShapeError(
            f"classifier has shape {tuple(rows.shape)} and means {tuple(means.shape)}; both need one row a class, in "
            "one order and dimension. Where classes are absent, pass the classifier's rows of the present ones."
        )
    return rows, means


@_measure(symbol="NC3", source="papyan2020", range=(0.0, 4.0), collapsed=0.0)
def self_duality(classifier: Float[Tensor, "c d"], means: Float[Tensor, "c d"]) -> Float64[Tensor, ""]:
    r"""| W / |W|_F - Z / |Z|_F |_F^2 for classifier W (C, d) and centred class means Z (C, d).

    Dimensionless, in [0, 4]: 0 at collapse, where W is proportional to Z, and 4 where W = -Z. Unchanged by rotation of
    both and by positive scale of either. NaN where either is 0. Raises ShapeError, NonFiniteError, TooFewClassesError.
    Source: Papyan, Han & Donoho 2020, Fig. 5.

    >>> round(self_duality(torch.tensor([[2.0], [-2.0]]), torch.tensor([[-1.0], [1.0]])).item(), 12)
    4.0
    """
    rows, means = (rescaled(x)[0] for x in _pair(classifier, means))
    return (rows / rows.norm() - means / means.norm()).square().sum()


@_measure(symbol="NC3 Gram", source="zhu2021", range=(0.0, 2.0), collapsed=0.0, cost="O(C^2 d)")
def gram_self_duality(classifier: Float[Tensor, "c d"], means: Float[Tensor, "c d"]) -> Float64[Tensor, ""]:
    r"""| W Z^T / |W Z^T|_F - T |_F with T = (I - 1 1^T / C) / sqrt(C-1): NC2 and NC3 in one number.

    For classifier W (C, d) and centred class means Z (C, d). Dimensionless, in [0, 2]; 0 at collapse. Unchanged by
    rotation of both and by positive scale of either. NaN where W Z^T is 0. Raises ShapeError, NonFiniteError,
    TooFewClassesError. Source: Zhu et al. 2021.

    >>> gram_self_duality(torch.tensor([[2.0], [-2.0]]), torch.tensor([[-1.0], [1.0]])).item()
    2.0
    """
    rows, means = (rescaled(x)[0] for x in _pair(classifier, means))
    return simplex_gram_error(rows @ means.T)


def self_duality_cosines(classifier: Float[Tensor, "c d"], means: Float[Tensor, "c d"]) -> Float64[Tensor, " c"]:
    r"""cos(w_c, mu_c - mu_G) of each class, (C,).

    Dimensionless, in [-1, 1]; 1 at collapse. Unchanged by rotation of both and by positive scale of either. NaN for a
    class whose row or mean is 0. Raises ShapeError, NonFiniteError, TooFewClassesError. Source: Zhu et al. 2021.

    >>> self_duality_cosines(torch.eye(2), torch.tensor([[3.0, 0.0], [0.0, -1.0]])).tolist()
    [1.0, -1.0]
    """
    rows, means = _pair(classifier, means)
    return (unit_rows(rows) * unit_rows(means)).sum(dim=1).clamp(-1, 1)


def _defined(classifier: Float[Tensor, "c d"], means: Float[Tensor, "c d"]) -> Float64[Tensor, " k"]:
    """The cosines that are not NaN."""
    values = self_duality_cosines(classifier, means)
    return values[values.isfinite()]


@_measure(symbol="NC3 cosine", source="zhu2021", range=(-1.0, 1.0), collapsed=1.0)
def self_duality_cosine_mean(classifier: Float[Tensor, "c d"], means: Float[Tensor, "c d"]) -> Float64[Tensor, ""]:
    r"""Avg_c cos(w_c, mu_c - mu_G), over classes that have both directions; see `self_duality_cosines`.

    Dimensionless, in [-1, 1]; 1 at collapse; NaN where no class has both. Errors as `self_duality_cosines`.
    Source: Zhu et al. 2021; 1 minus this is GNC3 of Jiang et al. 2023, where classes may outnumber dimensions.

    >>> self_duality_cosine_mean(torch.eye(2), torch.tensor([[3.0, 0.0], [0.0, -1.0]])).item()
    0.0
    """
    return _defined(classifier, means).mean()


@_measure(symbol="min NC3 cosine", source="zhu2021", range=(-1.0, 1.0), collapsed=1.0)
def self_duality_cosine_min(classifier: Float[Tensor, "c d"], means: Float[Tensor, "c d"]) -> Float64[Tensor, ""]:
    r"""min_c cos(w_c, mu_c - mu_G): the class whose row of the classifier is farthest from its mean.

    Dimensionless, in [-1, 1]; 1 at collapse; NaN where no class has both directions. Errors as `self_duality_cosines`.
    Source: Zhu et al. 2021.

    >>> self_duality_cosine_min(torch.eye(2), torch.tensor([[3.0, 0.0], [0.0, -1.0]])).item()
    -1.0
    """
    values = _defined(classifier, means)
    return values.min() if len(values) else values.mean()


@_measure(symbol="UNC3", source="wu2024", range=(0.0, 1.0), collapsed=0.0)
def uniform_duality(classifier: Float[Tensor, "c d"], means: Float[Tensor, "c d"]) -> Float64[Tensor, ""]:
    r"""UNC3: Std_c cos(w_c, mu_c - mu_G): whether all classes are equally far from self-duality.

    Dimensionless, in [0, 1], divided by the number of classes; 0 at collapse, and wherever duality is merely uniform.
    NaN where no class has both directions. Errors as `self_duality_cosines`. Source: Wu & Papyan 2024, with cosines.

    >>> uniform_duality(torch.eye(2), torch.tensor([[1.0, 1.0], [1.0, 1.0]])).item()
    0.0
    """
    values = _defined(classifier, means)
    return (values - values.mean()).square().mean().sqrt()


@_measure(
    symbol="UNC3 dot",
    source="wu2024",
    range=(0.0, INFINITY),
    collapsed=0.0,
    invariant_to=("rotation", "translation"),
    unit="logit",
)
def uniform_duality_dot(classifier: Float[Tensor, "c d"], means: Float[Tensor, "c d"]) -> Float64[Tensor, ""]:
    r"""Std_c <w_c, mu_c - mu_G>, divided by C: `uniform_duality` with inner products for cosines.

    At least 0, in units of a logit; 0 at collapse; proportional to the scale of either argument. Zero rows count, with
    inner product 0. Raises ShapeError, NonFiniteError, TooFewClassesError. Source: Wu & Papyan 2024; their code has
    the variance, divided by C-1.

    >>> uniform_duality_dot(torch.eye(2), torch.tensor([[3.0, 0.0], [0.0, 1.0]])).item()
    1.0
    """
    rows, means = _pair(classifier, means)
    return (rows * means).sum(dim=1).std(correction=0)


@_measure(symbol="UNC3 variation", source="wu2024", range=(0.0, INFINITY), collapsed=0.0)
def uniform_duality_variation(classifier: Float[Tensor, "c d"], means: Float[Tensor, "c d"]) -> Float64[Tensor, ""]:
    r"""Std_c / |Avg_c| of cos(w_c, mu_c - mu_G): the coefficient of variation of `uniform_duality`.

    Dimensionless, at least 0; 0 at collapse; NaN where the mean cosine is 0 (below 1e-14) or no class has both
    directions. Errors as `self_duality_cosines`. Source: Wu & Papyan 2024.

    >>> uniform_duality_variation(torch.eye(2), torch.tensor([[1.0, 0.0], [1.0, 0.0]])).item()
    1.0
    """
    values = _defined(classifier, means)
    mean = values.mean()
    # Cosines carry rounding of about 1e-16 themselves: a mean below 1e-14 is 0.
    return torch.where(mean.abs() > 1e-14, (values - mean).square().mean().sqrt() / mean.abs(), torch.nan)


@metric(
    symbol="NC3 bias",
    source="zhu2021",
    range=(0.0, INFINITY),
    collapsed=None,
    invariant_to=("rotation", "translation"),
    cost="O(C d)",
    needs=("classifier", "bias", "moments"),
    unit="logit",
)
def centre_logit_norm(
    classifier: Float[Tensor, "c d"], bias: Float[Tensor, " c"] | None, centre: Float[Tensor, " d"]
) -> Float64[Tensor, ""]:
    r"""| W mu_G + b |_2, the norm of the logits (C,) at the global mean mu_G (d,); a bias of None is 0.

    At least 0; 0 where the classifier has no preference at the centre, as at the collapsed optimum of the squared and,
    with regularised bias, of the cross-entropy loss. In the unit of the logits; unchanged by rotation of classifier and
    centre, and by a translation of the features that the bias makes up for. Raises ShapeError, NonFiniteError,
    TooFewClassesError. Source: Zhu et al. 2021.

    >>> centre_logit_norm(torch.eye(2), torch.tensor([0.0, 1.0]), torch.tensor([3.0, 3.0])).item()
    5.0
    """
    rows = checked_rows(classifier, "classifier")
    bias = rows.new_zeros(len(rows)) if bias is None else bias
    if bias.shape != rows.shape[:1] or centre.shape != rows.shape[1:]:
        raise ShapeError(
            f"classifier has shape {tuple(rows.shape)}, bias {tuple(bias.shape)} and centre {tuple(centre.shape)}; "
            f"expected a bias of shape {(len(rows),)} and a centre of shape {(rows.shape[1],)}."
        )
    return (rows @ checked_finite(centre, "centre") + checked_finite(bias, "bias")).norm()
