r"""The squared error of a classifier on its features, taken apart: what features cost, and what the classifier does.

At given features the best classifier is a ridge regression, so the loss is that of the best classifier, which splits
into within-class scatter and distance from the labels, and a quadratic form in how far the classifier is from it.
Source: :cite:`han2022`. Every class counts equally, as in balanced data; classes without samples are left out of
averages.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float64
from torch import Tensor

from deepcollapse.errors import OptionError, ShapeError
from deepcollapse.geometry import ClassMoments, least_squares_classifier
from deepcollapse.geometry.rank import checked_finite, checked_matrix


@dataclass(frozen=True)
class Decomposition:
    r"""L = 1/2 Avg_i |W h_i + b - e_{y_i}|^2 + decay/2 (|W|^2 + |b|^2) as `within` + `simplex` + `deviation`.

    Attributes:
        total: L, summed on its own and not of the three parts.
        within: the loss of the least-squares head that within-class scatter and decay cause (NC1).
        simplex: its loss on the class means, 1/(2C) sum_c |W_LS mu_c + b_LS - e_c|^2 (NC2 and NC3).
        deviation: what the classifier adds by not being the least-squares head.
        classifier: (C, d), W_LS. bias: (C,), b_LS.

    All are at least 0; the parts sum to `total` for every classifier and decay.
    """

    total: float
    within: float
    simplex: float
    deviation: float
    classifier: Float64[Tensor, "c d"]
    bias: Float64[Tensor, " c"]


def decompose(
    moments: ClassMoments, classifier: Float64[Tensor, "c d"], bias: Float64[Tensor, " c"], decay: float
) -> Decomposition:
    r"""The squared error of a head on features with these moments, in three parts.

    With the least-squares head (W_LS, b_LS), D = W - W_LS and e = b - b_LS,

        within = 1/2 {tr W_LS Sigma_W W_LS^T + decay (|W_LS|^2 + |b_LS|^2)}
        deviation = 1/2 {tr D Sigma_T D^T + |D mu + e|^2 + decay (|D|^2 + |e|^2)}.

    The bias is decayed like the weights. Beside `nn.MSELoss` a weight decay wd is decay = C wd/2
    (`decay_of_mse_loss`); published code takes wd/2. Needs the d x d scatter within classes. Raises OptionError for a
    negative decay, ShapeError and NonFiniteError for a head that does not fit, ScatterLevelError and
    TooFewClassesError for moments that do not serve. Source: :cite:`han2022`.

    >>> from deepcollapse import collect
    >>> h, y = torch.tensor([[1.0], [3.0], [-1.0], [-3.0]]), torch.tensor([0, 0, 1, 1])
    >>> zero = decompose(collect(h, y, 2), torch.zeros(2, 1).double(), torch.zeros(2).double(), decay=0.0)
    >>> round(zero.total, 12), round(zero.within, 12), round(zero.simplex, 12), round(zero.deviation, 12)
    (0.5, 0.04, 0.01, 0.45)
    """
    best, offset = least_squares_head(moments, decay)
    w, b = checked_matrix(classifier, "classifier"), checked_finite(bias, "bias")
    if w.shape != best.shape or b.shape != offset.shape:
        raise ShapeError(
            f"classifier has shape {tuple(w.shape)} and bias {tuple(b.shape)}; these moments need "
            f"{tuple(best.shape)} and {tuple(offset.shape)}."
        )
    scatter, means = moments.within_scatter("class"), moments.class_means()
    labels = torch.eye(moments.num_classes, dtype=w.dtype, device=w.device)[moments.present]

    def noise(head: Tensor, constant: Tensor) -> float:
        """What scatter and decay cost a head, sums of squares all."""
        return float((head @ scatter * head).sum() + decay * (head.square().sum() + constant.square().sum())) / 2

    def misfit(head: Tensor, constant: Tensor, targets: Tensor) -> float:
        """Half the mean squared distance of the means' outputs from the targets."""
        return float((means @ head.T + constant - targets).square().sum()) / (2 * len(means))

    away, shift = w - best, b - offset
    return Decomposition(
        total=noise(w, b) + misfit(w, b, labels),
        within=noise(best, offset),
        simplex=misfit(best, offset, labels),
        deviation=noise(away, shift) + misfit(away, shift, torch.zeros_like(labels)),
        classifier=best,
        bias=offset,
    )


def least_squares_head(moments: ClassMoments, decay: float) -> tuple[Float64[Tensor, "c d"], Float64[Tensor, " c"]]:
    r"""The classifier W (C, d) and bias b (C,) of least squared error and decay on features with these moments.

    W = (1/C) (M - mu/(1 + decay)) (Sigma_T + decay/(1 + decay) mu mu^T + decay I)^{-1} with the class means in the rows
    of M, and b = (1/C - W mu)/(1 + decay): ridge regression on (h, 1). Rows of absent classes are 0. Without decay it
    is `least_squares_classifier`, which inverts no direction that rounding made. Errors as `decompose`.
    Source: :cite:`han2022`.

    >>> from deepcollapse import collect
    >>> W, b = least_squares_head(collect([[1.0], [-1.0]], [0, 1], 2), decay=1.0)
    >>> W.tolist(), b.tolist()
    ([[0.25], [-0.25]], [0.25, 0.25])
    """
    if not 0 <= decay < torch.inf:
        raise OptionError(f"decay must be a finite number, 0 or above; got {decay:g}.")
    if decay == 0:
        return least_squares_classifier(moments)
    weights, centred, mean = moments.class_weights(), moments.centred_means(), moments.global_mean()
    kept = decay / (1 + decay)
    gram = moments.total_scatter() + kept * torch.outer(mean, mean)
    gram = gram + decay * torch.eye(moments.dim, dtype=gram.dtype, device=gram.device)
    # M - mu/(1 + decay), as a sum of what is centred and what is not.
    rows = torch.linalg.solve(gram, (weights[:, None] * (centred + kept * mean)).T).T
    classifier = moments.mean.new_zeros(moments.num_classes, moments.dim)
    bias = moments.mean.new_zeros(moments.num_classes)
    classifier[moments.present] = rows
    bias[moments.present] = (weights - rows @ mean) / (1 + decay)
    return classifier, bias
