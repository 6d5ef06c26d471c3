"""What a layer's inputs and back-propagated signals have in common within groups of rows, streamed in float64.

For inputs z_i and signals d_i in groups, with deviations z~, d~ from their group's means: sum_i d~_i z~_i^T, the two
Gram matrices of deviations, and count and means of each group. Batches merge exactly (Chan's update about the mean), so
that one pass over the data is enough and no matrix is as long as the data.
"""

from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Float64, Int64
from torch import Tensor

from deepcollapse.errors import LabelError, NonFiniteError, ShapeError
from deepcollapse.geometry.rank import rescaled
from deepcollapse.linalg import as_float64

_LARGEST = 1e140  # of an input or signal, so that sums of 1e28 products stay finite


@dataclass(frozen=True)
class GroupMoments:
    """Count and means of each group, and products of the deviations from them.

    Attributes:
        count: (k,) rows of each group; groups without rows count as none.
        input_mean, signal_mean: (k, n) and (k, m) group means.
        cross: (m, n) sum of d~ z~^T. signal_gram: (m, m) sum of d~ d~^T.
        input_gram: (n, n) sum of z~ z~^T, or None where it was not asked for. input_square: the trace of it.
    """

    count: Int64[Tensor, " k"]
    input_mean: Float64[Tensor, "k n"]
    signal_mean: Float64[Tensor, "k m"]
    cross: Float64[Tensor, "m n"]
    signal_gram: Float64[Tensor, "m m"]
    input_gram: Float64[Tensor, "n n"] | None
    input_square: float

    @property
    def present(self) -> int:
        """How many groups have rows."""
        return int((self.count > 0).sum())

    @property
    def rows(self) -> int:
        """How many rows there are in all."""
        return int(self.count.sum())

    def between(self) -> Float64[Tensor, "m n"]:
        """sum_k n_k d_k z_k^T over group means: of rank at most the number of groups that are present."""
        return self.signal_mean.T @ (self.count[:, None] * self.input_mean)

    def signal_second_moment(self) -> Float64[Tensor, "m m"]:
        """sum_i d_i d_i^T, not centred."""
        return self.signal_gram + self.signal_mean.T @ (self.count[:, None] * self.signal_mean)

    def with_signals_times(self, factor: float) -> "GroupMoments":
        """The moments of the same inputs with signals `factor` times as large."""
        return replace(
            self,
            signal_mean=factor * self.signal_mean,
            cross=factor * self.cross,
            signal_gram=factor**2 * self.signal_gram,
        )

    def merge(self, other: "GroupMoments") -> "GroupMoments":
        """The moments of both sets of rows together."""
        count = self.count + other.count
        share = other.count.double() / count.clamp(min=1)  # whole numbers alone would divide in float32
        inputs, signals = other.input_mean - self.input_mean, other.signal_mean - self.signal_mean
        # Of a group that either side lacks no deviation between the two is left: the weight is 0.
        weight = (self.count * share)[:, None]
        gram = None
        if self.input_gram is not None and other.input_gram is not None:
            gram = (self.input_gram + other.input_gram).addmm_(inputs.T, weight * inputs)
        return GroupMoments(
            count,
            self.input_mean + share[:, None] * inputs,
            self.signal_mean + share[:, None] * signals,
            (self.cross + other.cross).addmm_(signals.T, weight * inputs),
            (self.signal_gram + other.signal_gram).addmm_(signals.T, weight * signals),
            gram,
            self.input_square + other.input_square + float((weight * inputs.square()).sum()),
        )


def group_moments(
    inputs: Float[Tensor, "r n"],
    signals: Float[Tensor, "r m"],
    groups: Int64[Tensor, " r"],
    num_groups: int,
    *,
    input_gram: bool = True,
) -> GroupMoments:
    """The moments of rows at hand. Raises ShapeError, LabelError for a group that there is not, NonFiniteError.

    >>> rows, labels = torch.tensor([[1.0], [3.0], [5.0]]), torch.tensor([0, 0, 1])
    >>> found = group_moments(rows, 2 * rows, labels, num_groups=2)
    >>> found.count.tolist(), found.cross.item(), found.between().item()
    ([2, 1], 4.0, 66.0)
    """
    if not len(inputs) == len(signals) == len(groups):
        raise ShapeError(
            f"inputs, signals and groups must have as many rows; got {len(inputs)}, {len(signals)} and {len(groups)}."
        )
    if len(groups) and not 0 <= int(groups.min()) <= int(groups.max()) < num_groups:
        raise LabelError(
            f"groups run from 0 to {num_groups - 1}; got {int(groups.min())} to {int(groups.max())}. "
            "Number them from 0, or say how many there are."
        )
    z, d, groups = as_float64(inputs), as_float64(signals), groups.to(as_float64(inputs).device)
    count = torch.bincount(groups, minlength=num_groups)
    means = []
    for rows, name in ((z, "inputs"), (d, "signals")):
        total = rows.new_zeros(num_groups, rows.shape[1]).index_add_(0, groups, rows)
        if not total.isfinite().all():
            raise NonFiniteError(f"{name} hold NaN or infinite entries. Look for a diverged network.")
        means.append(total / count.clamp(min=1)[:, None])
    z, d = z - means[0][groups], d - means[1][groups]
    for rows, name in ((z, "inputs"), (d, "signals")):
        if rows.numel() and (peak := float(rows.abs().max())) > _LARGEST:
            raise NonFiniteError(
                f"{name} reach {peak:.2g}, and their squares would overflow. Look for a diverged network."
            )
    gram = _gram(z, inputs.dtype) if input_gram else None
    return GroupMoments(count, means[0], means[1], d.T @ z, _gram(d, signals.dtype), gram, float(z.square().sum()))


def _gram(rows: Float64[Tensor, "r d"], came_in: torch.dtype) -> Float64[Tensor, "d d"]:
    """rows^T rows. Of it only the largest eigenvalue and the trace are asked, for which float32 rows need no float64.

    It costs as much as everything else together, and in float32 half of that.
    """
    # Near 1, for float32 holds squares of what lies between 1e-22 and 1e19 alone.
    near, scale = rescaled(rows)
    small = near.float() if came_in == torch.float32 else near
    return (small.T @ small).double() * scale**2
