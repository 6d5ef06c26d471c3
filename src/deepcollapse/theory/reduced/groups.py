"""Classes that are alike, put together: matrices that do not change when classes of one group are exchanged.

By symmetry the optimum of every model here is such a matrix, so a few numbers a group stand for any number of classes.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Float64, Int64

from deepcollapse.errors import OptionError, TooFewClassesError


@dataclass(frozen=True)
class Groups:
    """`sizes[g]` classes with `counts[g]` samples each, for every group g; largest counts first.

    Counts may be any numbers in proportion to the samples; a count of 0 is a class that is never seen. Raises
    OptionError for sizes below 1, negative counts or nothing but zeros, TooFewClassesError for fewer than two classes.

    >>> Groups.of([5, 500, 5, 500])
    Groups(sizes=(2, 2), counts=(500.0, 5.0))
    """

    sizes: tuple[int, ...]
    counts: tuple[float, ...]

    def __post_init__(self) -> None:
        if len(self.sizes) != len(self.counts) or any(size < 1 for size in self.sizes):
            raise OptionError(
                f"groups need one count and at least one class each; got sizes {self.sizes} and counts {self.counts}."
            )
        if not all(0 <= count < np.inf for count in self.counts) or not any(self.counts):
            raise OptionError(f"samples a class must be finite, 0 or more, and not all 0; got {self.counts}.")
        if self.num_classes < 2:
            raise TooFewClassesError("theory compares classes: it needs at least 2 of them; got 1.")

    @classmethod
    def of(cls, counts: Sequence[int | float]) -> "Groups":
        """Classes of equal count put together, largest counts first."""
        found = sorted(Counter(float(count) for count in counts).items(), reverse=True)
        return cls(tuple(size for _, size in found), tuple(count for count, _ in found))

    @classmethod
    def two(cls, majority: int, minority: int, ratio: float) -> "Groups":
        """Two groups whose counts stand in a ratio R of 1 or more; an infinite R means no minority samples at all."""
        if not ratio >= 1:
            raise OptionError(f"the ratio of majority to minority samples must be 1 or more; got {ratio:g}.")
        return cls((majority, minority), (1.0, 0.0) if np.isinf(ratio) else (float(ratio), 1.0))

    @property
    def num_classes(self) -> int:
        """K, the number of classes."""
        return sum(self.sizes)

    @cached_property
    def class_weights(self) -> Float64[np.ndarray, " g"]:
        """n_g / N, the share of the samples that one class of each group has."""
        size, count = np.array(self.sizes, dtype=float), np.array(self.counts)
        return count / (size @ count)

    def members(self, counts: Sequence[int | float]) -> Int64[np.ndarray, " c"]:
        """The group of each class, for the per-class counts that `Groups.of` was given."""
        position = {count: group for group, count in enumerate(self.counts)}
        return np.array([position[float(count)] for count in counts], dtype=np.int64)


@dataclass(frozen=True)
class GroupMatrix:
    """M_ij = block_gh / sqrt(K_g K_h) + [g = h] contrast_g ([i = j] - 1/K_g) for classes i of group g and j of h.

    `contrast` (G,) acts on differences inside a group, `block` (G, G) on the span of the group indicators: its
    singular values are contrast_g, K_g - 1 times each, and those of block.

    >>> m = GroupMatrix((2, 1), np.array([1.0, 0.0]), np.eye(2))
    >>> m.dense().tolist()
    [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]
    """

    sizes: tuple[int, ...]
    contrast: Float64[np.ndarray, " g"]
    block: Float64[np.ndarray, "g g"]

    @cached_property
    def multiplicity(self) -> Float64[np.ndarray, " g"]:
        """K_g - 1: how often each contrast occurs among the singular values."""
        return np.array(self.sizes, dtype=float) - 1

    @cached_property
    def singular_values(self) -> Float64[np.ndarray, " g"]:
        """Those of `block`, largest first."""
        return np.linalg.svd(self.block, compute_uv=False)

    @property
    def nuclear_norm(self) -> float:
        """The sum of all singular values."""
        return float(self.multiplicity @ np.abs(self.contrast) + self.singular_values.sum())

    @property
    def spectral_norm(self) -> float:
        """The largest singular value."""
        real = np.abs(self.contrast)[self.multiplicity > 0]
        return float(max(self.singular_values[0], *real)) if len(real) else float(self.singular_values[0])

    def inner(self, other: "GroupMatrix") -> float:
        """<M, other>, the sum of products of entries."""
        return float(self.multiplicity @ (self.contrast * other.contrast) + (self.block * other.block).sum())

    def scaled_columns(self, factors: Float64[np.ndarray, " g"]) -> "GroupMatrix":
        """M diag(factors), a factor for all classes of each group."""
        return GroupMatrix(self.sizes, self.contrast * factors, self.block * factors)

    def times(self, factor: float) -> "GroupMatrix":
        """factor M."""
        return GroupMatrix(self.sizes, factor * self.contrast, factor * self.block)

    @cached_property
    def own(self) -> Float64[np.ndarray, " g"]:
        """The diagonal entry of a class of each group."""
        size = np.array(self.sizes, dtype=float)
        return self.contrast * (size - 1) / size + np.diag(self.block) / size

    @cached_property
    def other(self) -> Float64[np.ndarray, "g g"]:
        """The entry between different classes of groups g and h; of no meaning for g = h with a single class."""
        size = np.array(self.sizes, dtype=float)
        return self.block / np.sqrt(np.outer(size, size)) - np.diag(self.contrast / size)

    def dense(self, members: Int64[np.ndarray, " c"] | None = None) -> Float64[np.ndarray, "c c"]:
        """The K x K matrix, classes in the order of groups or of `members` (the group of each class)."""
        if members is None:
            members = np.repeat(np.arange(len(self.sizes)), self.sizes)
        matrix = self.other[np.ix_(members, members)]
        np.fill_diagonal(matrix, self.own[members])
        return matrix


@dataclass(frozen=True)
class Balanced:
    """The Gram matrices of the balanced factors W, H of Z = W H, with per-class weights n on the columns of H.

    `classifier` is W W^T = kW (Zt Zt^T)^{1/2} and `features` is H^T H, one column a class, for Zt = Z diag(sqrt n).

    >>> identity = GroupMatrix((3,), np.array([1.0]), np.zeros((1, 1)))
    >>> Balanced.of(identity, np.ones(1), 2.0).cosine("classifier", 0, 0)  # a simplex ETF
    -0.5
    """

    classifier: GroupMatrix
    features: GroupMatrix

    @classmethod
    def of(cls, z: GroupMatrix, counts: Float64[np.ndarray, " g"], weight_scale: float) -> "Balanced":
        """`weight_scale` is kW, sqrt(lH/lW) or sqrt(E_W/E_H); its inverse scales the features."""
        root = np.sqrt(counts)
        left, values, right = np.linalg.svd(z.block * root)
        classifier = GroupMatrix(z.sizes, np.abs(z.contrast) * root, (left * values) @ left.T).times(weight_scale)
        # A count of 0 is a class that costs nothing: its features are not determined here, and stay zero.
        back = np.divide(1.0, root, out=np.zeros_like(root), where=root > 0)
        block = (right.T * values) @ right * np.outer(back, back)
        features = GroupMatrix(z.sizes, np.abs(z.contrast) * back, block).times(1 / weight_scale)
        return cls(classifier, features)

    def norm_squared(self, of: str, group: int) -> float:
        """The squared norm of a class's vector, `of` the classifier or of the features."""
        return max(0.0, float(getattr(self, of).own[group]))

    def cosine(self, of: str, g: int, h: int) -> float:
        """The cosine of two different classes of groups g and h; NaN for zero vectors or where there is no pair."""
        gram: GroupMatrix = getattr(self, of)
        norms = float(gram.own[g]) * float(gram.own[h])
        # Vectors below this share of the whole are zero but for rounding, and have no direction.
        floor = (1e-12 * gram.spectral_norm) ** 2
        if (g == h and gram.sizes[g] == 1) or norms <= floor:
            return float("nan")
        return float(np.clip(gram.other[g, h] / np.sqrt(norms), -1.0, 1.0))
