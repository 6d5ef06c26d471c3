r"""How many dimensions a matrix uses: effective, stable and numerical rank, and their relatives.

For every matrix but zero, 1 <= stable rank <= participation ratio <= energy effective rank <= effective rank <= rank:
exponentials of Renyi entropies, of falling order, of ever less uneven shares.

Every measure takes a matrix (m, n), or its singular values (r,) where they are known already. A matrix is taken as it
is: whether features are centred first is the caller's choice and belongs into the record. Only ratios to the largest
singular value enter, so that no scale overflows or vanishes. Of a zero matrix the numerical rank is 0, all else NaN.
"""

from functools import partial

import torch
from jaxtyping import Float, Float64
from torch import Tensor

from deepcollapse.errors import NonFiniteError, OptionError, ShapeError
from deepcollapse.geometry.metric import metric
from deepcollapse.linalg import as_float64

INFINITY = float("inf")

_measure = partial(
    metric, collapsed=None, invariant_to=("rotation", "scale"), cost="O(m n min(m, n))", needs=("matrix",)
)


def checked_matrix(values: Tensor, name: str = "rows", shape: str = "(classes, dim)") -> Float64[Tensor, "m n"]:
    """`values` in float64, or ShapeError where it is no matrix, or NonFiniteError where it holds NaN or infinity."""
    if values.ndim == 0:
        raise ShapeError(f"{name} is a single number; expected {shape}.")
    if values.ndim != 2 or values.shape[1] == 0:
        raise ShapeError(f"{name} has shape {tuple(values.shape)}; expected {shape}. Flatten or pool other axes first.")
    return checked_finite(values, name)


def checked_finite(values: Tensor, name: str) -> Float64[Tensor, "..."]:
    """`values` in float64, or NonFiniteError for NaN or infinity among them, and OptionError for complex numbers."""
    if values.is_complex():
        raise OptionError(f"{name} holds complex numbers ({values.dtype}); expected real ones.")
    if not values.isfinite().all():
        count = int((~values.isfinite()).sum())
        raise NonFiniteError(f"{name} holds {count} NaN or infinite entries; leave out what they belong to.")
    return as_float64(values)


def rescaled(values: Float64[Tensor, "*shape"]) -> tuple[Float64[Tensor, "*shape"], Float64[Tensor, ""]]:
    """`values` divided by a power of two near the largest magnitude, and that power: squares cannot overflow.

    >>> small, scale = rescaled(torch.tensor([3e200, 4e200], dtype=torch.float64))
    >>> small.norm().item() < 4, (small * scale).tolist()
    (True, [3e+200, 4e+200])
    """
    peak = values.abs().max() if values.numel() else values.new_zeros(())
    # A power of two divides without rounding, so that nothing depends on the scale.
    scale = torch.where(peak > 0, peak / (2 * torch.frexp(peak).mantissa), 1.0)
    return values / scale, scale


def singular_values(matrix: Float[Tensor, "m n"]) -> Float64[Tensor, " r"]:
    r"""The min(m, n) singular values of a matrix (m, n), largest first, in the unit of its entries.

    At least 0; unchanged by rotation on either side, proportional to scale. Matrices of any magnitude are safe.
    Raises ShapeError, NonFiniteError.

    >>> singular_values(torch.tensor([[3.0, 0.0], [0.0, 4.0], [0.0, 0.0]])).tolist()
    [4.0, 3.0]
    """
    small, scale = rescaled(checked_matrix(matrix, "matrix", "(rows, columns)"))
    return _svdvals(small) * scale


def _svdvals(matrix: Float64[Tensor, "m n"]) -> Float64[Tensor, " r"]:
    # Of wide matrices torch takes up to eight times as long as of the same ones turned.
    return torch.linalg.svdvals(matrix.T if matrix.shape[0] < matrix.shape[1] else matrix)


def relative_spectrum(matrix: Float[Tensor, "m n"] | Float[Tensor, " r"]) -> Float64[Tensor, " s"]:
    """Singular values of a matrix, or those given, largest first and divided by the largest; none of a zero matrix."""
    if matrix.ndim == 1:
        s = checked_finite(matrix, "matrix").sort(descending=True).values
        if len(s) and s[-1] < 0:
            raise OptionError(
                f"a vector is read as singular values, which are at least 0; got {matrix.min().item():g} among them. "
                "Pass the matrix itself, or singular_values(matrix)."
            )
    else:
        s = _svdvals(rescaled(checked_matrix(matrix, "matrix", "(rows, columns)"))[0])
    return s / s[0] if len(s) and s[0] > 0 else s[:0]


