"""NC4: whether the network decides as the nearest class mean does, and how good each of the two is."""

import torch
from jaxtyping import Float, Float64, Int64
from torch import Tensor

from deepcollapse.errors import ShapeError
from deepcollapse.geometry.metric import metric
from deepcollapse.geometry.moments import ClassMoments
from deepcollapse.linalg import AffineArgmax, as_float64


def nearest_class_mean_rule(means: ClassMoments | Tensor) -> AffineArgmax:
    """The rule that gives each feature vector the class whose mean is nearest, the smallest index at ties.

    `means` are class means (C, d), or moments, of which the present classes count. Make the rule once for many
    batches. |h - mu_c|^2 is least where (mu_c - g) . (h - g) - |mu_c - g|^2 / 2 is largest, with g any centre: one
    product in place of n x C differences. Near-ties are settled by the differences themselves.

    >>> nearest_class_mean_rule(torch.tensor([[0.0], [2.0]]))(torch.tensor([[0.9], [1.1]])).tolist()
    [0, 1]
    """
    names = means.present.nonzero().flatten() if isinstance(means, ClassMoments) else None
    points = means.class_means() if isinstance(means, ClassMoments) else as_float64(means)
    centre = points.mean(dim=0)
    rows = points - centre
    return AffineArgmax(
        rows,
        -rows.square().sum(dim=1) / 2,
        centre,
        exact=lambda h, c: -(h - points[c]).square().sum(dim=1),
        names=names,
    )


def linear_rule(
    classifier: Float64[Tensor, "c d"], bias: Float64[Tensor, " c"], centre: Float64[Tensor, " d"]
) -> AffineArgmax:
    """The rule argmax_c w_c . h + b_c, the smallest index at ties; a `centre` amid the features rounds least."""
    return AffineArgmax(
        classifier,
        classifier @ centre + bias,
        centre,
        exact=lambda h, c: (h * classifier[c]).sum(dim=1) + bias[c],
    )


def nearest_class_means(features: Float[Tensor, "n d"], means: ClassMoments | Tensor) -> Int64[Tensor, " n"]:
    """The class whose mean is nearest to each feature vector (n, d), by Euclidean distance; shape (n,).

    `means` are the class means (C, d), or moments, of which the present classes count. At ties the smallest class
    index wins. Right to the last digit of the features: comparisons that rounding could flip are taken again in
    float64.

    >>> nearest_class_means(torch.tensor([[0.0], [0.9], [2.0]]), torch.tensor([[0.0], [2.0]])).tolist()
    [0, 0, 1]
    """
    if isinstance(means, Tensor) and (means.ndim != 2 or means.shape[1] != features.shape[1]):
        raise ShapeError(
            f"class means have shape {tuple(means.shape)} and features {tuple(features.shape)}; "
            "expected (classes, dim) and (samples, dim) with one dim."
        )
    return nearest_class_mean_rule(means)(features)


def linear_decisions(
    features: Float[Tensor, "n d"], classifier: Float[Tensor, "c d"], bias: Float[Tensor, " c"] | None = None
) -> Int64[Tensor, " n"]:
    """The linear classifier's decision argmax_c w_c . h + b_c on each row of features (n, d); shape (n,).

    At ties the smallest class index wins; comparisons that rounding could flip are taken again in float64.

    >>> linear_decisions(torch.tensor([[1.0, 0.0], [0.0, 1.0]]), torch.eye(2)).tolist()
    [0, 1]
    """
    if classifier.shape[1] != features.shape[1]:
        raise ShapeError(
            f"the classifier has shape {tuple(classifier.shape)} and features {tuple(features.shape)}; "
            "expected (classes, dim) and (samples, dim) with one dim."
        )
    weights = as_float64(classifier)
    b = weights.new_zeros(len(weights)) if bias is None else as_float64(bias)
    return linear_rule(weights, b, _amid(features))(features)


def _amid(features: Float[Tensor, "n d"], samples: int = 256) -> Float64[Tensor, " d"]:
    """A point amid the features (n, d): the mean of a few finite ones. Any point would do, a near one rounds least."""
    few = features[:: max(1, len(features) // samples)].double()
    few = few[few.isfinite().all(dim=1)]
    return few.mean(dim=0) if len(few) else few.new_zeros(few.shape[1])


def _share(hits: Tensor) -> Tensor:
    return hits.double().mean() if len(hits) else torch.full((), torch.nan, dtype=torch.float64)


@metric(
    symbol="NC4",
    source="papyan2020",
    range=(0.0, 1.0),
    collapsed=0.0,
    invariant_to=("rotation", "scale", "translation"),
    cost="O(N C d)",
    needs=("decisions",),
)
def nearest_class_mean_disagreement(
    decisions: Int64[Tensor, " n"], nearest: Int64[Tensor, " n"]
) -> Float64[Tensor, ""]:
    r"""Share of samples on which the network and the nearest class mean disagree.

    `decisions` (n,) are the network's, argmax_c w_c . h + b_c (`linear_decisions`); `nearest` (n,) the classes of the
    nearest class means (`nearest_class_means`), whose means always come from the training data, also for a test
    split. Dimensionless, in [0, 1], 0 at collapse; NaN without samples. The paper's figure shows the test split.
    Raises ShapeError. Source: Papyan, Han & Donoho 2020, Fig. 7.

    >>> nearest_class_mean_disagreement(torch.tensor([1, 1, 0, 1]), torch.tensor([2, 2, 0, 1])).item()
    0.5
    """
    if decisions.shape != nearest.shape:
        raise ShapeError(
            f"{len(decisions)} decisions came with {len(nearest)} nearest class means; "
            "they must be of the same samples."
        )
    return _share(decisions != nearest)


@metric(
    symbol="NCC",
    source="galanti2022",
    range=(0.0, 1.0),
    collapsed=1.0,
    invariant_to=("rotation", "scale", "translation"),
    cost="O(N C d)",
    needs=("decisions",),
)
def nearest_class_mean_accuracy(nearest: Int64[Tensor, " n"], labels: Int64[Tensor, " n"]) -> Float64[Tensor, ""]:
    r"""Share of samples whose nearest class mean is that of their label.

    Dimensionless, in [0, 1], 1 at collapse; NaN without samples. One minus this number is the error from which
    `effective_depth` is read. Raises ShapeError. Source: Galanti, Galanti & Ben-Shaul 2022.

    >>> nearest_class_mean_accuracy(torch.tensor([0, 1]), torch.tensor([0, 0])).item()
    0.5
    """
    if labels.shape != nearest.shape:
        raise ShapeError(
            f"{len(labels)} labels came with {len(nearest)} nearest class means; they must be of the same samples."
        )
    return _share(nearest == labels)
