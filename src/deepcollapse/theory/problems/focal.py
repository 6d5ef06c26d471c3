r"""The focal loss on free features, balanced: a simplex ETF again, with a smaller margin.

At a common margin c a sample is missed with probability q = e/(1+e), e = (K-1) e^{-c}, and costs
phi(c) = q^g log(1+e). With tau = (K-1) sqrt(n lW lH) the optimum minimises phi(c) + tau c.

**Proof and certificate** (derived here; the loss is not convex in logits, so duality in logits does not serve). Let
u_i be the mean margin of sample i over the other classes. Its correct class has at most the probability that it has
with all margins equal to u_i (Jensen), so its loss is at least phi(u_i). The u_i sum to <Z, M> with M = K/(K-1) P Y of
spectral norm K sqrt(n)/(K-1), a bias cancelling in balanced classes; so the decays cost at least
tau |(1/N) sum_i u_i|, whence F >= inf_c phi(c) + l c for every l in [0, tau]. The steepness
-phi'(c) = q^g (q + g (1-q) log(1+e)) rises with q to one peak and falls to 1 as q goes to 1. Hence for l <= 1 the
infimum is at the only point of steepness l short of the peak, and for tau <= 1 the bound is attained.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float64
from scipy.optimize import brentq
from torch import Tensor
from torch.nn.functional import logsigmoid

from deepcollapse.errors import OptionError
from deepcollapse.theory.problem import gap_above
from deepcollapse.theory.problems.free_features import FreeFeatures
from deepcollapse.theory.problems.unconstrained import UnconstrainedOptimum, soft_margin


@dataclass(frozen=True)
class UnconstrainedFocal(FreeFeatures):
    r"""The focal loss -(1-p)^g log p, p the probability of the correct class, on K classes of n samples each.

    F = (1/N) sum_i focal(W h_i + b, y_i) + lW/2 |W|^2 + lH/2 |H|^2 + lb/2 |b|^2; settings as
    `UnconstrainedFeatures`, and `focus` g >= 0, which is cross-entropy at 0. OptionError for others.

    `optimum()` is global wherever its `gap` is 0: always for (K-1) sqrt(n lW lH) <= 1, and past that for zero where
    phi is convex at margin 0. Elsewhere it is the best point that is symmetric in the classes, and `note` says so.
    Sources: :cite:`lin2017` for the loss, :cite:`zhoulosses2022` for the simplex ETF; size and proof are derived here.

    >>> optimum = UnconstrainedFocal(4, 3, weight_decay=5e-4, feature_decay=1e-3, focus=2.0).optimum()
    >>> round(optimum.margin, 10), round(optimum.value, 10), optimum.gap
    (3.2061825457, 0.0131270992, 0.0)
    """

    num_classes: int
    per_class: int
    weight_decay: float
    feature_decay: float
    focus: float
    bias_decay: float | None = None
    dim: int | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.focus < math.inf:
            raise OptionError(f"focus must be a finite number, 0 (cross-entropy) or above; got {self.focus:g}.")

    def coefficients(self) -> dict[str, Tensor]:
        """Decays and "focus"."""
        return {**super().coefficients(), "focus": torch.tensor(self.focus, dtype=torch.float64)}

    def loss(self, logits: Float64[Tensor, "b k n k"], coefficients: Mapping[str, Tensor]) -> Float64[Tensor, " b"]:
        """-(1-p)^g log p, by logarithms of both p and 1-p so that neither rounds to 0."""
        excess = soft_margin(logits)
        missed = (coefficients["focus"][:, None, None] * logsigmoid(-excess)).exp()
        return -(missed * logsigmoid(excess)).mean(dim=(1, 2))

    def optimum(self) -> UnconstrainedOptimum:
        """The simplex ETF of the best margin, or all zero where that is as good."""
        price = (self.num_classes - 1) * self.class_price
        margin = self._margin_of_steepness(price)
        # Past price 1 a flat stretch about 0 may lie lower than the minimum beyond the steepest point.
        if self.loss_at(margin) + price * margin >= self.loss_at(0.0):
            margin = 0.0
        if margin:
            self.check_width(self.num_classes - 1, "a simplex ETF")
        bound = self._lower_bound()
        return UnconstrainedOptimum(self, margin, self.loss_at(margin), bound, self._note(margin, bound))

    def gap(self, point: Mapping[str, Tensor]) -> float:
        """The objective at a point less the least that it can be anywhere."""
        return gap_above(self.value(point), self._lower_bound())

    def loss_at(self, margin: float) -> float:
        """phi(c), the loss of every sample at a common margin c."""
        odds = (self.num_classes - 1) * math.exp(-margin)
        return math.exp(-self.focus * math.log1p(1 / odds)) * math.log1p(odds) if odds else 0.0

    def _log_steepness(self, margin: float) -> float:
        """log of -phi'(c)."""
        odds = (self.num_classes - 1) * math.exp(-margin)
        hit = 1 / (1 + odds)
        return -self.focus * math.log1p(1 / odds) + math.log(odds * hit + self.focus * hit * math.log1p(odds))

    def _steepest(self) -> float:
        """The margin of the peak of the steepness, 0 where it lies below: (e - g) g log(1+e) = (2g+1) e."""
        g, top = self.focus, math.log(self.num_classes - 1)

        def past_peak(log_odds: float) -> float:
            return g * (1 - g * math.exp(-log_odds)) * math.log1p(math.exp(log_odds)) - (2 * g + 1)

        if g == 0 or past_peak(top) <= 0:
            return 0.0
        return top - _root(past_peak, math.log(g), top)

    def _margin_of_steepness(self, steepness: float) -> float:
        """The only margin c >= 0 past the peak at which -phi'(c) is `steepness`, or 0 where there is none."""
        peak, wanted, g = self._steepest(), math.log(steepness), self.focus
        if self._log_steepness(peak) <= wanted:
            return 0.0
        # -phi'(c) <= (1+g) e^{g+1} brackets the root; one more is for rounding.
        far = math.log(self.num_classes - 1) - (wanted - math.log1p(g)) / (g + 1) + 1
        return _root(lambda margin: self._log_steepness(margin) - wanted, peak, far)

    def _lower_bound(self) -> float:
        """inf_c phi(c) + l c at the best l in [0, min(tau, 1)]; at margin 0 the bound is phi(0)."""
        steepness = min((self.num_classes - 1) * self.class_price, 1.0)
        margin = self._margin_of_steepness(steepness)
        return self.loss_at(margin) + steepness * margin

    def _note(self, margin: float, bound: float) -> str | None:
        price = (self.num_classes - 1) * self.class_price
        if self.loss_at(margin) + price * margin > bound + 1e-12:
            return (
                f"{'this' if margin else 'all zero'} is the best point that is symmetric in the classes; whether "
                f"another is better is unknown, for what is proved ends at (K-1) sqrt(n lW lH) = 1 and here it is "
                f"{price:g}"
            )
        if margin:
            return None
        return (
            "zero classifier and features are optimal, because the decays charge "
            f"(K-1) sqrt(n lW lH) = {price:g} for a margin that gains "
            f"at most {math.exp(self._log_steepness(0.0)):g}"
        )


def _root(function: Callable[[float], float], low: float, high: float) -> float:
    """Where a function that changes sign between `low` and `high` is 0, to the last digits."""
    tight = 8 * np.finfo(float).eps
    return float(brentq(function, low, high, xtol=1e-15, rtol=tight))  # pyright: ignore[reportArgumentType]