def rounding_tolerance(matrix: Tensor) -> float:
    """max(m, n) * eps of the type that the matrix came in: singular values below that share of s_1 are rounding.

    Whole numbers are rounded only when they are taken in float64.
    """
    came_in = matrix.dtype if matrix.dtype.is_floating_point else torch.float64
    eps = min(torch.finfo(came_in).eps, torch.finfo(torch.float32).eps)
    return min(max(matrix.shape) * eps, 0.5)


def _nan_like(s: Float64[Tensor, " r"]) -> Float64[Tensor, ""]:
    return s.new_full((), torch.nan)


def _exp_entropy(p: Float64[Tensor, " r"]) -> Float64[Tensor, ""]:
    return torch.special.entr(p).sum().exp()  # entr(0) = 0


@_measure(symbol="effective rank", source="roy2007", range=(1.0, INFINITY), collapsed_formula="C-1")
def effective_rank(matrix: Float[Tensor, "m n"] | Float[Tensor, " r"]) -> Float64[Tensor, ""]:
    r"""exp(-sum_j p_j log p_j) with p = s / sum s: the number of equal singular values with the same entropy.

    Takes a matrix (m, n) or its singular values s (r,). Dimensionless, in [1, min(m, n)]; k for k equal singular values
    and zeros, so C-1 for collapsed features centred on the mean of their class means. NaN for a zero matrix. Raises
    ShapeError, NonFiniteError, and OptionError for negative singular values. Source: Roy & Vetterli 2007.

    >>> round(effective_rank(torch.eye(3)).item(), 12)
    3.0
    """
    s = relative_spectrum(matrix)
    return _exp_entropy(s / s.sum()) if len(s) else _nan_like(s)


@_measure(symbol="RankMe", source="garrido2023", range=(0.0, INFINITY))
def rankme(matrix: Float[Tensor, "m n"] | Float[Tensor, " r"]) -> Float64[Tensor, ""]:
    r"""exp(-sum_j p_j log p_j) with p = s / sum s + 1e-7, not normalised again; meant for features left uncentred.

    `effective_rank` up to the 1e-7, which also gives each exact zero a little weight; dimensionless, the same range and
    errors, to within that. NaN for a zero matrix. Source: Garrido et al. 2023.

    >>> round(rankme(torch.eye(3)).item(), 6)
    3.0
    """
    s = relative_spectrum(matrix)
    return _exp_entropy(s / s.sum() + 1e-7) if len(s) else _nan_like(s)


@_measure(symbol="stable rank", source="rudelson2007", range=(1.0, INFINITY), collapsed_formula="C-1")
def stable_rank(matrix: Float[Tensor, "m n"] | Float[Tensor, " r"]) -> Float64[Tensor, ""]:
    r"""sum_j s_j^2 / s_1^2, the squared Frobenius norm over the squared spectral norm.

    Takes a matrix (m, n) or its singular values s (r,). Dimensionless, in [1, rank]; C-1 for collapsed, balanced
    features centred on their mean. Small singular values hardly count. NaN for a zero matrix. Raises ShapeError,
    NonFiniteError, and OptionError for negative singular values. Source: Rudelson & Vershynin 2007.

    >>> stable_rank(torch.tensor([2.0, 1.0, 1.0])).item()
    1.5
    """
    s = relative_spectrum(matrix)
    return s.square().sum() if len(s) else _nan_like(s)


@_measure(symbol="participation ratio", source="gao2017", range=(1.0, INFINITY), collapsed_formula="C-1")
def participation_ratio(matrix: Float[Tensor, "m n"] | Float[Tensor, " r"]) -> Float64[Tensor, ""]:
    r"""(sum_j s_j^2)^2 / sum_j s_j^4: the number of equal covariance eigenvalues with the same mean square.

    Takes a matrix (m, n) or its singular values s (r,). Dimensionless, in [1, rank]; C-1 for collapsed, balanced
    features centred on their mean. NaN for a zero matrix. Raises ShapeError, NonFiniteError, and OptionError for
    negative singular values. Source: Gao et al. 2017.

    >>> round(participation_ratio(torch.tensor([2.0, 1.0])).item(), 6)
    1.470588
    """
    s = relative_spectrum(matrix)
    return s.square().sum().square() / s.pow(4).sum() if len(s) else _nan_like(s)


