r"""The least-squares linear classifier of a layer, from its class moments alone: a linear probe without training."""

import torch
from jaxtyping import Float64, Int64
from torch import Tensor

from deepcollapse.errors import ShapeError
from deepcollapse.geometry.metric import metric
from deepcollapse.geometry.moments import ClassMoments, Weighting


def least_squares_classifier(
    moments: ClassMoments, *, weighting: Weighting = "class"
) -> tuple[Float64[Tensor, "c d"], Float64[Tensor, " c"]]:
    r"""The linear classifier W (C, d), b (C,) with the least mean squared error of W h + b against one-hot labels.

    W = diag(pi) Z Sigma_T^+ and b = pi - W mu_G, since the covariance of one-hot labels with features is diag(pi) Z;
    on balanced data W = (1/C) Z Sigma_T^+. With `weighting` "sample" every sample counts equally, which is ordinary
    least squares; with "class" every class does, as if the data were balanced by weights 1/n_c. Of several minimisers
    it is that of least norm. W has the unit 1/features, b none.

    Rows are in order of class, so `linear_decisions(features, W, b)` are labels; those of absent classes are 0 and win
    no decision, as scores sum to 1. At full collapse W = alpha Z with alpha = (1 - 1/C) / |mu_c - mu_G|^2, and it
    decides for the nearest class mean; moments whose class means coincide give W = 0.

    Sigma_T comes from finished sums, so directions in which features vary less than sqrt(d eps) (1e-7 or so) of their
    largest variation are rounding and left out. Needs the d x d scatter: "pooled" or "per_class", and "class_weighted"
    or "per_class" for class weighting of imbalanced data; d^3 work. Raises ScatterLevelError without it,
    TooFewClassesError below two classes. Source: Webb & Lowe 1990.

    >>> from deepcollapse.geometry import collect, linear_decisions
    >>> h, y = torch.tensor([[0.0], [1.0], [4.0], [5.0]]), torch.tensor([0, 0, 1, 1])
    >>> W, b = least_squares_classifier(collect(h, y, num_classes=2))
    >>> linear_decisions(h, W, b).tolist()
    [0, 0, 1, 1]
    """
    weights, centred = moments.class_weights(weighting), moments.centred_means(weighting)
    total = moments.total_scatter(weighting)
    eigenvalues, vectors = torch.linalg.eigh((total + total.T) / 2)
    # N points about their centre span N - 1 directions: eigenvalues past those, or at rounding, are no variation.
    rank = min(moments.dim, moments.num_samples - 1)
    noise = moments.dim * torch.finfo(torch.float64).eps * eigenvalues[-1]
    kept = (eigenvalues > noise) & (torch.arange(moments.dim, device=total.device) >= moments.dim - rank)
    basis = vectors[:, kept]
    rows = (weights[:, None] * centred @ basis / eigenvalues[kept]) @ basis.T
    classifier = moments.mean.new_zeros(moments.num_classes, moments.dim)
    bias = moments.mean.new_zeros(moments.num_classes)
    classifier[moments.present] = rows
    bias[moments.present] = weights - rows @ moments.global_mean(weighting)
    return classifier, bias


@metric(
    symbol="LP",
    source="masarczyk2023",
    range=(0.0, 1.0),
    collapsed=1.0,
    invariant_to=("rotation", "scale", "translation"),
    cost="O(N d C + d^3)",
    needs=("pooled scatter", "decisions"),
)
def linear_probe_accuracy(probed: Int64[Tensor, " n"], labels: Int64[Tensor, " n"]) -> Float64[Tensor, ""]:
    r"""Share of samples that a least-squares linear classifier of the layer's features gets right.

    `probed` (n,) are its decisions, argmax W h + b with the `least_squares_classifier` of the training data; `labels`
    (n,) the true classes. Dimensionless, in [0, 1], 1 at collapse; NaN without samples. The layer from which it stays
    near that of the last one is where the tunnel starts (`tunnel_start`). Raises ShapeError for unequal lengths.
    Source: Masarczyk et al. 2023, whose probes are trained by gradient descent; these are exact.

    >>> linear_probe_accuracy(torch.tensor([0, 1, 1]), torch.tensor([0, 1, 0])).item() == 2 / 3
    True
    """
    if probed.shape != labels.shape:
        raise ShapeError(f"{len(labels)} labels came with {len(probed)} decisions of a probe; they must match.")
    return (probed == labels).double().mean()  # NaN where there are none
