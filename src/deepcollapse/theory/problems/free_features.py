r"""What balanced models of a free classifier on free features share, whatever the loss.

K classes of n samples each have features H (N, d), N = K n, that are as free as the classifier W (K, d), and

    F = (1/N) sum_i loss(W h_i + b, y_i) + lW/2 |W|^2 + lH/2 |H|^2 + lb/2 |b|^2.

Factors of given logits W H^T = Z cost at least sqrt(lW lH) |Z|_* (`theory.nuclear`), so F is a function of logits and
bias alone, and an optimum is symmetric in the classes: its logits have one singular value on the K-1 contrasts between
classes and one on what all classes share.
"""

import math
from abc import abstractmethod
from collections.abc import Mapping
from fractions import Fraction

import torch
from jaxtyping import Float64, Int64
from torch import Tensor

from deepcollapse.errors import MemoryBudgetError, OptionError, TooFewClassesError
from deepcollapse.geometry import collect, simplex_etf
from deepcollapse.linalg import memory_of
from deepcollapse.theory.head_geometry import head_geometry
from deepcollapse.theory.problem import Optimum, Point, Problem


class FreeFeatures(Problem):
    """A balanced model; each loss is a frozen dataclass of these fields, with its own settings among them.

    The variables are "classifier" (K, d), "features" (N, d) in order of class, and "bias" (K,) unless `bias_decay` is
    None. Raises OptionError for settings out of range, TooFewClassesError for fewer than two classes.
    """

    num_classes: int
    per_class: int
    weight_decay: float
    feature_decay: float
    bias_decay: float | None
    dim: int | None

    def __post_init__(self) -> None:
        if self.num_classes < 2:
            raise TooFewClassesError(f"theory compares classes: it needs at least 2 of them; got {self.num_classes}.")
        for name in ("per_class", "dim"):
            if (size := getattr(self, name)) is not None and size < 1:
                raise OptionError(f"{name} must be at least 1; got {size}.")
        for name in ("weight_decay", "feature_decay"):
            if not 0 < (decay := getattr(self, name)) < math.inf:
                raise OptionError(
                    f"{name} must be a finite number above 0; got {decay:g}. "
                    "At a decay of 0 there is no optimum: logits of a fitted class grow for ever."
                )
        if self.bias_decay is not None and not 0 <= self.bias_decay < math.inf:
            raise OptionError(
                f"bias_decay must be a finite number, 0 (a free bias) or above, or None (no bias); "
                f"got {self.bias_decay:g}."
            )

    # --- the question ----------------------------------------------------------------------------------------------

    @abstractmethod
    def loss(self, logits: Float64[Tensor, "b k n k"], coefficients: Mapping[str, Tensor]) -> Float64[Tensor, " b"]:
        """The mean loss at each point of a batch; logits of sample [:, class, sample in the class]."""

    @abstractmethod
    def optimum(self) -> "FreeFeaturesOptimum":
        """The optimum in closed form."""

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Of "classifier", "features" and, where there is one, "bias"."""
        shapes = {"classifier": (self.num_classes, self.width), "features": (self.num_samples, self.width)}
        return shapes if self.bias_decay is None else {**shapes, "bias": (self.num_classes,)}

    def coefficients(self) -> dict[str, Tensor]:
        """The decays, by the names of the settings."""
        decays = {"weight_decay": self.weight_decay, "feature_decay": self.feature_decay}
        if self.bias_decay is not None:
            decays["bias_decay"] = self.bias_decay
        return {name: torch.tensor(decay, dtype=torch.float64) for name, decay in decays.items()}

    def objective(self, point: Mapping[str, Tensor], coefficients: Mapping[str, Tensor]) -> Tensor:
        """F at each point of a batch."""
        total = self.loss(self.logits(point), coefficients)
        for name, decay in (("classifier", "weight_decay"), ("features", "feature_decay"), ("bias", "bias_decay")):
            if name in point:
                total = total + coefficients[decay] / 2 * point[name].square().flatten(1).sum(dim=1)
        return total

    def logits(self, point: Mapping[str, Tensor]) -> Float64[Tensor, "b k n k"]:
        """W h + b of each sample, by the sample's class and its place in the class."""
        flat = point["features"] @ point["classifier"].mT
        if "bias" in point:
            flat = flat + point["bias"][:, None]
        return flat.unflatten(1, (self.num_classes, self.per_class))

    def geometry(self, point: Mapping[str, Tensor]) -> dict[str, float]:
        """What the measures of trained networks say of the point's features, classifier and bias."""
        labels = self.labels.to(point["features"].device)
        moments = collect(point["features"], labels, self.num_classes, scatter="pooled")
        return head_geometry(moments, point["classifier"], point.get("bias"))

    # --- what closed forms are made of -----------------------------------------------------------------------------

    @property
    def width(self) -> int:
        """d, the dimension of the features: K where `dim` is None."""
        return self.dim or self.num_classes

    @property
    def num_samples(self) -> int:
        """N = K n."""
        return self.num_classes * self.per_class

    @property
    def labels(self) -> Int64[Tensor, " n"]:
        """The class of each sample."""
        return torch.arange(self.num_classes).repeat_interleave(self.per_class)

    @property
    def logit_price(self) -> float:
        """sqrt(lW lH), what a unit of the nuclear norm of the logits costs."""
        return math.sqrt(self.weight_decay) * math.sqrt(self.feature_decay)

    @property
    def class_price(self) -> float:
        """t = sqrt(n lW lH), what a margin of one costs each contrast between classes."""
        return math.sqrt(self.per_class) * self.logit_price

    @property
    def classes_price(self) -> float:
        """K t: the share of what a loss gains at zero that decays take away."""
        return self.num_classes * self.class_price

    def gain(self, share: Fraction) -> float:
        """share - K t where that is positive, else 0, to the last digit however close to 0 it is.

        It is (share^2 - K^2 n lW lH) / (share + K t), whose numerator is exact in fractions.
        """
        squared = self.num_classes**2 * self.per_class * Fraction(self.weight_decay) * Fraction(self.feature_decay)
        left = share**2 - squared
        return float(left) / (float(share) + self.classes_price) if left > 0 else 0.0

    def check_width(self, needed: int, shape: str) -> None:
        """Raise OptionError where the features have too few dimensions for the closed form."""
        if self.width < needed:
            raise OptionError(
                f"the optimum of {self.num_classes} classes is {shape} and needs dim >= {needed}; got {self.width}. "
                "No closed form is known in fewer dimensions: descend in so few by solve(problem, LBFGS())."
            )


