r"""The layer-peeled model: cross-entropy on free features and a free classifier, both of bounded mean squared length.

    min (1/N) sum_i CE(W h_i, y_i)   over   (1/K) sum_k |w_k|^2 <= E_W,   (1/K) sum_k (1/n_k) sum_i |h_{k,i}|^2 <= E_H

:cite:`fang2021`. Features average inside their class first, so class counts weigh in the loss alone. Derived here, and
held to general solvers by the tests: W and H within the budgets make logits Z exactly where |Z|_* <= K sqrt(E_W E_H),
so that this is convex in Z; all features of a class are equal; and classes of equal count collapse onto one another,
classifiers and features, exactly where their weight is at most the price mu of the budget. That is Minority Collapse.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Float64, Int64
from torch import Tensor
from torch.nn.functional import cross_entropy

from deepcollapse.errors import OptionError
from deepcollapse.geometry import collect
from deepcollapse.theory.head_geometry import head_geometry
from deepcollapse.theory.nuclear import constrained_gap
from deepcollapse.theory.problem import Point, Problem
from deepcollapse.theory.problems.group_optimum import Facts, GroupOptimum
from deepcollapse.theory.reduced.cross_entropy import GroupCrossEntropy, centring
from deepcollapse.theory.reduced.groups import GroupMatrix, Groups
from deepcollapse.theory.reduced.program import Constrained, ReducedPoint
from deepcollapse.theory.reduced.two_groups import log_collapse_ratio, within_budget


def checked_budget(name: str, budget: float) -> float:
    """Raises OptionError for what is no mean squared length above 0."""
    if not 0 < budget < math.inf:
        raise OptionError(f"{name} is a mean squared length: it must be finite and above 0; got {budget:g}.")
    return budget


@dataclass(frozen=True)
class LayerPeeled(Problem):
    r"""Cross-entropy (in nats) over W and H with (1/K) sum_k |w_k|^2 <= E_W and the same of features, <= E_H.

    K classes lie in `groups`, whose counts may be any numbers in proportion to the samples; the budgets are in squared
    units of classifier and features, and all that matters to logits and angles is their product.
    The free variables are directions: "classifier" A and "features" B, both (K, p), one row a class in the order of
    the groups, stand for W = sqrt(K E_W) A/|A| and H = sqrt(K E_H) B/|B|. `dim` is p; None for K.

    `optimum()` takes milliseconds for one or two groups of any size, and grows with the number of groups beyond that,
    never with that of classes. It needs p of at least the rank of the logits, at most K-1 (OptionError), and raises
    SolveError where the certificate is not met. Raises OptionError for budgets that are not finite and above 0.

    >>> optimum = LayerPeeled(Groups.two(5, 5, 100.0), weight_budget=1.0, feature_budget=5.0).optimum()
    >>> optimum.phase, round(optimum.value, 12), optimum.balanced.cosine("classifier", 1, 1)
    ('collapse', 0.091299164075, 1.0)
    """

    groups: Groups
    weight_budget: float
    feature_budget: float
    dim: int | None = None

    def __post_init__(self) -> None:
        checked_budget("weight_budget", self.weight_budget)
        checked_budget("feature_budget", self.feature_budget)
        if self.dim is not None and self.dim < 1:
            raise OptionError(f"dim must be at least 1; got {self.dim}.")

    @property
    def num_classes(self) -> int:
        """K."""
        return self.groups.num_classes

    @property
    def width(self) -> int:
        """p, the dimension of features: K where `dim` is None."""
        return self.dim or self.num_classes

    @property
    def radius(self) -> float:
        """K sqrt(E_W E_H), the greatest nuclear norm that logits may have."""
        return self.num_classes * math.sqrt(self.weight_budget) * math.sqrt(self.feature_budget)

    # --- the question ----------------------------------------------------------------------------------------------

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Of "classifier" and "features", one row a class."""
        return dict.fromkeys(("classifier", "features"), (self.num_classes, self.width))

    def coefficients(self) -> dict[str, Tensor]:
        """ "weights" (K,), each class's share of the samples, and "radius"."""
        weights = np.repeat(self.groups.class_weights, self.groups.sizes)
        return {"weights": torch.from_numpy(weights), "radius": torch.tensor(self.radius, dtype=torch.float64)}

    def objective(self, point: Mapping[str, Tensor], coefficients: Mapping[str, Tensor]) -> Tensor:
        """The mean cross-entropy in nats at each point of a batch."""
        classifier, features = (point[name] for name in ("classifier", "features"))
        lengths = classifier.flatten(1).norm(dim=1) * features.flatten(1).norm(dim=1)
        logits = features @ classifier.mT * (coefficients["radius"] / lengths)[:, None, None]
        losses = cross_entropy(logits.mT, _labels(logits), reduction="none")
        return (coefficients["weights"] * losses).sum(dim=1)

    def factors(self, point: Mapping[str, Tensor]) -> tuple[Float64[Tensor, "k p"], Float64[Tensor, "k p"]]:
        """W and H, one row a class, on the boundary of their budgets."""
        budgets = {"classifier": self.weight_budget, "features": self.feature_budget}
        scaled = (point[name] * (self.num_classes * e) ** 0.5 / point[name].norm() for name, e in budgets.items())
        classifier, features = scaled
        return classifier, features

    def gap(self, point: Mapping[str, Tensor]) -> float:
        """The Frank-Wolfe gap <G, Z> + K s |G|_2 of the point's logits, G the gradient of the loss."""
        classifier, features = self.factors(point)
        z = classifier @ features.T
        weights = self.coefficients()["weights"]
        gradient = (z.softmax(dim=0) - torch.eye(len(z), dtype=z.dtype)) * weights
        return constrained_gap(z, gradient, self.radius)

    def geometry(self, point: Mapping[str, Tensor]) -> dict[str, float]:
        """What the measures of trained networks say of the point; a class without samples has no features."""
        classifier, features = self.factors(point)
        seen = self.coefficients()["weights"] > 0
        moments = collect(features[seen], torch.arange(self.num_classes)[seen], self.num_classes, scatter="pooled")
        return head_geometry(moments, classifier)

    # --- the answer ------------------------------------------------------------------------------------------------

    def optimum(self) -> "LayerPeeledOptimum":
        """The optimum: in closed form for equal counts, by root-finds for two groups, by a convex program for more."""
        sizes, counts = self.groups.sizes, self.groups.counts
        none = np.zeros(len(sizes), dtype=bool)
        program = Constrained(sizes, self.groups.class_weights, np.ones(len(sizes)), none, self.radius)
        if len(set(counts)) == 1:
            point = program.point(centring(sizes))
        elif len(sizes) == 2:
            point = program.point(self._two_groups())
        else:
            z = program.solve().z
            loss = GroupCrossEntropy(z, program.weights)
            collapsed = program.weights <= math.exp(loss.log_value) * loss.relative_gradient.spectral_norm
            point = program.point(GroupMatrix(sizes, np.where(collapsed, 0.0, z.contrast), z.block))
        found = LayerPeeledOptimum(self, program.accepted(point))
        found.check_width(self.width)
        return found

    def _two_groups(self) -> GroupMatrix:
        (big, small), (n, m) = self.groups.sizes, self.groups.counts
        if m > n:
            swapped = LayerPeeled(Groups((small, big), (m, n)), self.weight_budget, self.feature_budget)._two_groups()
            return GroupMatrix((big, small), swapped.contrast[::-1].copy(), swapped.block[::-1, ::-1].copy())
        log_ratio = math.log(n) - math.log(m) if m > 0 else math.inf
        return within_budget(big, small, log_ratio, self.radius)[0].matrix()


