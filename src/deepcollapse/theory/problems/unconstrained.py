r"""Cross-entropy on free features, balanced: the classes form a simplex ETF, of a size that the decays set.

All in closed form, in time that does not depend on the number of classes K. With t = sqrt(n lW lH) and label smoothing
alpha, the margin c (the correct logit less any other) minimises log(1 + (K-1) e^{-c}) + (K-1)(t + alpha/K) c, so

    c = log(1 + (1 - alpha - K t) / (t + alpha/K))   where K t < 1 - alpha, and 0 otherwise.

Sources: :cite:`zhu2021` for the simplex ETF, :cite:`zhoulosses2022` for smoothed labels; sizes and certificate are
derived here, from the nuclear norm that decays amount to.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction

import torch
from jaxtyping import Float64
from torch import Tensor
from torch.nn.functional import logsigmoid

from deepcollapse.errors import OptionError
from deepcollapse.theory.nuclear import spectral_norm
from deepcollapse.theory.problem import gap_above
from deepcollapse.theory.problems.free_features import FreeFeatures, FreeFeaturesOptimum


@dataclass(frozen=True)
class UnconstrainedFeatures(FreeFeatures):
    r"""Cross-entropy (in nats) on K classes of n samples each, with labels smoothed by alpha.

    F = (1/N) sum_i CE(W h_i + b, (1 - alpha) e_{y_i} + alpha/K) + lW/2 |W|^2 + lH/2 |H|^2 + lb/2 |b|^2.

    Attributes:
        num_classes: K, at least 2.
        per_class: n, the samples of each class.
        weight_decay: lW > 0; as PyTorch's optimisers take it for `nn.CrossEntropyLoss`.
        feature_decay: lH > 0, per sample: the sum of |h_i|^2 runs over all N.
        smoothing: alpha in [0, 1).
        bias_decay: lb; None for no bias, 0 for a free one.
        dim: d; None for K.

    `optimum()` is all zero where K t >= 1 - alpha. Otherwise it needs d >= K-1 (OptionError) and W is a simplex ETF.

    >>> optimum = UnconstrainedFeatures(10, 5000, weight_decay=5e-4, feature_decay=1e-5).optimum()
    >>> round(optimum.margin, 10), round(optimum.weight_norm_squared, 8), optimum.gap < 1e-14
    (5.252273428, 472.70460852, True)
    """

    num_classes: int
    per_class: int
    weight_decay: float
    feature_decay: float
    smoothing: float = 0.0
    bias_decay: float | None = None
    dim: int | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.smoothing < 1:
            raise OptionError(
                f"smoothing must be 0 (plain labels) or above, and below 1 (labels that say nothing); "
                f"got {self.smoothing:g}."
            )

    def coefficients(self) -> dict[str, Tensor]:
        """Decays and "smoothing"."""
        return {**super().coefficients(), "smoothing": torch.tensor(self.smoothing, dtype=torch.float64)}

    def loss(self, logits: Float64[Tensor, "b k n k"], coefficients: Mapping[str, Tensor]) -> Float64[Tensor, " b"]:
        """CE(z, e_y) + alpha (z_y - the mean of z): smoothing charges each margin alpha/K."""
        own, excess = own_logit(logits), soft_margin(logits)
        plain = -logsigmoid(excess).mean(dim=(1, 2))
        mean_margin = (own - logits.mean(dim=3).mT).mean(dim=(1, 2))
        return plain + coefficients["smoothing"] * mean_margin

    def optimum(self) -> "UnconstrainedOptimum":
        """The simplex ETF of the best margin, or all zero past the threshold."""
        k, alpha = self.num_classes, self.smoothing
        # Equal to log((K-1)(1-tau)/tau) with tau = (K-1)(t + alpha/K), which would cancel near the threshold.
        margin = math.log1p(self.gain(1 - Fraction(alpha)) / (self.class_price + alpha / k))
        if margin:
            self.check_width(k - 1, "a simplex ETF")
        return UnconstrainedOptimum(self, margin, self.loss_at(margin), self._lower_bound(margin), self._note(margin))

    def loss_at(self, margin: float) -> float:
        """log(1 + (K-1) e^{-c}) + alpha (K-1)/K c, the loss of every sample at a common margin c."""
        k = self.num_classes
        return math.log1p((k - 1) * math.exp(-margin)) + self.smoothing * (k - 1) / k * margin

    def _lower_bound(self, margin: float) -> float:
        """The entropy of predictions p whose gradient p - y is within the price of logits, as at an optimum.

        For predictions that miss with probability m, evenly, p - y = -(m - a) K/(K-1) (I - J/K), where a is what
        smoothing wants missed; its spectral norm is within the price where |m - a| <= (K-1) t.
        """
        k = self.num_classes
        odds = (k - 1) * math.exp(-margin)
        wanted = self.smoothing * (k - 1) / k
        excess = odds / (1 + odds) - wanted
        missed = wanted + math.copysign(min(abs(excess), (k - 1) * self.class_price), excess)
        if missed == 0:
            return 0.0
        return -(1 - missed) * math.log1p(-missed) - missed * math.log(missed / (k - 1))

    def _note(self, margin: float) -> str | None:
        if margin:
            return None
        return (
            "zero classifier and features are optimal, because "
            f"the decays charge K sqrt(n lW lH) = {self.classes_price:g} for logits that "
            f"gain at most 1 - smoothing = {1 - self.smoothing:g}"
        )

    def gap(self, point: Mapping[str, Tensor]) -> float:
        r"""F at a point less a lower bound on F everywhere, from the point's own predictions.

        Let the rows of U (N, K) be (p_i - y_i)/N for any predictions p_i (probabilities), y_i the labels. If
        |U|_2 <= sqrt(lW lH) then F >= (1/N) sum_i entropy(p_i) - |sum_i U_i|^2/(2 lb): Fenchel duality, as the
        conjugate of cross-entropy is the negative entropy. Predictions are drawn towards the labels y until they fit,
        and with a free bias first mixed so that every class is predicted equally often. 0 at an optimum alone.
        """
        logits = self.logits({name: tensor[None] for name, tensor in point.items()}).flatten(0, 2)
        target = torch.nn.functional.one_hot(self.labels, self.num_classes).to(logits)
        target = target * (1 - self.smoothing) + self.smoothing / self.num_classes
        predicted = logits.softmax(dim=1)
        if self.bias_decay == 0:
            share = predicted.mean(dim=0)
            kept = 1 / (self.num_classes * share.max())
            predicted = kept * predicted + (1 / self.num_classes - kept * share)
        gradient = (predicted - target) / self.num_samples
        reach = min(1.0, self.logit_price / max(spectral_norm(gradient), 1e-300))
        bound = torch.special.entr((target + reach * (predicted - target)).clamp(min=0)).sum(dim=1).mean()
        if self.bias_decay:
            bound = bound - (reach * gradient.sum(dim=0)).square().sum() / (2 * self.bias_decay)
        return gap_above(self.value(point), float(bound))


@dataclass(frozen=True)
class UnconstrainedOptimum(FreeFeaturesOptimum):
    r"""Every sample has its correct logit `margin` above all others, which are equal: a simplex ETF, or zero.

    Attributes:
        problem: what it is the optimum of.
        margin: c >= 0, in nats.
        data_loss: the mean loss without the decays.
        lower_bound: no point has a smaller objective.
        note: what a reader must know, such as why zero is optimal.
        bias: each entry of b.
    """

    problem: FreeFeatures
    margin: float
    data_loss: float
    lower_bound: float
    note: str | None = None
    bias: float = 0.0

    @property
    def spectrum(self) -> tuple[float, float]:
        """sqrt(n) c on contrasts and 0 on what all classes share, for which a softmax is blind."""
        return math.sqrt(self.problem.per_class) * self.margin, 0.0

    @property
    def value(self) -> float:
        """The objective, (data loss) + (K-1) t c."""
        return self.data_loss + (self.problem.num_classes - 1) * self.problem.class_price * self.margin

    @property
    def gap(self) -> float:
        """`value` less `lower_bound`."""
        return gap_above(self.value, self.lower_bound)

    @property
    def probability(self) -> float:
        """Of the correct class, 1 / (1 + (K-1) e^{-c})."""
        return 1 / (1 + (self.problem.num_classes - 1) * math.exp(-self.margin))

    def facts(self) -> dict[str, float | str | None]:
        """Margin, norms, "loss" (the whole objective), gap; then the data's loss and the correct class's probability.

        "classes_price" is K sqrt(n lW lH), at which cross-entropy on plain labels leaves zero from 1 on; "note" says
        what a reader must know.
        """
        return {
            "margin": self.margin,
            **self._norms(),
            "data_loss": self.data_loss,
            "probability": self.probability,
            "classes_price": self.problem.classes_price,
            "note": self.note,
        }


def own_logit(logits: Float64[Tensor, "b k n k"]) -> Float64[Tensor, "b n k"]:
    """The logit of each sample's own class, by place in the class and class."""
    return logits.diagonal(dim1=1, dim2=3)


def soft_margin(logits: Float64[Tensor, "b k n k"]) -> Float64[Tensor, "b n k"]:
    """z_y - log sum_{j != y} exp(z_j), whose logistic function is the probability of the correct class."""
    own = torch.eye(logits.shape[1], dtype=torch.bool, device=logits.device)[:, None, :]
    others = logits.masked_fill(own, -torch.inf).logsumexp(dim=3)
    return own_logit(logits) - others.mT