@_measure(symbol="energy eff. rank", source="delgiudice2021", range=(1.0, INFINITY), collapsed_formula="C-1")
def energy_effective_rank(matrix: Float[Tensor, "m n"] | Float[Tensor, " r"]) -> Float64[Tensor, ""]:
    r"""exp(-sum_j q_j log q_j) with q = s^2 / sum s^2: `effective_rank` with shares of energy, not of amplitude.

    Takes a matrix (m, n) or its singular values s (r,). Dimensionless, in [1, rank]; between the participation ratio
    and the effective rank; C-1 for collapsed, balanced features centred on their mean. NaN for a zero matrix. Raises
    ShapeError, NonFiniteError, and OptionError for negative singular values. Source: Del Giudice 2021 (there n_1).

    >>> round(energy_effective_rank(torch.tensor([2.0, 1.0])).item(), 6)
    1.649385
    """
    energy = relative_spectrum(matrix).square()
    return _exp_entropy(energy / energy.sum()) if len(energy) else _nan_like(energy)


@_measure(symbol="nuclear rank", source="ipsen2024", range=(1.0, INFINITY), collapsed_formula="C-1")
def nuclear_rank(matrix: Float[Tensor, "m n"] | Float[Tensor, " r"]) -> Float64[Tensor, ""]:
    r"""sum_j s_j / s_1, the nuclear norm over the spectral norm: the stable rank of order 1.

    Takes a matrix (m, n) or its singular values s (r,). Dimensionless, in [stable rank, rank]; C-1 for collapsed,
    balanced features centred on their mean. NaN for a zero matrix. Raises ShapeError, NonFiniteError, and OptionError
    for negative singular values. Source: Ipsen & Saibaba 2024.

    >>> nuclear_rank(torch.tensor([2.0, 1.0, 1.0])).item()
    2.0
    """
    s = relative_spectrum(matrix)
    return s.sum() if len(s) else _nan_like(s)


@_measure(symbol="energy rank", source="jolliffe2002", range=(1.0, INFINITY), collapsed_formula="ceil(0.99 (C-1))")
def energy_rank(matrix: Float[Tensor, "m n"] | Float[Tensor, " r"], energy: float | int = 0.99) -> Float64[Tensor, ""]:
    r"""The smallest r with s_1^2 + ... + s_r^2 >= `energy` sum_j s_j^2: the first r singular values hold that share.

    Takes a matrix (m, n) or its singular values s (r,); the share is 0.99 wherever it is recorded. A whole number in
    [1, rank], save that a share of 0 still takes one; all of them but 1 % for collapsed, balanced features centred on
    their mean. NaN for a zero matrix. Raises ShapeError, NonFiniteError, and OptionError for negative singular values
    or an energy outside [0, 1]. Source: Jolliffe 2002, section 6.1.1.

    >>> energy_rank(torch.tensor([3.0, 1.0]), energy=0.9).item()   # 9 of 10
    1.0
    """
    if not 0 <= energy <= 1:
        raise OptionError(f"energy is a share of the whole, from 0 to 1; got {energy}.")
    s = relative_spectrum(matrix)
    if len(s) == 0:
        return _nan_like(s)
    held = s.square().cumsum(dim=0)
    # At equality, a share that rounding moved up must not cost one more. The last always holds all.
    return (held < (energy - 1e-15) * held[-1]).sum().double() + 1


@_measure(symbol="numerical rank", source="golub2013", range=(0.0, INFINITY), collapsed_formula="C-1")
def numerical_rank(
    matrix: Float[Tensor, "m n"] | Float[Tensor, " r"], tolerance: float | None = None
) -> Float64[Tensor, ""]:
    r"""The number of singular values above `tolerance` * s_1; by default the tolerance is max(m, n) * eps.

    Takes a matrix (m, n) or its singular values (r,), for which the default is r * eps. The eps is that of the type the
    matrix came in, since it was rounded to that; half precisions, whose own bound would pass 1, are held to float32's,
    and whole numbers to float64's.
    A whole number in [0, min(m, n)]; C-1 for collapsed, centred features, 0 for a zero matrix. Raises ShapeError,
    NonFiniteError, and OptionError for negative singular values or a tolerance outside [0, 1). Source: Golub & Van Loan
    2013, section 5.4.

    >>> numerical_rank(torch.tensor([[1.0, 2.0], [2.0, 4.0]])).item()
    1.0
    """
    s = relative_spectrum(matrix)
    tolerance = rounding_tolerance(matrix) if tolerance is None else checked_share(tolerance, "tolerance")
    return (s > tolerance).sum().double()


