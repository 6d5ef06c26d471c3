r"""The squared error on free features, balanced: singular values shrink, and the bias says which geometry is left.

With x = K sqrt(n lW lH) every contrast between classes keeps sqrt(n) (1 - x) of its sqrt(n), or nothing. What all
classes share keeps sqrt(n) (1 - x/w), w the share of it that a bias does not carry: 1 without a bias (an orthogonal
frame), lb/(1+lb) with a penalised one, 0 with a free one (a simplex ETF). Sources: :cite:`zhou2022`,
:cite:`tirer2022`; the penalised bias and the certificate are derived here.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction

import torch
from jaxtyping import Float64
from torch import Tensor

from deepcollapse.errors import OptionError, TooFewClassesError
from deepcollapse.theory.nuclear import spectral_norm
from deepcollapse.theory.problem import Point, gap_above
from deepcollapse.theory.problems.free_features import FreeFeatures, FreeFeaturesOptimum


@dataclass(frozen=True)
class UnconstrainedSquared(FreeFeatures):
    r"""The squared error against one-hot labels on K classes of n samples each.

    F = 1/(2N) sum_i |W h_i + b - e_{y_i}|^2 + lW/2 |W|^2 + lH/2 |H|^2 + lb/2 |b|^2; settings as
    `UnconstrainedFeatures`. `nn.MSELoss` is another multiple of this error: see `decay_of_mse_loss`.

    `optimum()` is all zero where x >= 1, and needs as many dimensions as singular values are left: K, or K-1 where
    the bias carries all that classes share (OptionError).

    >>> optimum = UnconstrainedSquared(4, 3, weight_decay=5e-3, feature_decay=1e-3, bias_decay=0.2).optimum()
    >>> round(optimum.contrast_value, 11), round(optimum.mean_value, 11), round(optimum.bias, 12)
    (1.70521799184, 1.57105391319, 0.019364916731)
    """

    num_classes: int
    per_class: int
    weight_decay: float
    feature_decay: float
    bias_decay: float | None = None
    dim: int | None = None

    def loss(self, logits: Float64[Tensor, "b k n k"], coefficients: Mapping[str, Tensor]) -> Float64[Tensor, " b"]:
        """Half the mean squared distance to the one-hot label."""
        target = torch.eye(self.num_classes, dtype=logits.dtype, device=logits.device)
        return (logits - target[:, None]).square().sum(dim=(1, 2, 3)) / (2 * self.num_samples)

    def optimum(self) -> "SquaredOptimum":
        """Each singular value of the labels less its price."""
        root, unborne = math.sqrt(self.per_class), self._unborne
        contrast = root * self.gain(Fraction(1))
        mean = root * self.gain(unborne) / float(unborne) if unborne else 0.0
        bias = 0.0
        if self.bias_decay is not None:
            # What the mean value lacks, split between error and bias; both forms agree where it is just 0.
            bias = 1 / (self.num_classes * (1 + self.bias_decay))
            bias = min(bias, self.class_price / self.bias_decay) if self.bias_decay else bias
        optimum = SquaredOptimum(self, contrast, mean, bias)
        if not optimum.trivial:
            self.check_width(self.num_classes - (not mean), optimum.structure)
        return optimum

    @property
    def _unborne(self) -> Fraction:
        """The share w of what all classes have in common that no bias carries."""
        if self.bias_decay is None:
            return Fraction(1)
        return Fraction(self.bias_decay) / (1 + Fraction(self.bias_decay))

    def gap(self, point: Mapping[str, Tensor]) -> float:
        r"""F at a point less a lower bound on F everywhere, from the point's own residuals.

        For any U (N, K) with |U|_2 <= sqrt(lW lH), F >= -<U, Y> - (N/2) |U|^2 - |sum_i U_i|^2/(2 lb) by Fenchel
        duality; the last term is absent without a bias, and holds the sum to 0 with a free one. U is the gradient
        (z - y)/N at the point, times the factor that makes most of it. 0 at an optimum alone.
        """
        logits = self.logits({name: tensor[None] for name, tensor in point.items()}).flatten(0, 2)
        target = torch.nn.functional.one_hot(self.labels, self.num_classes).to(logits)
        gradient = (logits - target) / self.num_samples
        if self.bias_decay == 0:
            gradient = gradient - gradient.mean(dim=0)
        gain = -float((gradient * target).sum())
        loss = self.num_samples * float(gradient.square().sum())
        if self.bias_decay:
            loss += float(gradient.sum(dim=0).square().sum()) / self.bias_decay
        reach = self.logit_price / max(spectral_norm(gradient), 1e-300)
        factor = min(max(gain, 0.0) / loss, reach) if loss > 0 else 0.0
        return gap_above(self.value(point), factor * gain - factor**2 * loss / 2)

    def sweep(self, point: Mapping[str, Tensor], coefficients: Mapping[str, Tensor]) -> Point:
        """One step of alternating ridge regression at each point of a batch, exact in either half; F never rises.

        First classifier and bias at these features, then features at the new classifier and bias. As for `objective`,
        both arguments carry one leading batch dimension. Each half is a system of d (or d+1) equations.
        """
        features, target = point["features"], torch.eye(self.num_classes).to(point["features"])
        ridge = coefficients["weight_decay"][:, None].expand(-1, features.shape[2])
        if "bias" in point:
            features = torch.cat([features, torch.ones_like(features[..., :1])], dim=2)
            ridge = torch.cat([ridge, coefficients["bias_decay"][:, None]], dim=1)
        sums = features.unflatten(1, (self.num_classes, self.per_class)).sum(dim=2)
        gram = features.mT @ features / self.num_samples + ridge.diag_embed()
        solved = torch.linalg.solve(gram, sums.mT / self.num_samples).mT
        classifier, bias = solved[..., : self.width], solved[..., self.width :].mT
        normal = classifier.mT @ classifier / self.num_samples
        normal = normal + (coefficients["feature_decay"][:, None].expand(-1, self.width)).diag_embed()
        # All samples of a class are sent to one place, so each class is solved for once.
        wanted = (target - bias if "bias" in point else target.expand(len(classifier), -1, -1)) / self.num_samples
        means = torch.linalg.solve(normal, (wanted @ classifier).mT).mT
        new = {"classifier": classifier, "features": means.repeat_interleave(self.per_class, dim=1)}
        return {**new, "bias": bias[:, 0]} if "bias" in point else new


@dataclass(frozen=True)
class SquaredOptimum(FreeFeaturesOptimum):
    """What is left of the labels: `contrast_value` on contrasts (K-1 times), `mean_value` on what classes share.

    Both are singular values of the logits W H^T, in [0, sqrt(n)]; `bias`, each entry of b, lies in [0, 1/K].
    """

    problem: FreeFeatures
    contrast_value: float
    mean_value: float
    bias: float

    @property
    def spectrum(self) -> tuple[float, float]:
        """Both singular values."""
        return self.contrast_value, self.mean_value

    @property
    def structure(self) -> str:
        """What the classifier's rows form."""
        if self.trivial:
            return "zero"
        if not self.mean_value:
            return "a simplex ETF"
        return "an orthogonal frame" if self.mean_value == self.contrast_value else "between frame and simplex ETF"

    @property
    def value(self) -> float:
        """The objective: the squared error that is left, and the price of norms and bias."""
        p = self.problem
        root, rest = math.sqrt(p.per_class), p.num_classes - 1
        carried = self.bias * p.num_classes * root
        error = rest * (root - self.contrast_value) ** 2 + (root - self.mean_value - carried) ** 2
        decays = p.logit_price * (rest * self.contrast_value + self.mean_value)
        return error / (2 * p.num_samples) + decays + (p.bias_decay or 0.0) / 2 * p.num_classes * self.bias**2

    @property
    def gap(self) -> float:
        """`value` less the dual value of the residuals in these coordinates, held within the price of logits."""
        p = self.problem
        root, n, rest = math.sqrt(p.per_class), p.num_samples, p.num_classes - 1
        contrast = min((root - self.contrast_value) / n, p.logit_price)
        bound = rest * (root * contrast - n / 2 * contrast**2)
        if p.bias_decay != 0:  # else no residual is left on what classes share
            shared = min((root - self.mean_value - self.bias * p.num_classes * root) / n, p.logit_price)
            scale = n + (n / p.bias_decay if p.bias_decay else 0.0)
            bound += root * shared - scale / 2 * shared**2
        return gap_above(self.value, bound)

    def facts(self) -> dict[str, float | str | None]:
        """Singular values, bias, norms, "loss" (the whole objective), gap; "structure", and why zero is optimal."""
        price = self.problem.classes_price
        return {
            "contrast_value": self.contrast_value,
            "mean_value": self.mean_value,
            "bias": self.bias,
            **self._norms(),
            "structure": self.structure,
            "classes_price": price,
            "note": (
                "zero classifier and features are optimal, because "
                f"the decays charge K sqrt(n lW lH) = {price:g} of every singular value "
                "of the labels, which is all of it"
                if self.trivial
                else None
            ),
        }


def decay_of_mse_loss(weight_decay: float, num_classes: int) -> float:
    r"""C wd / 2: the decay lW that a weight decay wd beside `nn.MSELoss` is, beside 1/(2N) sum_i |z_i - y_i|^2.

    `nn.MSELoss` averages over all N C entries, so wd/2 |W|^2 stands beside 2/C of this error: the trap is to read wd
    as lW, which holds for `nn.CrossEntropyLoss`. The same factor serves every decay. Raises OptionError for a negative
    or infinite decay, TooFewClassesError for fewer than two classes. Derived here.

    >>> decay_of_mse_loss(5e-4, num_classes=10)
    0.0025
    """
    if not 0 <= weight_decay < math.inf:
        raise OptionError(f"weight_decay must be a finite number, 0 or above; got {weight_decay:g}.")
    if num_classes < 2:
        raise TooFewClassesError(f"theory compares classes: it needs at least 2 of them; got {num_classes}.")
    return num_classes * weight_decay / 2