def _labels(logits: Tensor) -> Int64[Tensor, "b k"]:
    return torch.arange(logits.shape[-1], device=logits.device).expand(len(logits), -1)


@dataclass(frozen=True)
class LayerPeeledOptimum(GroupOptimum):
    r"""The optimum of `problem`: logits `z`, K x K in groups, with `balanced` Gram matrices of classifier and features.

    For two groups a, b, r and rho say all (`theory.reduced.two_groups`); `collapsed` and `erased` tell groups whose
    classes coincide, and whose classifiers vanish. `phase` is "full", "collapse" or "erased" by the worst of the
    groups.
    """

    problem: LayerPeeled
    reduced: ReducedPoint

    @property
    def groups(self) -> Groups:
        """Those of the problem."""
        return self.problem.groups

    @property
    def z(self) -> GroupMatrix:
        """K x K in groups."""
        return self.reduced.z

    @property
    def logits(self) -> GroupMatrix:
        """`z`."""
        return self.reduced.z

    @property
    def weight_scale(self) -> float:
        """sqrt(E_W/E_H)."""
        return math.sqrt(self.problem.weight_budget) / math.sqrt(self.problem.feature_budget)

    @property
    def column_counts(self) -> Float64[np.ndarray, " g"]:
        """All one: the budget averages inside classes first."""
        return np.ones(len(self.groups.sizes))

    @cached_property
    def _loss(self) -> GroupCrossEntropy:
        return GroupCrossEntropy(self.z, self.groups.class_weights)

    @property
    def log_value(self) -> float:
        """ln of the loss, which keeps its digits where the loss itself is too small for a float."""
        return self._loss.log_value

    @property
    def value(self) -> float:
        """The mean cross-entropy in nats."""
        return self.reduced.value

    @property
    def gap(self) -> float:
        """The Frank-Wolfe gap in nats."""
        return self.reduced.gap

    @cached_property
    def mu(self) -> float:
        """The price of the budget, |G|_2, over the weight of a class of the group with the fewest samples (above 0).

        Classes of that group coincide exactly where this is 1 or more.
        """
        least = min(weight for weight in self.groups.class_weights if weight > 0)
        log_price = self.log_value + math.log(self._loss.relative_gradient.spectral_norm)
        return math.exp(log_price - math.log(least))

    @cached_property
    def threshold_ratio(self) -> float:
        """R0, the ratio from which on the minority collapses in these budgets; NaN without two minority classes.

        Infinite where it is too large for a float.
        """
        if self._pair is None or self.groups.sizes[self._pair[1]] == 1:
            return math.nan
        big, small = (self.groups.sizes[g] for g in self._pair)
        log_ratio = log_collapse_ratio(big, small, self.problem.radius)
        return math.exp(log_ratio) if log_ratio < 709 else math.inf

    def facts(self) -> Facts:
        """Phase, the four logits and mu, the loss, cosines, gap and threshold, then lengths and features' cosines.

        NaN marks what is undefined: cosines of erased classes, and of pairs that do not exist. Where there are not two
        groups, the cosines are those inside each group, by number, and of the two closest classes; where all counts
        differ no classes coincide exactly, but a `rank` below K-1 says that those of few samples share directions, and
        a `least_margin` of 0 or less that the optimum itself takes samples of some class for another.
        """
        numbers: Facts = {name: getattr(self, name) for name in ("a", "b", "r", "rho", "mu")}
        return {
            "phase": self.phase,
            **numbers,
            "loss": self.value,
            **self._classifier_cosines(),
            "gap": self.gap,
            "threshold_ratio": self.threshold_ratio,
            **self._more_geometry(),
            "rank": self.rank,
            "least_margin": self.least_margin,
        }

    def factors(
        self, members: Int64[np.ndarray, " k"] | None = None
    ) -> tuple[Float64[Tensor, "k p"], Float64[Tensor, "k p"]]:
        """W and H, one row a class: in the order of the groups, or of `members`, the group of each class.

        Unique up to a rotation. Raises MemoryBudgetError where they are too large.
        """
        return self._factors(self.problem.width, members)

    def point(self) -> Point:
        """The same as values of the problem's variables."""
        return dict(zip(("classifier", "features"), self.factors(), strict=True))