@_measure(symbol="rank (1 %)", source="golub2013", range=(0.0, INFINITY), collapsed_formula="C-1")
def rank_at_one_percent(matrix: Float[Tensor, "m n"] | Float[Tensor, " r"]) -> Float64[Tensor, ""]:
    """The number of singular values above 1 % of the largest: `numerical_rank` at tolerance 0.01.

    Weights that were trained are hardly ever of low rank up to rounding, and often up to this. A whole number in
    [0, min(m, n)]; C-1 for collapsed, balanced, centred features, 0 for a zero matrix. Errors and source as
    `numerical_rank`.

    >>> rank_at_one_percent(torch.tensor([4.0, 3.0, 0.01])).item()
    2.0
    """
    return numerical_rank(matrix, tolerance=0.01)


@_measure(symbol="covariance rank", source="masarczyk2023", range=(1.0, INFINITY), collapsed_formula="C-1")
def covariance_rank(matrix: Float[Tensor, "m n"] | Float[Tensor, " r"], threshold: float = 1e-3) -> Float64[Tensor, ""]:
    r"""The number of covariance eigenvalues s_j^2 above `threshold` times the largest: the tunnel papers' rank.

    Takes features (n, d) that are centred already, or their singular values. A whole number in [1, min(m, n)]; C-1 for
    collapsed, balanced features. NaN for a zero matrix. Raises ShapeError, NonFiniteError, and OptionError for negative
    singular values or a threshold outside [0, 1). Source: Masarczyk et al. 2023.

    >>> covariance_rank(torch.tensor([1.0, 0.1, 0.01])).item()
    2.0
    """
    s, threshold = relative_spectrum(matrix), checked_share(threshold, "threshold")
    return (s.square() > threshold).sum().double() if len(s) else _nan_like(s)


def checked_share(value: float, name: str) -> float:
    """`value`, or OptionError where it is outside [0, 1)."""
    if not 0 <= value < 1:
        raise OptionError(f"{name} is a share of the largest, at least 0 and below 1; got {value}.")
    return value


def alpha_req_window(
    matrix: Float[Tensor, "m n"] | Float[Tensor, " r"], lo: int = 1, hi: int | None = None
) -> tuple[int, int]:
    r"""The first and last index (from 1, both included) of the eigenvalues that `alpha_req` fits.

    `hi` is cut at the numerical rank, past which eigenvalues are rounding, and is that rank where None. Record it
    beside alpha: the slope depends on it. Raises OptionError where lo < 1 or hi <= lo.

    >>> alpha_req_window(torch.tensor([3.0, 2.0, 1.0, 0.0]))
    (1, 3)
    """
    return _window(int(numerical_rank(matrix)), lo, hi)


def _window(rank: int, lo: int, hi: int | None) -> tuple[int, int]:
    if lo < 1 or (hi is not None and hi <= lo):
        raise OptionError(f"the window runs from lo >= 1 to hi > lo, counted from 1; got lo={lo}, hi={hi}.")
    return lo, rank if hi is None else min(hi, rank)


@_measure(symbol="alpha", source="agrawal2022", range=(0.0, INFINITY), collapsed=0.0)
def alpha_req(
    matrix: Float[Tensor, "m n"] | Float[Tensor, " r"], lo: int = 1, hi: int | None = None
) -> Float64[Tensor, ""]:
    r"""Minus the least-squares slope of log lambda_j on log j, with lambda_j = s_j^2 the covariance eigenvalues.

    Takes features (n, d) that are centred already, or their singular values; j runs over `alpha_req_window`.
    Dimensionless, at least 0; 0 for a flat spectrum, as that of collapsed, balanced features. NaN where the window
    holds fewer than two eigenvalues. Raises ShapeError, NonFiniteError, and OptionError for negative singular values or
    an impossible window. Source: Agrawal et al. 2022.

    >>> round(alpha_req(1 / torch.arange(1.0, 9.0)).item(), 6)
    2.0
    """
    s = relative_spectrum(matrix)
    lo, hi = _window(int((s > rounding_tolerance(matrix)).sum()), lo, hi)
    if hi <= lo:
        return _nan_like(s)
    x, y = torch.arange(lo, hi + 1, dtype=torch.float64, device=s.device).log(), 2 * s[lo - 1 : hi].log()
    x = x - x.mean()
    # The eigenvalues fall, so that a slope above 0 can only be rounding.
    return (-(x @ (y - y.mean())) / x.square().sum()).clamp(min=0)
