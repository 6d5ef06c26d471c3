r"""NRC: the collapse of regression networks, whose features and weights align with the covariance of the targets.

"Regression collapse" is what these measures are 0 at; neural collapse with one-hot targets is a case of it.
`features` (n, d) enter the last layer, `classifier` (t, d) is its weight W, one row for each of t targets, and
`targets` (n, t) are what it regresses on. Features count by their direction: a sample whose features have a norm below
1e-12 times the largest is left out.
"""

from functools import partial

import torch
from jaxtyping import Float, Float64
from torch import Tensor

from deepcollapse.errors import OptionError, ShapeError
from deepcollapse.geometry.metric import metric
from deepcollapse.geometry.rank import checked_matrix, rescaled
from deepcollapse.geometry.simplex import directed

_measure = partial(metric, source="andriopoulos2024", collapsed=0.0)


def _row_space(matrix: Float64[Tensor, "m d"], limit: int) -> Float64[Tensor, "k d"]:
    """An orthonormal basis of the leading right singular directions, at most `limit` of them and none past the rank."""
    _, s, right = torch.linalg.svd(rescaled(matrix)[0], full_matrices=False)
    rank = int((s > max(matrix.shape) * torch.finfo(torch.float64).eps * s.max()).sum()) if len(s) else 0
    return right[: min(rank, limit)]


def _mean_squared_rest(unit: Float64[Tensor, "n d"], basis: Float64[Tensor, "k d"]) -> Float64[Tensor, ""]:
    """Avg_i of the squared part of unit_i outside the span of the basis; NaN without samples."""
    return (unit - (unit @ basis.T) @ basis).square().sum(dim=1).mean()


def _features_and_targets(features: Tensor, targets: Tensor) -> tuple[Float64[Tensor, "n d"], Float64[Tensor, "n t"]]:
    features = checked_matrix(features, "features", "(samples, dim)")
    targets = checked_matrix(targets, "targets", "(samples, targets)")
    if len(features) != len(targets) or not len(features):
        raise ShapeError(
            f"features has {len(features)} rows and targets {len(targets)}; expected as many, at least one."
        )
    return features, targets


@_measure(
    symbol="NRC1",
    range=(0.0, 1.0),
    invariant_to=("rotation", "scale"),
    cost="O(N d min(N, d))",
    needs=("features", "targets"),
)
def nrc1(features: Float[Tensor, "n d"], targets: Float[Tensor, "n t"]) -> Float64[Tensor, ""]:
    r"""NRC1: Avg_i |u_i - P u_i|^2, u_i = h_i / |h_i|, P onto the leading t principal axes of the features (n, d).

    Dimensionless, in [0, 1]; 0 at regression collapse, where features lie in as many dimensions as there are targets.
    The axes are those of centred features, and the u_i are not centred, as published; `nrc1_centred` centres both.
    Where the features have fewer than t dimensions all of these are taken. Unchanged by rotation and scale. NaN where
    all features are 0. Raises ShapeError, NonFiniteError. Source: Andriopoulos et al. 2024.

    >>> nrc1(torch.tensor([[1.0, 0.0], [-1.0, 0.0], [0.0, 0.1], [0.0, -0.1]]), torch.ones(4, 1)).item()
    0.5
    """
    features, targets = _features_and_targets(features, targets)
    axes = _row_space(rescaled(features)[0] - rescaled(features)[0].mean(dim=0), targets.shape[1])
    return _mean_squared_rest(directed(features), axes)


@_measure(
    symbol="NRC1 centred",
    range=(0.0, 1.0),
    invariant_to=("rotation", "scale", "translation"),
    cost="O(N d min(N, d))",
    needs=("features", "targets"),
)
def nrc1_centred(features: Float[Tensor, "n d"], targets: Float[Tensor, "n t"]) -> Float64[Tensor, ""]:
    r"""`nrc1` with u_i = (h_i - h) / |h_i - h|, where h is the mean feature: translation changes nothing.

    Range, value at collapse, degenerate cases and errors as `nrc1`. Source: Andriopoulos et al. 2024, centred.

    >>> nrc1_centred(torch.tensor([[6.0, 5.0], [4.0, 5.0], [5.0, 5.1], [5.0, 4.9]]), torch.ones(4, 1)).item()
    0.5
    """
    features, targets = _features_and_targets(features, targets)
    small, _ = rescaled(features)
    small = small - small.mean(dim=0)
    return _mean_squared_rest(directed(small), _row_space(small, targets.shape[1]))


