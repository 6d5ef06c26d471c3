"""What optima of classes in groups have in common: which groups collapsed, angles, lengths, factors."""

from abc import abstractmethod
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Float64, Int64
from torch import Tensor

from deepcollapse.errors import MemoryBudgetError, OptionError
from deepcollapse.geometry import simplex_etf
from deepcollapse.linalg import memory_of
from deepcollapse.theory.problem import Optimum
from deepcollapse.theory.reduced.cross_entropy import GroupCrossEntropy
from deepcollapse.theory.reduced.groups import Balanced, GroupMatrix, Groups

Facts = dict[str, float | str | None]
# Singular values of the block below this share of the largest are rounding.
ROUNDING = 1e-10


class GroupOptimum(Optimum):
    """Logits `z` of one sample a class, K x K in groups, with the cheapest factors W and H that make them."""

    @property
    @abstractmethod
    def groups(self) -> Groups:
        """The classes."""

    @property
    @abstractmethod
    def logits(self) -> GroupMatrix:
        """Z, columns by the sample's class, bias left out."""

    @property
    @abstractmethod
    def weight_scale(self) -> float:
        """kW = sqrt(lH/lW) or sqrt(E_W/E_H): W W^T is kW (Z D Z^T)^{1/2}."""

    @property
    @abstractmethod
    def column_counts(self) -> Float64[np.ndarray, " g"]:
        """How often a class's features count in the price: the diagonal of D."""

    @property
    def bias(self) -> Float64[np.ndarray, " g"] | None:
        """The bias of one class of each group; None where the model has none."""
        return None

    @cached_property
    def balanced(self) -> Balanced:
        """The Gram matrices of classifier and features, one feature vector a class."""
        return Balanced.of(self.logits, self.column_counts, self.weight_scale)

    @cached_property
    def collapsed(self) -> tuple[bool, ...]:
        """Of each group, whether it has two classes or more and they coincide, classifiers as well as features."""
        pairs = zip(self.groups.sizes, self.logits.contrast, strict=True)
        return tuple(size > 1 and bool(contrast == 0) for size, contrast in pairs)

    @cached_property
    def erased(self) -> tuple[bool, ...]:
        """Of each group, whether its classifiers are zero: its classes have no direction."""
        return tuple(self.balanced.norm_squared("classifier", g) == 0 for g in range(len(self.groups.sizes)))

    @property
    def phase(self) -> str:
        """ "erased" where any group is, else "collapse" where any group collapsed, else "full".

        Full does not mean that all is well: classes of different counts can share directions without coinciding, which
        shows in `rank` and `margins`.
        """
        return "erased" if any(self.erased) else "collapse" if any(self.collapsed) else "full"

    @cached_property
    def margins(self) -> tuple[float, ...]:
        """The right logit less the greatest wrong one, bias included, for a sample of each group."""
        odds = GroupCrossEntropy(self.logits, self.groups.class_weights, self.bias).odds
        exists = np.array(self.groups.sizes)[:, None] - np.eye(len(odds)) > 0
        return tuple(float(m) for m in -np.where(exists, odds, -np.inf).max(axis=0))

    @property
    def least_margin(self) -> float:
        """The least of `margins` among classes that have samples."""
        return min(m for m, count in zip(self.margins, self.groups.counts, strict=True) if count > 0)

    # --- two groups ------------------------------------------------------------------------------------------------

    @cached_property
    def _pair(self) -> tuple[int, int] | None:
        """The places of majority and minority, where there are two groups."""
        if len(self.groups.sizes) != 2:
            return None
        return (0, 1) if self.groups.counts[0] >= self.groups.counts[1] else (1, 0)

    @property
    def a(self) -> float:
        """The margin of a majority sample over another majority class; NaN unless there are two groups (or one)."""
        if len(self.groups.sizes) == 1:
            return float(self.logits.contrast[0])
        return float(self.logits.contrast[self._pair[0]]) if self._pair else float("nan")

    @property
    def b(self) -> float:
        """The margin of a minority sample over another minority class; NaN unless there are two groups."""
        return float(self.logits.contrast[self._pair[1]]) if self._pair else float("nan")

    @property
    def r(self) -> float:
        """How far majority samples stand apart from the minority; NaN unless there are two groups."""
        return float(np.linalg.norm(self.logits.block[:, self._pair[0]])) if self._pair else float("nan")

    @property
    def rho(self) -> float:
        """How far minority samples stand apart from the majority; NaN unless there are two groups."""
        return float(np.linalg.norm(self.logits.block[:, self._pair[1]])) if self._pair else float("nan")

    # --- geometry --------------------------------------------------------------------------------------------------

    def _classifier_cosines(self) -> Facts:
        return self._cosines("classifier", "w")

    def _more_geometry(self) -> Facts:
        """Lengths, and the features; with two groups the closest classes too, which others tell of earlier."""
        lengths: Facts = {"norm_ratio_w": self._length_ratio("classifier")}
        facts = {**lengths, **self._cosines("features", "h"), "norm_ratio_h": self._length_ratio("features")}
        if self._pair is not None:
            facts |= {"cos_w_closest": self._closest("classifier"), "cos_h_closest": self._closest("features")}
        return facts

    def _cosines(self, of: str, letter: str) -> Facts:
        """By name for two groups; else inside each group of two classes or more, and of the two closest classes."""
        if self._pair is None:
            places = [g for g, size in enumerate(self.groups.sizes) if size > 1]
            inside: Facts = {f"cos_{letter}_group_{g + 1}": self.balanced.cosine(of, g, g) for g in places}
            return {**inside, f"cos_{letter}_closest": self._closest(of)}
        big, small = self._pair
        named = {"minority": (small, small), "majority": (big, big), "cross": (big, small)}
        return {f"cos_{letter}_{name}": self.balanced.cosine(of, *pair) for name, pair in named.items()}

    def nearest(self, of: str, group: int) -> float:
        """The greatest cosine of a class of the group with any other class; NaN where none has a direction."""
        cosines = [self.balanced.cosine(of, group, h) for h in range(len(self.groups.sizes))]
        return max((c for c in cosines if not np.isnan(c)), default=float("nan"))

    def nearest_pair(self) -> float:
        """The cosine of the two closest classifiers."""
        return self._closest("classifier")

    def _closest(self, of: str) -> float:
        """The greatest cosine of two classes, those without a direction left out."""
        each = [self.nearest(of, g) for g in range(len(self.groups.sizes))]
        return max((c for c in each if not np.isnan(c)), default=float("nan"))

    def _length_ratio(self, of: str) -> float:
        """Minority over majority where there are two groups, else shortest over longest; NaN where all are zero."""
        squares = [self.balanced.norm_squared(of, g) for g in range(len(self.groups.sizes))]
        small, big = (squares[self._pair[1]], squares[self._pair[0]]) if self._pair else (min(squares), max(squares))
        return float(np.sqrt(small / big)) if big > 0 else float("nan")

    # --- factors ---------------------------------------------------------------------------------------------------

    @cached_property
    def _directions(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Contrasts and the block's singular vectors and values, of Z D^{1/2}."""
        root = np.sqrt(self.column_counts)
        left, values, right = np.linalg.svd(self.logits.block * root)
        kept = values > ROUNDING * max(values[0], float(np.abs(self.logits.contrast * root).max()), 1e-300)
        return self.logits.contrast * root, left[:, kept], values[kept], right[kept].T

    @cached_property
    def rank(self) -> int:
        """The dimensions that classifier and features span, and so need."""
        contrast, _, values, _ = self._directions
        return len(values) + sum(size - 1 for size, c in zip(self.groups.sizes, contrast, strict=True) if c != 0)

    def check_width(self, dim: int) -> None:
        """Raise OptionError where features of dimension `dim` cannot hold the optimum."""
        if dim < self.rank:
            raise OptionError(
                f"the optimum of {self.groups.num_classes} classes spans {self.rank} dimensions, more than dim={dim}. "
                "No optimum is known in fewer: raise dim, or descend in so few by solve(problem, LBFGS())."
            )

    def _factors(
        self, dim: int, members: Int64[np.ndarray, " c"] | None
    ) -> tuple[Float64[Tensor, "c d"], Float64[Tensor, "c d"]]:
        """W and one feature vector a class, in rows; `members` gives the group of each class, groups in order else."""
        sizes, count = self.groups.sizes, self.groups.num_classes
        need, have = 3 * 8 * count * dim, memory_of(torch.device("cpu"))
        if need > have // 2:
            raise MemoryBudgetError(
                f"a classifier and features of {count} classes in dimension {dim} take {need / 1e9:.1f} GB, and half "
                f"of the memory is {have / 2e9:.1f} GB. Angles, lengths and values are at hand without them."
            )
        contrast, left, values, right = self._directions
        back = np.sqrt(self.column_counts)
        back = np.divide(1.0, back, out=np.zeros_like(back), where=back > 0)
        classifier, features = torch.zeros(2, count, dim, dtype=torch.float64)
        classes, column = 0, len(values)
        for g, size in enumerate(sizes):
            rows = slice(classes, classes + size)
            classifier[rows, : len(values)] = torch.from_numpy(left[g] * np.sqrt(values / size))
            features[rows, : len(values)] = torch.from_numpy(right[g] * np.sqrt(values / size) * back[g])
            if size > 1 and contrast[g] != 0:
                basis = simplex_etf(size, size - 1) * ((size - 1) / size * contrast[g]) ** 0.5
                classifier[rows, column : column + size - 1] = basis
                features[rows, column : column + size - 1] = basis * back[g]
                column += size - 1
            classes += size
        if members is not None:
            # Sorting the classes by group puts them where they lie in order; the inverse takes them back.
            place = torch.from_numpy(np.argsort(np.argsort(members, kind="stable"), kind="stable"))
            classifier, features = classifier[place], features[place]
        return classifier * self.weight_scale**0.5, features / self.weight_scale**0.5
