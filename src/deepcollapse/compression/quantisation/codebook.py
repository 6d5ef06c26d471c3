r"""Weights that take few values: the values, and which of them each weight takes.

Every quantiser of this folder gives a `Quantised`. Where a mask says that weights were pruned, zero is a symbol of its
own, and only the survivors are quantised: so no value has to land on zero by chance, and pruned weights stay pruned.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod

import numpy as np
from jaxtyping import Bool, Float, Float32, Float64, Int, Int32
from numpy import ndarray

from deepcollapse.compression.storage.accounting import entropy
from deepcollapse.errors import NonFiniteError, OptionError, ShapeError

PRUNED = -1  # the index of a weight that was pruned: it takes the reserved zero


@dataclass(frozen=True, eq=False)
class Quantised:
    """Weights of few values: `values` (k,) in float32, and for each weight an index into them, -1 where it is pruned.

    Raises ShapeError where an index names no value, NonFiniteError for a value that is NaN or infinite.

    >>> few = Quantised(np.array([-0.5, 1.0], np.float32), np.array([[0, 1], [-1, 1]], np.int32))
    >>> few.array().tolist(), few.distinct, few.entropy
    ([[-0.5, 1.0], [0.0, 1.0]], 3, 1.5)
    """

    values: Float32[ndarray, " k"]
    indices: Int32[ndarray, "..."]

    def __post_init__(self) -> None:
        """Hold indices and values against one another."""
        if not np.isfinite(self.values).all():
            raise NonFiniteError(f"a codebook holds {_nonfinite(self.values)} NaN or infinite values.")
        if self.indices.size and not PRUNED <= self.indices.min() <= self.indices.max() < len(self.values):
            raise ShapeError(
                f"indices run from {self.indices.min()} to {self.indices.max()}; a codebook of {len(self.values)} "
                f"values takes {PRUNED} (pruned) to {len(self.values) - 1}."
            )

    @classmethod
    def of(
        cls, levels: Float64[ndarray, " levels"], cells: Int[ndarray, " survivors"], mask: Bool[ndarray, "..."]
    ) -> "Quantised":
        """Survivors of a mask, each of which takes the level of its cell.

        Levels are rounded to float32; levels that are equal then become one value, and those that no weight takes are
        dropped. Values rise. The survivors are in the order in which the mask is read, row by row.

        >>> Quantised.of(np.array([2.0, 1.0, 2.0]), np.array([0, 2, 1]), np.array([True, True, False, True])).values
        array([1., 2.], dtype=float32)
        """
        with np.errstate(over="ignore"):
            rounded = levels.astype(np.float32) + np.float32(0)  # -0 and 0 are one symbol
        values, place = np.unique(rounded, return_inverse=True)
        used = np.zeros(len(values), bool)
        used[place[cells]] = True
        rank = np.cumsum(used) - 1
        indices = np.full(mask.shape, PRUNED, np.int32)
        indices[mask] = rank[place[cells]]
        return cls(values[used], indices)

    def array(self) -> Float32[ndarray, "..."]:
        """The weights themselves; pruned ones are exactly 0."""
        return np.append(self.values, np.float32(0))[self.indices]  # the index -1 takes the last

    @property
    def mask(self) -> Bool[ndarray, "..."]:
        """Where a weight was not pruned."""
        return self.indices != PRUNED

    @property
    def distinct(self) -> int:
        """How many distinct values the weights take, the zero of pruned ones among them."""
        return len(self.frequencies()[0])

    def frequencies(self) -> tuple[Float32[ndarray, " distinct"], Int[ndarray, " distinct"]]:
        """The distinct values that the weights take, rising, and how often each occurs."""
        counts = np.bincount(self.indices.ravel() + 1, minlength=len(self.values) + 1)
        symbols, place = np.unique(np.append(np.float32(0), self.values), return_inverse=True)
        total = np.bincount(place, weights=counts, minlength=len(symbols)).astype(np.int64)
        return symbols[total > 0], total[total > 0]

    @property
    def entropy(self) -> float:
        """-sum_v p_v log2 p_v over the distinct values v, in bits per weight.

        No code that codes weights one by one takes fewer. In [0, log2 k]; 0 where all weights are equal.
        """
        return entropy(self.frequencies()[1])

    def distortion(self, weights: Float[ndarray, "..."]) -> float:
        """sum (w - Q(w))^2 over all weights w that these stand for, pruned ones with the others."""
        if weights.shape != self.indices.shape:
            raise ShapeError(
                f"weights have shape {weights.shape}, the indices {self.indices.shape}; both must be the same."
            )
        return float(np.square(weights.astype(np.float64) - self.array()).sum())


def split(joint: Quantised, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Quantised]:
    """Layers that were quantised end to end, taken apart; all hold the same array of values.

    Raises ShapeError where the shapes do not add up to the weights.

    >>> joint = Quantised(np.array([1.0, 2.0], np.float32), np.array([0, 1, 1], np.int32))
    >>> {name: few.array().tolist() for name, few in split(joint, {"a": (1, 1), "b": (2,)}).items()}
    {'a': [[1.0]], 'b': [2.0, 2.0]}
    """
    sizes = [prod(shape) for shape in shapes.values()]
    if sum(sizes) != joint.indices.size:
        raise ShapeError(f"the layers hold {sum(sizes)} weights; {joint.indices.size} were quantised.")
    parts = np.split(joint.indices.ravel(), np.cumsum(sizes)[:-1])
    return {
        name: Quantised(joint.values, part.reshape(shape))
        for (name, shape), part in zip(shapes.items(), parts, strict=True)
    }


def checked_weights(weights: Float[ndarray, "*shape"], name: str = "the weights") -> Float64[ndarray, "*shape"]:
    """Weights in float64, or ShapeError where there are none, or NonFiniteError where one is no number of float32.

    OptionError where some are not 0 and float32 holds all of those as 0: nothing would be left.
    """
    if weights.size == 0:
        raise ShapeError(f"{name}: shape {weights.shape} holds nothing; give at least one weight.")
    wide = weights.astype(np.float64)
    if not np.isfinite(wide).all():
        raise NonFiniteError(
            f"{name}: {_nonfinite(wide)} of {wide.size} are NaN or infinite; compress a network that trained without "
            "diverging."
        )
    if (peak := np.abs(wide).max()) > np.finfo(np.float32).max:
        raise NonFiniteError(f"{name}: the largest magnitude, {peak:g}, is beyond float32; scale the weights down.")
    if 0 < peak <= float(np.finfo(np.float32).smallest_subnormal) / 2:
        raise OptionError(
            f"{name}: the largest magnitude, {peak:g}, is 0 in float32, in which values are kept; scale the weights up."
        )
    return wide


def survivors(
    weights: Float[ndarray, "*shape"], k: int, mask: Bool[ndarray, "*mask"] | None
) -> tuple[Float64[ndarray, " survivors"], Bool[ndarray, "*shape"]]:
    """The weights to be quantised, in a row, and the mask that they come from; what every quantiser checks first.

    Raises OptionError for k below 1, ShapeError for no weights or a mask of another shape, NonFiniteError.
    """
    if k < 1:
        raise OptionError(f"k, the number of values, must be at least 1; got {k}.")
    wide = checked_weights(weights)
    kept = np.ones(wide.shape, bool) if mask is None else mask
    return wide[checked_mask(kept, wide.shape, "the weights")], kept


def checked_mask(mask: Bool[ndarray, "..."], shape: tuple[int, ...], name: str) -> Bool[ndarray, "..."]:
    """A mask of the shape of what it belongs to, or ShapeError."""
    if mask.shape != shape:
        raise ShapeError(f"{name}: shape {shape}, but the mask has shape {mask.shape}; both must be the same.")
    return mask


def _nonfinite(values: ndarray) -> int:
    return int((~np.isfinite(values)).sum())