@_measure(
    symbol="NRC2",
    range=(0.0, 1.0),
    invariant_to=("rotation", "scale"),
    cost="O(N d t)",
    needs=("features", "classifier"),
)
def nrc2(features: Float[Tensor, "n d"], classifier: Float[Tensor, "t d"]) -> Float64[Tensor, ""]:
    r"""NRC2: Avg_i |u_i - P u_i|^2, u_i = h_i / |h_i|, P onto the row space of the classifier (t, d), at its true rank.

    Dimensionless, in [0, 1]; 0 at regression collapse, where features lie in the span of the weights, and 1 where the
    weights are 0. Unchanged by rotation of both and by scale of either. NaN where all features are 0. Raises
    ShapeError, NonFiniteError. Source: Andriopoulos et al. 2024.

    >>> nrc2(torch.tensor([[2.0, 0.0], [0.0, 3.0]]), torch.tensor([[5.0, 0.0]])).item()
    0.5
    """
    features = checked_matrix(features, "features", "(samples, dim)")
    weights = checked_matrix(classifier, "classifier", "(targets, dim)")
    if features.shape[1] != weights.shape[1] or not len(features):
        raise ShapeError(
            f"features has shape {tuple(features.shape)} and classifier {tuple(weights.shape)}; "
            "expected rows of one dimension, at least one sample."
        )
    return _mean_squared_rest(directed(features), _row_space(weights, len(weights)))


def _gram_and_root(
    classifier: Tensor, targets: Tensor
) -> tuple[Float64[Tensor, "t t"], Float64[Tensor, "t t"], Float64[Tensor, " t"], Float64[Tensor, ""]]:
    """W W^T up to scale, Sigma^(1/2) of the rescaled targets with its eigenvalues, and the targets' scale."""
    weights = checked_matrix(classifier, "classifier", "(targets, dim)")
    targets = checked_matrix(targets, "targets", "(samples, targets)")
    if len(weights) != targets.shape[1] or not len(targets):
        raise ShapeError(
            f"classifier has {len(weights)} rows and targets has shape {tuple(targets.shape)}; "
            "expected one row for each target, at least one sample."
        )
    small, scale = rescaled(targets)
    # Singular values of the centred targets, for a covariance would square them and lose the small ones.
    _, s, axes = torch.linalg.svd((small - small.mean(dim=0)) / len(small) ** 0.5, full_matrices=False)
    root = (axes.T * s) @ axes
    weights, _ = rescaled(weights)
    return weights @ weights.T, root, torch.nn.functional.pad(s, (0, len(root) - len(s))), scale


def nrc3_gamma(classifier: Float[Tensor, "t d"], targets: Float[Tensor, "n t"]) -> Float64[Tensor, ""]:
    r"""gamma*, which minimises `nrc3_at` over [0, lambda_min(Sigma)], exactly.

    With S = Sigma^(1/2), A = W W^T, their mean eigenvalues s and a, and S0 = S - s I, A0 = A - a I: sqrt(gamma*) is
    s - a |S0|^2 / <A0, S0>, held within [0, sqrt(lambda_min)], or 0 where <A0, S0> <= 0 or the targets are white. In
    the unit of the targets squared, whatever the scale of W; at the optimum of the regularised unconstrained-features
    model it is the product of both decays. NaN for a single target, or weights or targets without any spread. Raises
    ShapeError, NonFiniteError. Source: the minimiser of Andriopoulos et al. 2024's definition, derived here.

    >>> targets = torch.tensor([[3.0, 0.0], [-3.0, 0.0], [0.0, 2.0], [0.0, -2.0]])   # Sigma = diag(4.5, 2)
    >>> root = torch.tensor([4.5, 2.0]).sqrt() - 0.5                                 # W W^T = Sigma^(1/2) - 0.5 I
    >>> round(nrc3_gamma(torch.diag(root.sqrt()), targets).item(), 6)
    0.25
    """
    gram, root, s, scale = _gram_and_root(classifier, targets)
    t = len(s)
    if t == 1 or not gram.any() or not root.any():
        return gram.new_full((), torch.nan)
    mean, identity = s.mean(), torch.eye(t, dtype=torch.float64, device=gram.device)
    spread = root - mean * identity
    product = ((gram - gram.trace() / t * identity) * spread).sum()
    # White targets have no spread to align with: the formula would make the most of its rounding.
    flat = spread.norm() <= 1e-12 * root.norm() or product <= 0
    shift = torch.zeros_like(mean) if flat else mean - gram.trace() / t * spread.square().sum() / product
    return (shift.clamp(min=0).minimum(s.min()) * scale).square()


