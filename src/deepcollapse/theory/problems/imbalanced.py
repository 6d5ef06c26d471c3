r"""Cross-entropy on free features with weight decay, for any class counts.

    F = (1/N) sum_i CE(W h_i + b, y_i) + lW/2 |W|^2 + lH/2 |H|^2 + lb/2 |b|^2

Derived here, and held to general solvers by the tests: factors of logits cost sqrt(lW lH) times their nuclear norm, in
which a class counts sqrt(n_k), so that F is convex in logits and bias. Two or more classes of n samples each have the
same classifier and the same features exactly where n <= N^2 lW lH, whatever the other classes and the bias: the loss
pulls equal classes apart with a force that does not depend on anything else. Hong and Ling study this model
:cite:`hong2024`.
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
from deepcollapse.theory.nuclear import spectral_norm
from deepcollapse.theory.problem import Point, Problem, gap_above
from deepcollapse.theory.problems.group_optimum import Facts, GroupOptimum
from deepcollapse.theory.reduced.groups import GroupMatrix, Groups
from deepcollapse.theory.reduced.program import Penalised, ReducedPoint
from deepcollapse.theory.reduced.two_groups import TwoGroupLogits, stationary, within_group_only


@dataclass(frozen=True)
class UnconstrainedImbalanced(Problem):
    r"""Cross-entropy (in nats) with weight decay on classifier, features and bias, for classes of any sizes.

    K classes lie in `groups`, whose counts are samples: whole numbers of 1 or more.
    `weight_decay` lW, `feature_decay` lH (per sample) and `bias_decay` lb (None for no bias, 0 for a free one) are
    those that PyTorch's optimisers take. The variables are "classifier" (K, d), "features" (N, d) in the order of the
    groups' classes, and "bias" (K,) where there is one. `dim` is d; None for K.

    `optimum()` takes milliseconds for two groups without a bias, and grows with the number of groups otherwise, never
    with that of classes or samples; it needs d of at least the rank of the logits (OptionError), and raises SolveError
    where the certificate is not met. Raises OptionError for settings out of range.

    >>> problem = UnconstrainedImbalanced(Groups((2, 3), (8.0, 4.0)), weight_decay=0.02, feature_decay=0.02)
    >>> optimum = problem.optimum()
    >>> round(optimum.weight_norm_squared, 10), round(problem.collapse_count, 6), optimum.collapsed
    (26.509177743, 0.3136, (False, False))
    """

    groups: Groups
    weight_decay: float
    feature_decay: float
    bias_decay: float | None = None
    dim: int | None = None

    def __post_init__(self) -> None:
        if not all(count >= 1 and float(count).is_integer() for count in self.groups.counts):
            raise OptionError(
                f"samples a class must be whole numbers of 1 or more, for decay counts them; got {self.groups.counts}."
            )
        for name in ("weight_decay", "feature_decay"):
            if not 0 < (decay := getattr(self, name)) < math.inf:
                raise OptionError(
                    f"{name} must be a finite number above 0; got {decay:g}. At a decay of 0 logits would grow without "
                    "end: see Seli for what they tend to."
                )
        if self.bias_decay is not None and not 0 <= self.bias_decay < math.inf:
            raise OptionError(
                f"bias_decay must be a finite number, 0 (a free bias) or above, or None (no bias); "
                f"got {self.bias_decay:g}."
            )
        if self.dim is not None and self.dim < 1:
            raise OptionError(f"dim must be at least 1; got {self.dim}.")

    @property
    def num_classes(self) -> int:
        """K."""
        return self.groups.num_classes

    @property
    def num_samples(self) -> int:
        """N."""
        return round(float(np.array(self.groups.sizes) @ np.array(self.groups.counts)))

    @property
    def width(self) -> int:
        """d: K where `dim` is None."""
        return self.dim or self.num_classes

    @property
    def price(self) -> float:
        """sqrt(lW lH), what a unit of the nuclear norm of all N samples' logits costs."""
        return math.sqrt(self.weight_decay) * math.sqrt(self.feature_decay)

    @property
    def collapse_count(self) -> float:
        """N^2 lW lH: classes of equal count coincide exactly where they have at most this many samples each."""
        return self.num_samples**2 * self.weight_decay * self.feature_decay

    @property
    def class_counts(self) -> Int64[Tensor, " k"]:
        """Samples of each class, in the order of the groups."""
        return torch.from_numpy(np.repeat(np.array(self.groups.counts, dtype=np.int64), self.groups.sizes))

    @property
    def labels(self) -> Int64[Tensor, " n"]:
        """The class of each sample."""
        return torch.arange(self.num_classes).repeat_interleave(self.class_counts)

    # --- the question ----------------------------------------------------------------------------------------------

    def program(self) -> tuple[object, ...]:
        """Problems of the same classes run as one batch."""
        return (*super().program(), self.groups)

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
        logits = self._all_logits(point)
        labels = self.labels.to(logits.device).expand(len(logits), -1)
        total = cross_entropy(logits.mT, labels, reduction="none").mean(dim=1)
        for name, decay in (("classifier", "weight_decay"), ("features", "feature_decay"), ("bias", "bias_decay")):
            if name in point:
                total = total + coefficients[decay] / 2 * point[name].square().flatten(1).sum(dim=1)
        return total

    def _all_logits(self, point: Mapping[str, Tensor]) -> Float64[Tensor, "b n k"]:
        logits = point["features"] @ point["classifier"].mT
        return logits + point["bias"][:, None] if "bias" in point else logits

    def gap(self, point: Mapping[str, Tensor]) -> float:
        r"""F at a point less Fenchel's lower bound from the point's own predictions p.

        F >= mean entropy of p - |sum_i U_i|^2/(2 lb) for any predictions with |U|_2 <= sqrt(lW lH), U = (p - y)/N: the
        point's are drawn towards the labels until they fit. A free bias asks for sum_i U_i = 0: they are first mixed
        with one prediction for all, such that each class is predicted as often as it occurs. 0 at an optimum alone.
        """
        predicted = self._all_logits({name: tensor[None] for name, tensor in point.items()})[0].softmax(dim=1)
        target = torch.nn.functional.one_hot(self.labels, self.num_classes).to(predicted)
        if self.bias_decay == 0:
            share, wanted = predicted.mean(dim=0), target.mean(dim=0)
            kept = (wanted / share).min().clamp(max=1.0)
            predicted = kept * predicted + (wanted - kept * share)
        slope = (predicted - target) / self.num_samples
        reach = min(1.0, self.price / max(spectral_norm(slope), 1e-300))
        bound = torch.special.entr((target + reach * (predicted - target)).clamp(min=0)).sum(dim=1).mean()
        if self.bias_decay:
            bound = bound - (reach * slope.sum(dim=0)).square().sum() / (2 * self.bias_decay)
        return gap_above(self.value(point), float(bound))

    def geometry(self, point: Mapping[str, Tensor]) -> dict[str, float]:
        """What the measures of trained networks say of the point's features, classifier and bias."""
        counts = self.class_counts
        moments = collect(
            point["features"], self.labels, self.num_classes, scatter="class_weighted", class_counts=counts
        )
        return head_geometry(moments, point["classifier"], point.get("bias"))

    # --- the answer ------------------------------------------------------------------------------------------------

    def optimum(self) -> "ImbalancedOptimum":
        """The optimum: by one root-find for two groups without a bias, by a convex program otherwise."""
        counts = np.array(self.groups.counts)
        program = Penalised(
            self.groups.sizes,
            self.groups.class_weights,
            np.sqrt(counts),
            counts <= self.collapse_count,
            self.price,
            self.bias_decay,
        )
        if len(counts) == 2 and self.bias_decay is None:
            point = program.accepted(program.point(self._two_groups().scaled_columns(np.sqrt(counts)), None))
        else:
            point = program.solve()
        found = ImbalancedOptimum(self, point)
        found.check_width(self.width)
        return found

    def _two_groups(self) -> GroupMatrix:
        (majority, minority), (n, m) = self.groups.sizes, self.groups.counts
        log_price = math.log(self.num_samples) + math.log(self.price)
        prices = log_price - math.log(n) / 2, log_price - math.log(m) / 2
        z = stationary(majority, minority, *prices, stretch=math.sqrt(n / m))
        if z is None:
            a, b = within_group_only(majority, minority, prices[0]), within_group_only(minority, majority, prices[1])
            z = TwoGroupLogits(majority, minority, a, b, 0.0, 0.0)
        return z.matrix()


