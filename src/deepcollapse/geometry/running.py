"""Gathering class moments: from one batch after another, from a whole array, and over processes."""

import warnings
from collections.abc import Callable
from dataclasses import replace

import torch
import torch.distributed as dist
from jaxtyping import Int64, Shaped
from torch import Tensor

from deepcollapse.errors import LabelError, MemoryBudgetError, NonFiniteError, OptionError, ShapeError
from deepcollapse.geometry.moments import (
    SCATTER_LEVELS,
    ClassMoments,
    ScatterLevel,
    coarser,
    outer_products,
    scatter_bytes,
)
from deepcollapse.linalg import memory_of, row_chunks

# What `collect` may spend on scatter unasked; past it, it keeps a cheaper level.
AUTOMATIC_SCATTER_BYTES = 256 << 20
_AUTOMATIC_LEVELS: tuple[ScatterLevel, ...] = ("per_class", "pooled")  # the richest first


def read_labels(labels: object, num_classes: int, ignore_index: int = -100) -> Int64[Tensor, " n"]:
    """Labels as int64 of shape (n,), checked; soft labels (n, C) become their largest entry, with a warning.

    Raises LabelError for labels that are no integers, or outside 0..C-1 and not `ignore_index`.

    >>> read_labels([2, 0, -100], num_classes=3).tolist()
    [2, 0, -100]
    """
    y = torch.as_tensor(labels)
    if y.ndim == 2 and y.shape[1] == num_classes:
        warnings.warn(
            f"labels of shape {tuple(y.shape)} were read as soft labels: the largest entry counts.", stacklevel=2
        )
        return y.argmax(dim=1)
    if y.ndim != 1:
        raise LabelError(
            f"labels have shape {tuple(y.shape)}; expected (samples,) with whole numbers from 0 to {num_classes - 1}, "
            f"or soft labels of shape (samples, {num_classes})."
        )
    if y.dtype.is_floating_point or y.dtype.is_complex:
        raise LabelError(
            f"labels are {y.dtype}; expected whole numbers from 0 to {num_classes - 1}. Convert them with .long()."
        )
    y = y.to(torch.int64)
    wrong = ((y < 0) | (y >= num_classes)) & (y != ignore_index)
    if wrong.any():
        raise LabelError(
            f"{int(wrong.sum())} of {len(y)} labels lie outside 0..{num_classes - 1}, the first is {int(y[wrong][0])}. "
            f"Check num_classes={num_classes}, or mark samples without a label with ignore_index={ignore_index}."
        )
    return y


def finite_rows(features: Shaped[Tensor, "n d"]) -> Tensor | None:
    """Which rows are finite, or None where all of them are (found with one sum a row)."""
    # Narrow types would overflow in the sum; a float32 overflow is looked at again, entry by entry.
    wide = torch.float32 if features.dtype in (torch.float16, torch.bfloat16) else None
    if torch.isfinite(features.sum(dim=1, dtype=wide)).all():
        return None
    finite = torch.isfinite(features).all(dim=1)
    return None if finite.all() else finite


