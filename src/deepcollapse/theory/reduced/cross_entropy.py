"""Cross-entropy of logits that are alike inside groups of classes: loss, gradient and dual bound, in logarithms.

With large margins the loss leaves the range of floats long before its logarithm loses a digit.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Float64

from deepcollapse.theory.reduced.groups import GroupMatrix


def centring(sizes: tuple[int, ...]) -> GroupMatrix:
    """I - 11^T/K over all classes, whatever their groups: the Gram matrix of a simplex ETF, but for scale.

    >>> centring((1, 1)).dense().round(12).tolist()
    [[0.5, -0.5], [-0.5, 0.5]]
    """
    share = np.sqrt(np.array(sizes, dtype=float) / sum(sizes))
    return GroupMatrix(sizes, np.ones(len(sizes)), np.eye(len(sizes)) - np.outer(share, share))


@dataclass(frozen=True)
class GroupCrossEntropy:
    """The mean cross-entropy where each class of group g has weight w_g: sum_g K_g w_g l_g, with sum_g K_g w_g = 1.

    `z` holds the logits of one sample a class in its columns; `bias` (G,) is added to the logits of every sample.

    >>> zero = GroupMatrix((2, 2), np.zeros(2), np.zeros((2, 2)))
    >>> round(float(np.exp(GroupCrossEntropy(zero, np.full(2, 0.25)).log_value)), 12)  # ln 4
    1.38629436112
    """

    z: GroupMatrix
    weights: Float64[np.ndarray, " g"]
    bias: Float64[np.ndarray, " g"] | None = None

    @cached_property
    def _sizes(self) -> Float64[np.ndarray, " g"]:
        return np.array(self.z.sizes, dtype=float)

    @cached_property
    def _log_weights(self) -> Float64[np.ndarray, " g"]:
        with np.errstate(divide="ignore"):
            return np.log(self.weights)

    @cached_property
    def _others(self) -> Float64[np.ndarray, "h g"]:
        """How many classes of group h are wrong for a sample of group g."""
        return np.repeat(self._sizes[:, None], len(self._sizes), axis=1) - np.eye(len(self._sizes))

    @cached_property
    def odds(self) -> Float64[np.ndarray, "h g"]:
        """The logit of a wrong class of group h less that of the right class, for samples of group g."""
        odds = self.z.other - self.z.own
        if self.bias is not None:
            odds = odds + self.bias[:, None] - self.bias
        np.fill_diagonal(odds, -self.z.contrast)
        return odds

    @cached_property
    def _log_wrong(self) -> Float64[np.ndarray, " g"]:
        """ln of the summed odds of all wrong classes."""
        with np.errstate(divide="ignore"):
            return np.logaddexp.reduce(np.log(self._others) + self.odds, axis=0)

    @cached_property
    def log_losses(self) -> Float64[np.ndarray, " g"]:
        """ln l_g, l_g = ln(1 + sum of the odds of wrong classes)."""
        wrong = self._log_wrong
        # ln ln(1 + e^x) is x where e^x is below the rounding of 1.
        with np.errstate(divide="ignore"):
            return np.where(wrong < -37, wrong, np.log(np.logaddexp(0.0, wrong)))

    @cached_property
    def log_value(self) -> float:
        """ln of the mean cross-entropy in nats."""
        return float(np.logaddexp.reduce(np.log(self._sizes) + self._log_weights + self.log_losses))

    @cached_property
    def relative_gradient(self) -> GroupMatrix:
        """The gradient in Z over the value: that of `log_value`. Columns sum to zero."""
        # Of one wrong class of group h, for a class of group g; a class alone in its group has no wrong one there.
        odds = np.where(self._others > 0, self.odds, -np.inf)
        parts = np.exp(odds - np.logaddexp(0.0, self._log_wrong) + self._log_weights - self.log_value)
        root = np.sqrt(self._sizes)
        apart = parts * self._sizes[:, None]
        same = np.diag(apart).copy()
        np.fill_diagonal(apart, 0.0)
        block = parts * np.outer(root, root)
        np.fill_diagonal(block, -apart.sum(axis=0))
        return GroupMatrix(self.z.sizes, -(same + apart.sum(axis=0)), block)


def with_marginals(slope: GroupMatrix, weights: Float64[np.ndarray, " g"]) -> GroupMatrix:
    """A gradient of the loss moved so that its rows sum to zero, as a free bias asks, columns as well as before.

    Predictions p are mixed with one that is the same for all samples, such that class k is predicted w_k of the time.
    """
    root = np.sqrt(slope.sizes)
    share = weights + slope.block @ root / root
    kept = min(1.0, float(np.min(weights / share)))
    block = kept * (slope.block + np.diag(weights)) + np.outer(root * (weights - kept * share), root * weights)
    return GroupMatrix(slope.sizes, kept * (slope.contrast + weights) - weights, block - np.diag(weights))


def entropy(slope: GroupMatrix, weights: Float64[np.ndarray, " g"]) -> float:
    """sum_g K_g w_g H(p_g), the mean entropy in nats of the predictions p = e + G/w whose gradient is G."""
    sizes = np.array(slope.sizes, dtype=float)
    wrong = (slope.other / weights).clip(min=0.0)
    counted = np.repeat(sizes[:, None], len(sizes), axis=1) - np.eye(len(sizes))
    missed = (counted * wrong).sum(axis=0).clip(max=1.0)
    with np.errstate(divide="ignore", invalid="ignore"):
        each = np.where(wrong > 0, wrong * np.log(wrong), 0.0)
        right = np.where(missed < 1, (1 - missed) * np.log1p(-missed), 0.0)
    return -float((sizes * weights) @ (right + (counted * each).sum(axis=0)))