@dataclass(frozen=True)
class ImbalancedOptimum(GroupOptimum):
    """The optimum of `problem`: logits `z` without the bias, one sample a class, and `bias` (G,) where there is one."""

    problem: UnconstrainedImbalanced
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
    def bias(self) -> Float64[np.ndarray, " g"] | None:
        """The bias of one class of each group; a free one is unique up to a common shift."""
        return self.reduced.bias

    @property
    def weight_scale(self) -> float:
        """sqrt(lH/lW)."""
        return math.sqrt(self.problem.feature_decay) / math.sqrt(self.problem.weight_decay)

    @property
    def column_counts(self) -> Float64[np.ndarray, " g"]:
        """Samples a class."""
        return np.array(self.groups.counts)

    @property
    def value(self) -> float:
        """F, in nats."""
        return self.reduced.value

    @property
    def gap(self) -> float:
        """F less Fenchel's lower bound."""
        return self.reduced.gap

    @property
    def trivial(self) -> bool:
        """Whether classifier and features are all zero."""
        return not (self.z.contrast.any() or self.z.block.any())

    @property
    def note(self) -> str | None:
        """Why all is zero, where it is."""
        if not self.trivial:
            return None
        return (
            "zero classifier and features are optimal, because the decays charge sqrt(lW lH) = "
            f"{self.problem.price:g} for a unit of logits, and none gains more"
        )

    @cached_property
    def _nuclear_norm(self) -> float:
        return self.z.scaled_columns(np.sqrt(self.column_counts)).nuclear_norm

    @property
    def weight_norm_squared(self) -> float:
        """|W|^2."""
        return self.weight_scale * self._nuclear_norm

    @property
    def feature_norm_squared(self) -> float:
        """|H|^2 over all N samples; lW |W|^2 = lH |H|^2."""
        return self._nuclear_norm / self.weight_scale

    def facts(self) -> Facts:
        """Norms, loss, phase, the count up to which classes collapse, cosines, gap, lengths, and a note.

        NaN marks what is undefined: cosines of zero vectors, and of pairs that do not exist.
        """
        numbers: Facts = {name: getattr(self, name) for name in ("a", "b", "r", "rho")} if self._pair else {}
        return {
            "phase": self.phase,
            **numbers,
            "collapse_count": self.problem.collapse_count,
            "least_margin": self.least_margin,
            "weight_norm_squared": self.weight_norm_squared,
            "feature_norm_squared": self.feature_norm_squared,
            "loss": self.value,
            **self._classifier_cosines(),
            "gap": self.gap,
            **self._more_geometry(),
            "rank": self.rank,
            "note": self.note,
        }

    def factors(
        self, members: Int64[np.ndarray, " k"] | None = None
    ) -> tuple[Float64[Tensor, "k d"], Float64[Tensor, "k d"]]:
        """W and one feature vector a class, in rows: in the order of the groups, or of `members`."""
        return self._factors(self.problem.width, members)

    def point(self) -> Point:
        """The same as values of the problem's variables."""
        classifier, features = self.factors()
        point = {"classifier": classifier, "features": features.repeat_interleave(self.problem.class_counts, dim=0)}
        if self.bias is not None:
            point["bias"] = torch.from_numpy(np.repeat(self.bias, self.groups.sizes))
        return point
