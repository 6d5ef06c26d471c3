r"""NC5 and NECO: where samples from outside the training classes fall, beside the collapsed ones.

At collapse the training features lie in few dimensions; foreign features (out of distribution) tend to lie across them.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Float64
from torch import Tensor

from deepcollapse.errors import OptionError, ShapeError
from deepcollapse.geometry.metric import metric
from deepcollapse.geometry.rank import checked_finite, checked_matrix, rescaled
from deepcollapse.geometry.simplex import directed


@metric(
    symbol="NC5",
    source="ammar2024",
    range=(0.0, 1.0),
    collapsed=None,
    invariant_to=("rotation", "scale"),
    cost="O(C d)",
    needs=("moments", "foreign features"),
)
def foreign_orthogonality(class_means: Float[Tensor, "c d"], foreign_mean: Float[Tensor, " d"]) -> Float64[Tensor, ""]:
    r"""NC5: Avg_c |cos(mu_c, mu_foreign)| for UNCENTRED class means (C, d) and the mean foreign feature (d,).

    Dimensionless, in [0, 1]; 0 where foreign samples lie across all class means. Unchanged by rotation and scale of
    either; not by translation, for nothing is centred. Class means below 1e-12 times the largest are left out; NaN
    where all are, or the foreign mean is 0. Raises ShapeError, NonFiniteError. Source: Ammar et al. 2024.

    >>> foreign_orthogonality(torch.tensor([[2.0, 0.0], [0.0, -3.0]]), torch.tensor([0.0, 1.0])).item()
    0.5
    """
    means = checked_matrix(class_means, "class_means")
    if foreign_mean.shape != means.shape[1:] or not len(means):
        raise ShapeError(
            f"class_means has shape {tuple(means.shape)} and foreign_mean {tuple(foreign_mean.shape)}; "
            "expected at least one class mean, and one foreign mean of their dimension."
        )
    foreign, _ = rescaled(checked_finite(foreign_mean, "foreign_mean"))
    return (directed(means) @ (foreign / foreign.norm())).abs().clamp(max=1).mean()


@dataclass(frozen=True)
class Neco:
    r"""NECO, a score of how much of a feature lies in the leading principal axes of the training features.

    NECO(x) = |P z| / |z| with z = (h - centre) / spread and P onto the k `axes`. In [0, 1]: near 1 for what looks like
    the training classes, near 0 for what lies across them. Fit with k near the number of classes.

    Attributes:
        centre: (d,) the mean training feature.
        spread: (d,) what each feature is divided by: 1 (`fit`), or its standard deviation (`fit_standardised`).
        axes: (k, d) the leading principal axes, orthonormal rows.

    Source: Ammar et al. 2024.

    >>> neco = Neco.fit(torch.tensor([[2.0, 0.0], [-2.0, 0.0], [0.0, 1.0], [0.0, -1.0]]), k=1)
    >>> neco.scores(torch.tensor([[3.0, 0.0], [0.0, 5.0], [3.0, 4.0]])).tolist()
    [1.0, 0.0, 0.6]
    """

    centre: Float64[Tensor, " d"]
    spread: Float64[Tensor, " d"]
    axes: Float64[Tensor, "k d"]

    @classmethod
    def fit(cls, features: Float[Tensor, "n d"], k: int) -> "Neco":
        """The k leading principal axes of training features (n, d), centred on their mean and not standardised.

        Raises OptionError for k outside 1 .. min(n, d), ShapeError, NonFiniteError.
        """
        features = checked_matrix(features, "features", "(samples, dim)")
        return cls._fit(features, k, torch.ones(features.shape[1], dtype=torch.float64, device=features.device))

    @classmethod
    def fit_standardised(cls, features: Float[Tensor, "n d"], k: int) -> "Neco":
        """As `fit`, with each feature divided by its population standard deviation, or by 1 where that is 0."""
        features = checked_matrix(features, "features", "(samples, dim)")
        small, scale = rescaled(features)
        spread = small.std(dim=0, correction=0) * scale
        return cls._fit(features, k, torch.where(spread > 0, spread, 1.0))

    @classmethod
    def _fit(cls, features: Float64[Tensor, "n d"], k: int, spread: Float64[Tensor, " d"]) -> "Neco":
        if not 1 <= k <= min(features.shape):
            raise OptionError(
                f"k={k} principal axes cannot be had from {len(features)} samples of dimension {features.shape[1]}; "
                f"expected 1 <= k <= {min(features.shape)}, near the number of classes."
            )
        centre = features.mean(dim=0)
        right = torch.linalg.svd(rescaled((features - centre) / spread)[0], full_matrices=False).Vh
        return cls(centre, spread, right[:k])

    def scores(self, features: Float[Tensor, "n d"]) -> Float64[Tensor, " n"]:
        """|P z| / |z| of each feature (n, d): (n,), dimensionless, in [0, 1]; NaN where z is 0.

        Unchanged by rotation (of a `fit` that is not standardised), scale and translation of all features together.
        Raises ShapeError, NonFiniteError.
        """
        features = checked_matrix(features, "features", "(samples, dim)")
        if features.shape[1] != len(self.centre):
            raise ShapeError(
                f"features have dimension {features.shape[1]} and the fitted axes {len(self.centre)}; "
                "take both from one layer."
            )
        z, _ = rescaled((features - self.centre) / self.spread)
        return ((z @ self.axes.T).norm(dim=1) / z.norm(dim=1)).clamp(max=1)

    def scores_with_max_logit(
        self, features: Float[Tensor, "n d"], logits: Float[Tensor, "n c"]
    ) -> Float64[Tensor, " n"]:
        """`scores` times the largest logit of each sample, (n,), in the unit of the logits."""
        logits, scores = checked_matrix(logits, "logits", "(samples, classes)"), self.scores(features)
        if len(logits) != len(scores):
            raise ShapeError(f"logits has {len(logits)} rows and features {len(scores)}; expected as many.")
        return scores * logits.amax(dim=1)


def neco(features: Float[Tensor, "n d"], train_features: Float[Tensor, "m d"], k: int) -> Float64[Tensor, " n"]:
    r"""NECO of features (n, d) against training features (m, d), in one call: `Neco.fit(train_features, k).scores`.

    >>> train = torch.tensor([[2.0, 0.0], [-2.0, 0.0], [0.0, 1.0], [0.0, -1.0]])
    >>> neco(torch.tensor([[3.0, 4.0]]), train, k=1).item()
    0.6
    """
    return Neco.fit(train_features, k).scores(features)
