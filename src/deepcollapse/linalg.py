"""Spectra, spans and certified comparisons, in float64 where digits are at stake. Imports nothing of ours."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Float, Float64, Int64
from torch import Tensor


def as_float64(values: object) -> Tensor:
    """A float64 tensor of `values` (tensor, array or nested list), on the CPU where the device has no float64.

    >>> as_float64([[1, 2]]).dtype
    torch.float64
    """
    tensor = torch.as_tensor(values)
    return (tensor.cpu() if tensor.device.type == "mps" else tensor).to(torch.float64)


def principal_span(
    rows: Float64[Tensor, "c d"], weights: Float64[Tensor, " c"], max_rank: int, size: float = 0.0
) -> tuple[Float64[Tensor, "d k"], Float64[Tensor, " k"]]:
    """Orthonormal basis U and singular values s of sum_c weights_c rows_c rows_c^T = U diag(s^2) U^T, kernel left out.

    Works on the c x d factor, never on a d x d matrix, whose smallest eigenvalues would be rounding. At most
    `max_rank` directions are kept, and of those only s_j > max(c, d) eps max(s_1, size). Rows that are differences of
    larger vectors carry the rounding of those: `size` is their norm, sqrt(sum_c weights_c |vector_c|^2).

    >>> basis, s = principal_span(torch.eye(2).double(), torch.tensor([4.0, 1.0]).double(), max_rank=2)
    >>> s.tolist()
    [2.0, 1.0]
    """
    factor = rows * weights.sqrt()[:, None]
    _, s, right = torch.linalg.svd(factor, full_matrices=False)
    kept = s > max(factor.shape) * torch.finfo(torch.float64).eps * max(float(s[0]), size)
    rank = min(int(kept.sum()), max_rank)
    return right[:rank].T.contiguous(), s[:rank]


def first_largest(scores: Float[Tensor, "n c"]) -> Int64[Tensor, " n"]:
    """The column of each row's largest entry, the first one where several are equal, on every device.

    >>> first_largest(torch.tensor([[1.0, 3.0, 3.0]])).tolist()
    [1]
    """
    best = scores.amax(dim=1, keepdim=True)
    columns = torch.arange(scores.shape[1], device=scores.device).expand_as(scores)
    return columns.masked_fill(scores != best, scores.shape[1] - 1).amin(dim=1)


def row_chunks(count: int, width: int, limit: int = 1 << 18) -> list[slice]:
    """Slices of at most `limit` numbers of a (count, width) matrix: temporaries that stay in a processor's cache.

    At the default a float64 temporary takes 2 MiB; four times as much made class moments four times as slow, for the
    system then hands out each temporary anew, while a quarter made products slower.

    >>> row_chunks(5, 4, limit=8)
    [slice(0, 2, None), slice(2, 4, None), slice(4, 5, None)]
    """
    step = max(1, limit // max(1, width))
    return [slice(start, min(start + step, count)) for start in range(0, count, step)]


def squared_distances(
    rows: Float64[Tensor, "m d"], points: Float64[Tensor, "c d"], digits_lost: float = 1e-2
) -> Float64[Tensor, "m c"]:
    """|row_i - point_j|^2, by one product; pairs that lie close beside their norms are taken again by differences.

    A product costs a tenth of the differences and cancels only where |a - b|^2 is small beside |a|^2 + |b|^2: below
    `digits_lost` times that, the difference itself is taken. Pass points about a common centre.

    >>> squared_distances(torch.tensor([[0.0], [3.0]]).double(), torch.tensor([[0.0], [4.0]]).double()).tolist()
    [[0.0, 16.0], [9.0, 1.0]]
    """
    size = rows.square().sum(dim=1)[:, None] + points.square().sum(dim=1)
    squared = torch.addmm(size, rows, points.T, alpha=-2)
    i, j = (~(squared > digits_lost * size)).nonzero(as_tuple=True)
    for part in row_chunks(len(i), rows.shape[1]):
        squared[i[part], j[part]] = (rows[i[part]] - points[j[part]]).square().sum(dim=1)
    return squared


def product_dtype(features: Tensor) -> torch.dtype:
    """The type in which products with features keep their digits: float64 for float64, else true float32.

    Where the user lets float32 products run in less (TF32, bfloat16 passes, autocast), float64 is what is left.

    >>> product_dtype(torch.zeros(1, 1, dtype=torch.float16))
    torch.float32
    """
    try:
        loose = torch.get_float32_matmul_precision() != "highest"
    except RuntimeError:  # set for one backend alone, which this function of torch's then refuses to sum up
        loose = True
    loose = loose or torch.is_autocast_enabled(features.device.type)
    return torch.float64 if loose or features.dtype == torch.float64 else torch.float32


def memory_of(device: torch.device) -> int:
    """All the memory that `device` has, in bytes."""
    if device.type == "cuda":
        return torch.cuda.get_device_properties(device).total_memory
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") if hasattr(os, "sysconf") else 1 << 62


@dataclass(frozen=True)
class AffineArgmax:
    """The index c of the largest rows_c . (h - centre) + offsets_c, certified against rounding.

    Products run in `product_dtype`. Where the best two scores are closer than rounding could have moved them, the
    scores that could be best are taken again in float64, by `exact(h, c)` where it is given; at true ties the
    smallest index wins. `names` (C,) says what to call the rows, where not 0 to C-1. Make the rule once and call it
    with batch after batch: what depends on the rows alone is worked out at the first call.

    >>> rule = AffineArgmax(torch.eye(2).double(), torch.zeros(2).double(), torch.zeros(2).double())
    >>> rule(torch.tensor([[0.0, 1.0], [2.0, 2.0]])).tolist()
    [1, 0]
    """

    rows: Float64[Tensor, "c d"]
    offsets: Float64[Tensor, " c"]
    centre: Float64[Tensor, " d"]
    exact: Callable[[Tensor, Tensor], Tensor] | None = None
    names: Int64[Tensor, " c"] | None = None

    def __call__(self, features: Float[Tensor, "n d"]) -> Int64[Tensor, " n"]:
        """The winning index (or name) of each row of features (n, d), shape (n,)."""
        work = product_dtype(features)
        winners = torch.empty(len(features), dtype=torch.int64, device=features.device)
        for part in row_chunks(len(features), max(self.rows.shape)):
            winners[part] = self._winners(features[part], self._single if work == torch.float32 else self._double)
        return winners if self.names is None else self.names[winners]

    @cached_property
    def _single(self) -> "_Rounded":
        return _Rounded.of(self, torch.float32)

    @cached_property
    def _double(self) -> "_Rounded":
        return _Rounded.of(self, torch.float64)

    def _winners(self, h: Tensor, rule: "_Rounded") -> Tensor:
        x = h.to(rule.rows.dtype) - rule.centre
        scores = torch.addmm(rule.offsets, x, rule.rows.T)
        best, winner = scores.max(dim=1)
        # Whatever lies below this bound cannot be the largest, however the sums were rounded.
        bound = best - 2 * (x.norm(dim=1) * rule.reach[0] + rule.reach[1])
        runner_up = scores.scatter_(1, winner[:, None], -torch.inf).amax(dim=1)
        # "Not below" and "not finite" also take in whatever overflowed.
        close = (~(runner_up < bound) | ~best.isfinite()).nonzero().flatten()
        if len(close) == 0:
            return winner
        could_win = ~(scores[close] < bound[close, None])
        could_win.scatter_(1, winner[close, None], True)
        if rule.rows.dtype != torch.float64 and int(could_win.sum()) > 8 * len(close):
            # Candidates are many (say, means that all but coincide): a product costs less than going one by one.
            winner[close] = self._winners(h[close], self._double)
        else:
            winner[close] = self._settle(h[close].double(), could_win)
        return winner

    def _settle(self, h: Tensor, could_win: Tensor) -> Tensor:
        """The winners among the candidates (m, c), in float64 and one by one."""
        sample, candidate = could_win.nonzero(as_tuple=True)
        scores = torch.full(could_win.shape, -torch.inf, dtype=torch.float64, device=h.device)
        for part in row_chunks(len(sample), h.shape[1]):
            s, c = sample[part], candidate[part]
            if self.exact is not None:
                scores[s, c] = self.exact(h[s], c)
            else:
                scores[s, c] = ((h[s] - self.centre) * self.rows[c]).sum(dim=1) + self.offsets[c]
        return first_largest(scores)


@dataclass(frozen=True)
class _Rounded:
    """An AffineArgmax in the type that products run in; `reach` bounds rounding, per |h - centre| and beside it."""

    rows: Tensor
    offsets: Tensor
    centre: Tensor
    reach: tuple[float, float]

    @classmethod
    def of(cls, rule: AffineArgmax, work: torch.dtype) -> "_Rounded":
        centre = rule.centre.to(work)
        # The centre as it is after rounding: what that changes is put into the offsets, in float64.
        offsets = rule.offsets - rule.rows @ (rule.centre - centre.double())
        # Classic bound on a dot product of length d, and one for rounding what goes in.
        unit = (rule.rows.shape[1] + 4) * torch.finfo(work).eps / 2
        reach = float(rule.rows.norm(dim=1).amax()) * unit, float(offsets.abs().amax()) * unit
        return cls(rule.rows.to(work), offsets.to(work), centre, reach)
