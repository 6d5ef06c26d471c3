"""How many principal axes of the features the classifier needs: classification dimension."""

from collections.abc import Iterator

import torch
from jaxtyping import Float, Float64, Int64
from torch import Tensor

from deepcollapse.errors import LabelError, OptionError, ShapeError
from deepcollapse.geometry.decision import linear_decisions
from deepcollapse.geometry.rank import checked_matrix, rescaled
from deepcollapse.linalg import as_float64, first_largest, row_chunks


def classification_dimension(
    features: Float[Tensor, "n d"],
    labels: Int64[Tensor, " n"],
    classifier: Float[Tensor, "c d"],
    bias: Float[Tensor, " c"] | None = None,
    share: float | int = 0.95,
) -> Float64[Tensor, ""]:
    r"""The least k at which head(F V_k V_k^T) keeps `share` of the accuracy of head(F), V_k the k leading axes of F.

    The axes are those of the centred features F (n, d), and the features that are projected are not centred, as
    published; `centred_classification_dimension` puts the mean back. head(h) = W h + b, ties go to the smallest class.
    k is scanned upward from 0, where every logit is its bias: accuracy need not grow with k. Features that do not vary
    in all directions are, after the axes along which they vary, restored by one more: that of what the mean has beside.
    A whole number in [0, min(n, d)]; 0 where no sample is decided right, NaN without samples. Unchanged by rotation
    and scale; axes of equal variance are no particular ones, so that collapse does not fix it. Raises ShapeError,
    NonFiniteError, LabelError, and OptionError for a share outside (0, 1]. Source: Feng et al. 2022.

    >>> features = torch.tensor([[2.0, 0.1], [2.0, -0.1], [-2.0, 0.1], [-2.0, -0.1]])
    >>> classification_dimension(features, torch.tensor([0, 0, 1, 1]), torch.tensor([[1.0, 0.0], [-1.0, 0.0]])).item()
    1.0
    """
    case = _Case.of(features, labels, classifier, bias, share)
    return case.least(case.features, case.features.new_zeros(1, case.features.shape[1]))


def centred_classification_dimension(
    features: Float[Tensor, "n d"],
    labels: Int64[Tensor, " n"],
    classifier: Float[Tensor, "c d"],
    bias: Float[Tensor, " c"] | None = None,
    share: float | int = 0.95,
) -> Float64[Tensor, ""]:
    r"""The least k at which head(mu + (F - mu) V_k V_k^T) keeps `share` of the accuracy of head(F), mu the mean of F.

    As `classification_dimension`, of which it is the variant that centres what it projects: k = 0 decides every sample
    as the mean, and as many axes as the features vary along restore them. Unchanged by translation too, with a bias
    that follows. Source: after Feng et al. 2022, whose code does not put the mean back.

    >>> features = torch.tensor([[2.0, 7.0], [2.0, 7.1], [-2.0, 7.0], [-2.0, 7.1]])
    >>> head = torch.tensor([[1.0, 0.0], [-1.0, 0.0]])
    >>> centred_classification_dimension(features, torch.tensor([0, 0, 1, 1]), head).item()
    1.0
    """
    case = _Case.of(features, labels, classifier, bias, share)
    return case.least(case.residual, case.mean)


class _Case:
    """Features, what is right, and the scan over projections; magnitudes are divided out by a power of two."""

    def __init__(self, features: Tensor, labels: Tensor, classifier: Tensor, bias: Tensor, share: float | int) -> None:
        self.features, self.labels, self.classifier, self.bias, self.share = features, labels, classifier, bias, share
        self.mean = features.mean(dim=0, keepdim=True) if len(features) else torch.zeros_like(classifier[:1])
        self.residual = features - self.mean

    @classmethod
    def of(
        cls, features: Tensor, labels: Tensor, classifier: Tensor, bias: Tensor | None, share: float | int
    ) -> "_Case":
        if not 0 < share <= 1:
            raise OptionError(f"share is a part of the accuracy, above 0 and at most 1; got {share}.")
        values = checked_matrix(features, "features", "(samples, dim)")
        weights = checked_matrix(classifier, "classifier", "(classes, dim)").to(values.device)
        offsets = torch.zeros_like(weights[:, 0]) if bias is None else as_float64(bias).to(values.device)
        if values.shape[1] != weights.shape[1] or len(offsets) != len(weights) or labels.shape != values.shape[:1]:
            raise ShapeError(
                f"features have shape {tuple(features.shape)}, labels {tuple(labels.shape)}, the classifier "
                f"{tuple(classifier.shape)} and the bias {tuple(offsets.shape)}; expected (samples, dim), (samples,), "
                "(classes, dim) and (classes,)."
            )
        if len(labels) and not 0 <= int(labels.min()) <= int(labels.max()) < len(weights):
            raise LabelError(
                f"labels run from {int(labels.min())} to {int(labels.max())}; expected 0 to {len(weights) - 1}, one "
                "for each row of the classifier."
            )
        small, scale = rescaled(values)
        return cls(small, labels.to(values.device), weights, offsets / scale, share)

    def least(self, projected: Tensor, kept: Float64[Tensor, "1 d"]) -> Float64[Tensor, ""]:
        """The least k at which head(kept + projected V_k V_k^T) is right often enough."""
        n = len(projected)
        if n == 0:
            return projected.new_full((), torch.nan)
        wanted = self._hits(linear_decisions(self.features, self.classifier, self.bias))
        # A count is whole, so that a hair below it is on its side.
        wanted = self.share * wanted - 1e-9 * n
        logits = (kept @ self.classifier.T + self.bias).expand(n, -1).clone()
        k = 0
        for coordinate, direction in self._axes(projected):
            if self._hits(first_largest(logits)) >= wanted:
                break
            logits.addr_(coordinate, self.classifier @ direction)
            k += 1
        return logits.new_full((), float(k))

    def _hits(self, decisions: Int64[Tensor, " n"]) -> int:
        return int((decisions == self.labels).sum())

    def _axes(self, projected: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        """Each principal axis v with the coordinates of what is projected, then the axis of what the mean has beside.

        The last pair restores the features, so that whoever stops there need not look again.
        """
        folded = torch.linalg.qr(self.residual, mode="r").R  # as many rows as samples would cost their left vectors
        _, s, axes = torch.linalg.svd(folded, full_matrices=False)
        # Residuals carry the rounding of the features that they are differences of.
        size = max(float(s[0]), float(self.features.norm()))
        axes = axes[s > max(self.residual.shape) * torch.finfo(torch.float64).eps * size]
        for part in row_chunks(len(axes), len(projected)):
            block = projected @ axes[part].T
            yield from zip(block.T, axes[part], strict=True)
        rest = projected.mean(dim=0) - axes.T @ (axes @ projected.mean(dim=0))
        if len(axes) < projected.shape[1] and rest.norm() > 1e-12 * projected.norm():
            direction = rest / rest.norm()
            yield projected @ direction, direction
