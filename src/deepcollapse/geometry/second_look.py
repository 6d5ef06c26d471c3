"""The second look: what needs finished class means and each sample again, at no d x d cost."""

from collections.abc import Iterable
from dataclasses import replace
from functools import cached_property

import torch
import torch.distributed as dist
from jaxtyping import Float, Int64
from torch import Tensor

from deepcollapse.errors import BatchError
from deepcollapse.geometry.moments import ClassMoments, SpanScatter, Weighting
from deepcollapse.linalg import product_dtype, row_chunks


class RunningSpan:
    """Within-class scatter in the span of the finished class means: `update` with every batch again, then `compute`.

    For each sample q = diag(1/s) U^T (h - mu_y) with Sigma_B = U diag(s^2) U^T. Residuals are formed before they are
    multiplied, so float32 features keep their digits however strongly collapsed; a chunk in which rounding of the
    float32 product could still show is multiplied in float64.
    """

    def __init__(
        self,
        moments: ClassMoments,
        *,
        weighting: Weighting = "class",
        centre: Weighting | None = None,
        matrix: bool = False,
    ) -> None:
        self.moments = moments
        self.weighting: Weighting = weighting
        self.centre: Weighting = centre or weighting
        basis, s = moments.between_span(weighting, self.centre)
        self.whitener = basis / s
        self.reach = float((1 / s.square()).sum())
        self.trace = torch.zeros_like(moments.trace)
        self.seen = torch.zeros_like(moments.trace)  # sum_i |h_i - mu_y|^2, to hold against the first pass
        self.count = torch.zeros_like(moments.count)
        self.matrix = moments.mean.new_zeros(len(s), len(s)) if matrix else None
        weights = torch.zeros_like(moments.trace)
        weights[moments.present] = moments.class_weights(weighting)
        self.sample_weights = weights / moments.count.clamp(min=1)

    def update(self, features: Float[Tensor, "n d"], labels: Int64[Tensor, " n"]) -> None:
        """Add a batch: features (n, d), labels (n,) in 0..C-1, the same data as in the first pass."""
        mean, whitener, drift = self._single if product_dtype(features) == torch.float32 else self._double
        for part in row_chunks(len(labels), max(whitener.shape)):
            h, y = features[part], labels[part]
            # Gathered by index_select, subtracted and multiplied in place: half the memory traffic of plain indexing.
            residual = mean.index_select(0, y)
            torch.sub(h, residual, out=residual)
            q = drift.index_select(0, y).addmm_(residual, whitener)
            size, own = (x.norm(dim=1).double().square() for x in (residual, q))
            if q.dtype == torch.float32 and self._rounding_shows(size, own):
                residual = h.double() - self.moments.mean[y]
                q = residual @ self.whitener
                size, own = (x.square().sum(dim=1) for x in (residual, q))
            self.seen.index_add_(0, y, size)
            self.trace.index_add_(0, y, own)
            self.count += torch.bincount(y, minlength=len(self.count))
            if self.matrix is not None:
                self.matrix += (q.T @ (q * self.sample_weights[y].to(q.dtype)[:, None])).double()

    @cached_property
    def _single(self) -> tuple[Tensor, Tensor, Tensor]:
        """Means, whitener and drift in float32; and so in float64: made once, used for every batch."""
        return self._rounded(torch.float32)

    @cached_property
    def _double(self) -> tuple[Tensor, Tensor, Tensor]:
        return self._rounded(torch.float64)

    def _rounded(self, work: torch.dtype) -> tuple[Tensor, Tensor, Tensor]:
        mean = self.moments.mean.to(work)
        # Rounding the means to float32 moves every residual of a class alike; this moves it back.
        drift = (mean.double() - self.moments.mean) @ self.whitener
        return mean, self.whitener.to(work), drift.to(work)

    def _rounding_shows(self, size: Tensor, own: Tensor) -> bool:
        """Whether rounding of the float32 product adds more than 1e-8 of the whitened scatter of this chunk."""
        rounding = 4 * torch.finfo(torch.float32).eps ** 2 * float(size.sum()) * self.reach
        return rounding > 1e-8 * float(own.sum())

    def sum_over_processes(self, group: dist.ProcessGroup | None = None) -> None:
        """Add up what every process saw of its share of the data."""
        for part in (self.trace, self.seen, self.count, self.matrix):
            if part is not None:
                dist.all_reduce(part, group=group)

    def compute(self) -> ClassMoments:
        """The moments, now with `span`. Raises BatchError where the second look saw other data than the first."""
        first, second = self.moments.trace.sum(), self.seen.sum()
        # float32 residuals about means that are known better: 1e-3 tells other data from rounding.
        scale = self.moments.mean.square().amax() * self.moments.num_samples
        if not torch.equal(self.count, self.moments.count) or abs(first - second) > 1e-3 * first + 1e-10 * scale:
            raise BatchError(
                f"the second look saw other data than the first: {int(self.count.sum())} samples with total squared "
                f"deviation {float(second):.6g}, before {self.moments.num_samples} with {float(first):.6g}. Measure on "
                "batches that are the same each time (no random augmentation, no sampling with replacement)."
            )
        return replace(self.moments, span=SpanScatter(self.weighting, self.centre, self.trace, self.matrix))


def look_again(
    moments: ClassMoments,
    batches: Iterable[tuple[Tensor, Tensor]],
    *,
    weighting: Weighting = "class",
    centre: Weighting | None = None,
    matrix: bool = False,
) -> ClassMoments:
    """The same moments with scatter in the span of the class means, from the same (features, labels) batches again.

    That is what NC1 needs, under the `weighting` and `centre` that are named here, whatever level of scatter the first
    pass kept; `matrix=True` adds the (k, k) matrix for `generalised_eigenvalues`.

    >>> from deepcollapse import collect
    >>> from deepcollapse.geometry import within_class_variability
    >>> h, y = torch.tensor([[1.0], [3.0], [-1.0], [-3.0]]), torch.tensor([0, 0, 1, 1])
    >>> moments = look_again(collect(h, y, 2, scatter="none"), [(h, y)])
    >>> round(within_class_variability(moments).item(), 6)
    0.125
    """
    running = RunningSpan(moments, weighting=weighting, centre=centre, matrix=matrix)
    for features, labels in batches:
        running.update(features, labels)
    return running.compute()