class RunningMoments:
    """Class moments of a stream of batches: `update` with each, then `compute`.

    Deviations are taken from each class's running mean in float64, so nothing is lost to a mean that is large beside
    the spread, whatever the precision of the features and however they are cut into batches.

    Args:
        num_classes: C.
        scatter: the level of scatter to keep (see ClassMoments).
        class_counts: (C,) the counts to come, which "class_weighted" needs.
        ignore_index: the label of samples to leave out.
        on_nonfinite: "raise" a NonFiniteError at NaN or infinity, or "skip" such samples and count them.
        name: what the features are called in errors, e.g. the layer.

    >>> running = RunningMoments(num_classes=2)
    >>> for h, y in [([[1.0], [3.0]], [0, 0]), ([[7.0]], [1])]:
    ...     running.update(torch.tensor(h), torch.tensor(y))
    >>> running.compute().mean.tolist()
    [[2.0], [7.0]]
    """

    def __init__(
        self,
        num_classes: int,
        *,
        scatter: ScatterLevel = "none",
        class_counts: Int64[Tensor, " c"] | None = None,
        ignore_index: int = -100,
        on_nonfinite: str = "raise",
        name: str = "features",
    ) -> None:
        if num_classes < 1:
            raise OptionError(f"num_classes must be at least 1; got {num_classes}.")
        if scatter not in SCATTER_LEVELS:
            raise OptionError(f"scatter must be one of {', '.join(map(repr, SCATTER_LEVELS))}; got {scatter!r}.")
        if on_nonfinite not in ("raise", "skip"):
            raise OptionError(f"on_nonfinite must be 'raise' or 'skip'; got {on_nonfinite!r}.")
        if (scatter == "class_weighted") != (class_counts is not None):
            raise OptionError(
                f"scatter={scatter!r} came {'with' if class_counts is not None else 'without'} class_counts; "
                "class-weighted scatter needs the counts of the whole data set beforehand, no other level takes them."
            )
        self.level: ScatterLevel = scatter
        self.num_classes, self.class_counts = num_classes, class_counts
        self.ignore_index, self.on_nonfinite, self.name = ignore_index, on_nonfinite, name
        self.batches = self.ignored = self.skipped = 0
        self.dtype: torch.dtype | None = None
        self.count = self.mean = self.trace = torch.empty(0)
        self.scatter: Tensor | None = None

    def update(self, features: Shaped[Tensor, "..."], labels: Shaped[Tensor, "..."]) -> None:
        """Add a batch: features (n, d) of any floating type, labels (n,)."""
        features, y = self._read(features, labels)
        self.batches += 1
        if self.dtype is None:
            self._start(features)
        self.dtype = coarser(self.dtype or features.dtype, features.dtype)
        for rows in row_chunks(len(y), features.shape[1]):
            self._add(features[rows], y[rows])

    def _read(self, features: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        if features.ndim != 2 or not features.dtype.is_floating_point:
            raise ShapeError(
                f"{self.name} have shape {tuple(features.shape)} and type {features.dtype}; expected floating-point "
                "(samples, dim). Pool or flatten other axes first, for example features.mean(dim=(2, 3))."
            )
        if self.dtype is not None and features.shape[1] != self.mean.shape[1]:
            raise ShapeError(
                f"{self.name} had dimension {self.mean.shape[1]} before and {features.shape[1]} in batch "
                f"{self.batches}; moments need one dimension throughout."
            )
        y = read_labels(labels, self.num_classes, self.ignore_index)
        if len(y) != len(features):
            raise ShapeError(
                f"{self.name} have {len(features)} rows and {len(y)} labels came with them; they must match."
            )
        features = features.cpu() if features.device.type == "mps" else features
        y = y.to(features.device)
        kept = y != self.ignore_index
        if not kept.all():
            self.ignored += int((~kept).sum())
            features, y = features[kept], y[kept]
        finite = finite_rows(features)
        if finite is None:
            return features, y
        if self.on_nonfinite == "raise":
            raise NonFiniteError(
                f"{self.name}, batch {self.batches}: {int((~finite).sum())} of {len(y)} samples have NaN or infinite "
                "features. Look for a diverged network or half-precision overflow, or leave such samples out with "
                "on_nonfinite='skip' (they are counted)."
            )
        self.skipped += int((~finite).sum())
        return features[finite], y[finite]

    def _start(self, features: Tensor) -> None:
        dim, like = features.shape[1], {"dtype": torch.float64, "device": features.device}
        shape = {"none": None, "per_class": (self.num_classes, dim, dim)}.get(self.level, (dim, dim))
        need = scatter_bytes(self.level, self.num_classes, dim) + 8 * self.num_classes * dim
        # Asked beforehand: the system hands out more memory than it has, and kills who uses it.
        if need > (have := memory_of(features.device)):
            raise MemoryBudgetError(
                f"{self.name}: moments of {self.num_classes} classes in dimension {dim} with scatter={self.level!r} "
                f"take {need / 1e9:.1f} GB, and {features.device.type} has {have / 1e9:.1f} GB in all. "
                "Keep a cheaper level of scatter, or pool the features."
            )
        self.scatter = torch.zeros(shape, **like) if shape else None
        self.mean = torch.zeros(self.num_classes, dim, **like)
        self.count = torch.zeros(self.num_classes, dtype=torch.int64, device=features.device)
        self.trace = torch.zeros(self.num_classes, **like)
        if self.class_counts is not None:
            self.class_counts = self.class_counts.to(features.device)

    def _add(self, features: Tensor, y: Tensor) -> None:
        """Chan's update about the running means, with `shift` summed over this chunk for each class in it.

        Only rows of classes that the chunk holds are touched, so a small batch costs little however many classes.
        """
        classes, own, here = y.unique(return_inverse=True, return_counts=True)
        before = self.count[classes]
        self._meet(features, own, classes, before == 0)
        # Gathered by index_select and subtracted in place: plain indexing takes several times as long.
        residual = self.mean.index_select(0, y)
        torch.sub(features, residual, out=residual)
        shift = residual.new_zeros(len(classes), residual.shape[1]).index_add_(0, own, residual)
        total = (before + here).double()
        self.trace.index_add_(0, y, residual.norm(dim=1).square())
        self.trace[classes] -= shift.norm(dim=1).square() / total
        if self.scatter is not None:
            self._add_scatter(residual, y, classes, shift, total)
        self.mean.index_add_(0, classes, shift.div_(total[:, None]))
        self.count.index_add_(0, classes, here)

    def _meet(self, features: Tensor, own: Tensor, classes: Tensor, new: Tensor) -> None:
        """Start each class that is seen for the first time from its first sample: differences are small and exact."""
        if new.any():
            first = torch.full_like(classes, len(own))
            first.scatter_reduce_(0, own, torch.arange(len(own), device=own.device), reduce="amin")
            self.mean[classes[new]] = features[first[new]].double()

    def _add_scatter(self, residual: Tensor, y: Tensor, classes: Tensor, shift: Tensor, total: Tensor) -> None:
        assert self.scatter is not None
        if self.level == "per_class":
            for k, c in enumerate(classes.tolist()):
                rows = residual[y == c]
                self.scatter[c] += rows.T @ rows - torch.outer(shift[k] / total[k], shift[k])
            return
        promised = None if self.class_counts is None else self.class_counts.clamp(min=1)
        weighted = residual if promised is None else residual / promised[y, None]
        self.scatter.addmm_(residual.T, weighted)
        total = total if promised is None else total * promised[classes]
        self.scatter.addmm_(shift.T, shift / total[:, None], alpha=-1)

    def compute(self) -> ClassMoments:
        """The moments of all batches so far. Raises LabelError where none has come."""
        if self.dtype is None:
            raise LabelError(f"{self.name}: no batch has come, so there are no moments. Is the data loader empty?")
        return ClassMoments(
            count=self.count.clone(),
            mean=self.mean.clone(),
            trace=self.trace.clamp(min=0),  # rounding may leave -1e-30 where a class is a single point
            scatter=None if self.scatter is None else self.scatter.clone(),
            level=self.level,
            class_counts=self.class_counts,
            dtype=self.dtype,
            ignored=self.ignored,
            skipped=self.skipped,
        )


def collect(
    features: object,
    labels: object,
    num_classes: int,
    *,
    scatter: ScatterLevel | None = None,
    class_counts: Int64[Tensor, " c"] | None = None,
    ignore_index: int = -100,
    on_nonfinite: str = "raise",
) -> ClassMoments:
    """The class moments of features (n, d) and labels (n,): tensors, arrays or nested lists.

    Without `scatter` the richest level is kept whose memory stays under 256 MiB: "per_class", else "pooled", else
    "none". That depends on C and d alone, so moments collected apart can be merged.

    Raises ShapeError, LabelError or NonFiniteError for what cannot be measured.

    >>> collect([[0.0, 1.0], [0.0, 3.0], [5.0, 5.0]], [0, 0, 1], num_classes=2).class_variances().tolist()
    [1.0, 0.0]
    """
    h, y = torch.as_tensor(features), torch.as_tensor(labels)
    if h.ndim == 2 and scatter is None:
        scatter = "none" if class_counts is None else "class_weighted"
        for level in () if class_counts is not None else _AUTOMATIC_LEVELS:
            if scatter_bytes(level, num_classes, h.shape[1]) <= AUTOMATIC_SCATTER_BYTES:
                scatter = level
                break
    running = RunningMoments(
        num_classes,
        scatter=scatter or "none",
        class_counts=class_counts,
        ignore_index=ignore_index,
        on_nonfinite=on_nonfinite,
    )
    running.update(h if h.dtype.is_floating_point else h.double(), y)
    return running.compute()


def sum_over_processes(moments: ClassMoments, group: dist.ProcessGroup | None = None) -> ClassMoments:
    """The moments of all processes' data together, the same on every process, by two all-reduces of fixed shape.

    Counts and count-weighted means are summed first; each process then moves its scatter to the global means, and
    those are summed. Every process must hold a disjoint share of the data; one without any samples takes part too.

    >>> sum_over_processes(collect([[1.0], [2.0]], [0, 1], 2)).count.tolist()   # a single process: unchanged
    [1, 1]
    """
    if not (dist.is_available() and dist.is_initialized()):
        return moments
    add: Callable[[Tensor], object] = lambda tensor: dist.all_reduce(tensor, group=group)  # noqa: E731
    n = moments.count.double()
    words = torch.tensor([moments.ignored, moments.skipped], dtype=torch.float64, device=n.device)
    first = torch.cat([n, (n[:, None] * moments.mean).flatten(), words])
    add(first)
    c, d = moments.mean.shape
    count, ignored, skipped = first[:c].round().long(), int(first[-2]), int(first[-1])
    mean = first[c : c + c * d].view(c, d) / count.clamp(min=1)[:, None]
    move = moments.mean - mean
    trace = moments.trace + n * move.square().sum(dim=1)
    scatter = moments.scatter
    if scatter is not None:
        scatter = scatter + outer_products(move, n, moments.level, moments.class_counts)
    second = torch.cat([trace] if scatter is None else [trace, scatter.flatten()])
    add(second)
    return replace(
        moments,
        count=count,
        mean=mean,
        trace=second[:c],
        scatter=None if scatter is None else second[c:].view_as(scatter),
        span=None,
        ignored=ignored,
        skipped=skipped,
    )