class FreeFeaturesOptimum(Optimum):
    r"""Symmetric factors: W W^T = sqrt(lH/lW) (s_c P + s_m J/K) and h_i = sqrt(lW/(lH n)) w_{y_i}.

    P = I - J/K is the projector onto contrasts, J all ones; s_c and s_m are the singular values of the logits W H^T on
    contrasts (K-1 times) and on what all classes share (once).
    """

    problem: FreeFeatures
    bias: float
    """Each entry of b; 0 without a bias, and where any common value would do."""

    @property
    @abstractmethod
    def spectrum(self) -> tuple[float, float]:
        """The singular values s_c and s_m of the logits."""

    @property
    def trivial(self) -> bool:
        """Whether classifier and features are all zero."""
        return self.spectrum == (0.0, 0.0)

    @property
    def weight_norm_squared(self) -> float:
        """|W|^2 = sqrt(lH/lW) |W H^T|_*."""
        return self._nuclear_norm / self._imbalance

    @property
    def feature_norm_squared(self) -> float:
        """|H|^2 over all N samples, sqrt(lW/lH) |W H^T|_*: at the optimum lW |W|^2 = lH |H|^2."""
        return self._nuclear_norm * self._imbalance

    @property
    def _nuclear_norm(self) -> float:
        contrast, mean = self.spectrum
        return (self.problem.num_classes - 1) * contrast + mean

    @property
    def _imbalance(self) -> float:
        """sqrt(lW/lH), by which features outweigh the classifier."""
        return math.sqrt(self.problem.weight_decay) / math.sqrt(self.problem.feature_decay)

    def factors(self) -> tuple[Float64[Tensor, "k d"], Float64[Tensor, "k d"]]:
        """W (K, d) and one feature vector a class, (K, d), up to a rotation; MemoryBudgetError where too large."""
        k, dim = self.problem.num_classes, self.problem.width
        need, have = 2 * 8 * k * dim, memory_of(torch.device("cpu"))
        if need > have // 2:
            raise MemoryBudgetError(
                f"a classifier and features of {k} classes in dimension {dim} take {need / 1e9:.1f} GB, and half of "
                f"the memory is {have / 2e9:.1f} GB. Norms and values are at hand without them."
            )
        classifier = torch.zeros(k, dim, dtype=torch.float64)
        contrast, mean = self.spectrum
        if contrast:
            # A simplex ETF has the Gram matrix K/(K-1) P and leaves all coordinates past K-1 free.
            classifier += simplex_etf(k, dim) * math.sqrt((k - 1) / k * contrast / self._imbalance)
        if mean:
            classifier[:, k - 1] = math.sqrt(mean / (k * self._imbalance))
        return classifier, classifier * (self._imbalance / math.sqrt(self.problem.per_class))

    def point(self) -> Point:
        """The same as values of the problem's variables."""
        classifier, features = self.factors()
        point = {"classifier": classifier, "features": features.repeat_interleave(self.problem.per_class, dim=0)}
        if self.problem.bias_decay is not None:
            point["bias"] = torch.full((self.problem.num_classes,), self.bias, dtype=torch.float64)
        return point

    def _norms(self) -> dict[str, float | str | None]:
        return {
            "weight_norm_squared": self.weight_norm_squared,
            "feature_norm_squared": self.feature_norm_squared,
            "loss": self.value,
            "gap": self.gap,
        }