def nrc3_gamma_appendix_f(classifier: Float[Tensor, "t d"], targets: Float[Tensor, "n t"]) -> Float64[Tensor, ""]:
    r"""gamma = ((tr Sigma^(1/2) - tr W W^T) / t)^2, the closed form of the paper's Appendix F.

    It minimises an objective that is not normalised, so it depends on the scale of W and is not where `nrc3_at` is
    least: see `nrc3_gamma`. In the unit of the targets squared. NaN for a single target. Raises ShapeError,
    NonFiniteError. Source: Andriopoulos et al. 2024, Appendix F.

    >>> targets = torch.tensor([[3.0, 0.0], [-3.0, 0.0], [0.0, 2.0], [0.0, -2.0]])
    >>> round(nrc3_gamma_appendix_f(torch.eye(2), targets).item(), 6)
    0.589466
    """
    _, _, s, scale = _gram_and_root(classifier, targets)
    if len(s) == 1:
        return s.new_full((), torch.nan)
    weights = checked_matrix(classifier, "classifier", "(targets, dim)")
    return (s.mean() * scale - weights.square().sum() / len(s)).square()


def nrc3_at(
    classifier: Float[Tensor, "t d"], targets: Float[Tensor, "n t"], gamma: float | Float64[Tensor, ""]
) -> Float64[Tensor, ""]:
    r"""| A / |A|_F - B / |B|_F |_F^2 with A = W W^T and B = Sigma^(1/2) - sqrt(gamma) I, at a gamma of your own.

    For a classifier W (t, d) and the population covariance Sigma of targets (n, t). Dimensionless, in [0, 4]. NaN for a
    single target, where it would be 0 whatever W is, and where A or B is 0. Raises OptionError for gamma < 0,
    ShapeError, NonFiniteError. Source: Andriopoulos et al. 2024.

    >>> round(nrc3_at(torch.eye(2), torch.tensor([[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0], [0.0, -1.0]]), 0.0).item(), 12)
    0.0
    """
    if not gamma >= 0:
        raise OptionError(f"gamma must be at least 0; got {float(gamma)}.")
    gram, root, s, scale = _gram_and_root(classifier, targets)
    shift = torch.as_tensor(gamma, dtype=torch.float64, device=gram.device).sqrt() / scale
    shifted = root - shift * torch.eye(len(s), dtype=torch.float64, device=gram.device)
    if len(s) == 1:
        return gram.new_full((), torch.nan)
    return (gram / gram.norm() - shifted / shifted.norm()).square().sum()


@_measure(
    symbol="NRC3",
    range=(0.0, 4.0),
    invariant_to=("rotation", "scale", "translation"),
    cost="O(t^2 (d + N))",
    needs=("classifier", "targets"),
)
def nrc3(classifier: Float[Tensor, "t d"], targets: Float[Tensor, "n t"]) -> Float64[Tensor, ""]:
    r"""NRC3: the least of | A / |A|_F - B / |B|_F |_F^2 over gamma, with A = W W^T and B = Sigma^(1/2) - sqrt(gamma) I.

    For a classifier W (t, d) and the population covariance Sigma of targets (n, t); gamma runs over
    [0, lambda_min(Sigma)] and its minimiser `nrc3_gamma` is exact. Dimensionless, in [0, 4]; 0 at regression collapse.
    Unchanged by rotation of the features and by scale of W. NaN for a single target, for which it says nothing, and
    where W or the spread of the targets is 0. Raises ShapeError, NonFiniteError. Source: Andriopoulos et al. 2024.

    >>> nrc3(torch.eye(2), torch.tensor([[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0], [0.0, -1.0]])).item() < 1e-12
    True
    """
    gamma = nrc3_gamma(classifier, targets)
    return gamma if gamma.isnan() else nrc3_at(classifier, targets, gamma)
