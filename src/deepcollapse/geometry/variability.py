"""NC1 and its family: how small the classes are beside their distances."""

import math

import torch
from jaxtyping import Float64
from torch import Tensor

from deepcollapse.errors import ScatterLevelError
from deepcollapse.geometry.metric import metric
from deepcollapse.geometry.moments import ClassMoments, Weighting
from deepcollapse.linalg import row_chunks

SHAPE = ("rotation", "scale", "translation")
PAPYAN = "Papyan, Han & Donoho 2020"
COLLAPSED_POINT = torch.zeros((), dtype=torch.float64)


def _relative_scatter_trace(moments: ClassMoments, weighting: Weighting, centre: Weighting) -> Tensor:
    """tr(Sigma_W Sigma_B^+) from whatever scatter there is: infinite where the means coincide, NaN if all does."""
    basis, s = moments.between_span(weighting, centre)
    if len(s) == 0:
        return torch.full_like(COLLAPSED_POINT, math.inf if moments.within_trace(weighting) > 0 else math.nan)
    span = moments.span
    if span is not None and (span.weighting, span.centre) == (weighting, centre):
        return moments.class_weights(weighting) @ (span.trace / moments.count)[moments.present]
    whitener = basis / s
    return (whitener * (moments.within_scatter(weighting) @ whitener)).sum()


@metric(
    symbol="NC1",
    source=f"{PAPYAN}, Fig. 6",
    range=(0.0, math.inf),
    collapsed=0.0,
    invariant_to=SHAPE,
    cost="O(N d C) in the span of the class means",
    needs=("span scatter",),
)
def within_class_variability(
    moments: ClassMoments, *, weighting: Weighting = "class", centre: Weighting | None = None
) -> Float64[Tensor, ""]:
    r"""Within-class scatter relative to between-class scatter: tr(Sigma_W Sigma_B^+) / C'.

    Dimensionless, at least 0, and 0 when every class is one point. Sigma_B^+ acts in the span of the class means, at
    most min(C'-1, d) directions, so directions are neither invented nor dropped by rounding. Absent classes are left
    out (C' are present); a class with one sample adds no scatter and biases NC1 low. If all class means coincide it is
    infinite, or NaN where nothing varies at all.

    Raises TooFewClassesError below two present classes, and ScatterLevelError where the moments hold too little
    scatter for `weighting` (a second look, `look_again`, is the cheap way to enough).

    >>> from deepcollapse import collect
    >>> moments = collect([[1.0, 0.0], [3.0, 0.0], [-2.0, 1.0], [-2.0, -1.0]], [0, 0, 1, 1], num_classes=2)
    >>> round(within_class_variability(moments).item(), 12)   # half the variance lies between the two means
    0.0625
    """
    return _relative_scatter_trace(moments, weighting, centre or weighting) / moments.num_present


@metric(
    symbol="D",
    source="He & Su 2023 (separation fuzziness)",
    range=(0.0, math.inf),
    collapsed=0.0,
    invariant_to=SHAPE,
    cost="O(N d C) in the span of the class means",
    needs=("span scatter",),
)
def separation_fuzziness(
    moments: ClassMoments, *, weighting: Weighting = "class", centre: Weighting | None = None
) -> Float64[Tensor, ""]:
    r"""Within-class scatter relative to between-class scatter, not divided by the classes: tr(Sigma_W Sigma_B^+).

    C' times NC1, with the same degenerate cases and errors (see `within_class_variability`). Dimensionless; 0 at
    collapse. Through the layers of a trained network it falls geometrically (see `equi_separation`).
    """
    return _relative_scatter_trace(moments, weighting, centre or weighting)


@metric(
    symbol="NC1_c",
    source=f"{PAPYAN}; per class",
    range=(0.0, math.inf),
    collapsed=0.0,
    invariant_to=SHAPE,
    cost="O(N d C) in the span of the class means",
    needs=("span scatter",),
)
def class_variability(
    moments: ClassMoments, *, weighting: Weighting = "class", centre: Weighting | None = None
) -> Float64[Tensor, " p"]:
    r"""NC1 of each present class alone: tr(Sigma_c Sigma_B^+) / C', shape (C',), with Sigma_c that class's covariance.

    Dimensionless, at least 0, 0 at collapse. Its average under `weighting` is NC1, so it names the classes that keep
    NC1 up. Infinite or NaN where all means coincide; raises ScatterLevelError unless scatter was kept per class or a
    second look was taken, and TooFewClassesError below two present classes.
    """
    centre = centre or weighting
    basis, s = moments.between_span(weighting, centre)
    if len(s) == 0:
        return torch.where(moments.class_variances() > 0, math.inf, math.nan).double()
    span, present = moments.span, moments.present
    if span is not None and (span.weighting, span.centre) == (weighting, centre):
        traces = span.trace
    elif moments.level == "per_class" and moments.scatter is not None:
        whitener = basis / s
        traces = torch.einsum("ik,cij,jk->c", whitener, moments.scatter, whitener)
    else:
        raise ScatterLevelError(
            f"NC1 of each class needs more than these moments hold (scatter={moments.level!r}). Collect with "
            "scatter='per_class', or look again in the span of the class means: look_again(moments, batches)."
        )
    return (traces / moments.count)[present] / moments.num_present


@metric(
    symbol="eig",
    source="generalised eigenvalues of (Sigma_W, Sigma_B)",
    range=(0.0, math.inf),
    collapsed=0.0,
    invariant_to=SHAPE,
    cost="O(N C^2 + C^3) after a second look",
    needs=("span scatter",),
)
def generalised_eigenvalues(
    moments: ClassMoments, *, weighting: Weighting = "class", centre: Weighting | None = None
) -> Float64[Tensor, " k"]:
    r"""Eigenvalues of Sigma_B^{+1/2} Sigma_W Sigma_B^{+1/2}, largest first, shape (k,) with k <= min(C'-1, d).

    Dimensionless, at least 0, all 0 at collapse. Their sum is `separation_fuzziness`; the largest belongs to the
    direction in which the classes are worst separated. Empty where all means coincide. Raises ScatterLevelError and
    TooFewClassesError as NC1 does.

    >>> from deepcollapse import collect
    >>> moments = collect([[1.0], [3.0], [-1.0], [-3.0]], [0, 0, 1, 1], num_classes=2)
    >>> round(generalised_eigenvalues(moments)[0].item(), 12)
    0.25
    """
    centre = centre or weighting
    span = moments.span
    if span is not None and span.matrix is not None and (span.weighting, span.centre) == (weighting, centre):
        relative = span.matrix
    else:
        basis, s = moments.between_span(weighting, centre)
        whitener = basis / s
        relative = whitener.T @ moments.within_scatter(weighting) @ whitener
    return torch.linalg.eigvalsh((relative + relative.T) / 2).flip(0).clamp(min=0)


@metric(
    symbol="eig_max",
    source="generalised eigenvalues of (Sigma_W, Sigma_B)",
    range=(0.0, math.inf),
    collapsed=0.0,
    invariant_to=SHAPE,
    cost="O(N C^2 + C^3) after a second look",
    needs=("span scatter",),
)
def largest_generalised_eigenvalue(
    moments: ClassMoments, *, weighting: Weighting = "class", centre: Weighting | None = None
) -> Float64[Tensor, ""]:
    """The largest of `generalised_eigenvalues`: within- over between-class variance in the worst direction.

    Dimensionless, at least 0, 0 at collapse; NaN where all class means coincide.
    """
    eigenvalues = generalised_eigenvalues(moments, weighting=weighting, centre=centre)
    return eigenvalues[0] if len(eigenvalues) else torch.full_like(COLLAPSED_POINT, math.nan)


@metric(
    symbol="tr W / tr B",
    source="Tirer, Huang & Niles-Weed 2023",
    range=(0.0, math.inf),
    collapsed=0.0,
    invariant_to=SHAPE,
    cost="O(C d)",
    needs=("moments",),
)
def trace_ratio(
    moments: ClassMoments, *, weighting: Weighting = "class", centre: Weighting | None = None
) -> Float64[Tensor, ""]:
    r"""Total within-class over total between-class variance: tr Sigma_W / tr Sigma_B.

    Dimensionless, at least 0, 0 at collapse; infinite where all means coincide, NaN where nothing varies at all. The
    quotient of nuclear norms is the same number. Raises TooFewClassesError below two present classes.

    >>> from deepcollapse import collect
    >>> trace_ratio(collect([[1.0], [3.0], [-1.0], [-3.0]], [0, 0, 1, 1], num_classes=2)).item()
    0.25
    """
    return moments.within_trace(weighting) / moments.between_trace(weighting, centre)


@metric(
    symbol="log(tr W / tr B)",
    source="Tirer, Huang & Niles-Weed 2023; logarithm",
    range=(-math.inf, math.inf),
    collapsed=-math.inf,
    invariant_to=SHAPE,
    cost="O(C d)",
    needs=("moments",),
)
def log_trace_ratio(
    moments: ClassMoments, *, weighting: Weighting = "class", centre: Weighting | None = None
) -> Float64[Tensor, ""]:
    """The natural logarithm of `trace_ratio`, minus infinity at collapse."""
    return trace_ratio(moments, weighting=weighting, centre=centre).log()


def _scatter_quotient(
    moments: ClassMoments, weighting: Weighting, centre: Weighting | None, order: int | str
) -> Tensor:
    within = torch.linalg.matrix_norm(moments.within_scatter(weighting), ord=order)
    return within / torch.linalg.matrix_norm(moments.between_scatter(weighting, centre), ord=order)


@metric(
    symbol="|W|_F / |B|_F",
    source="norm quotients of the scatters",
    range=(0.0, math.inf),
    collapsed=0.0,
    invariant_to=SHAPE,
    cost="O(d^2)",
    needs=("pooled scatter",),
)
def frobenius_quotient(
    moments: ClassMoments, *, weighting: Weighting = "class", centre: Weighting | None = None
) -> Float64[Tensor, ""]:
    """Frobenius norm of Sigma_W over that of Sigma_B: dimensionless, 0 at collapse, needs d x d scatter."""
    return _scatter_quotient(moments, weighting, centre, "fro")


@metric(
    symbol="|W|_2 / |B|_2",
    source="norm quotients of the scatters",
    range=(0.0, math.inf),
    collapsed=0.0,
    invariant_to=SHAPE,
    cost="O(d^3)",
    needs=("pooled scatter",),
)
def spectral_quotient(
    moments: ClassMoments, *, weighting: Weighting = "class", centre: Weighting | None = None
) -> Float64[Tensor, ""]:
    """Largest eigenvalue of Sigma_W over that of Sigma_B: dimensionless, 0 at collapse, needs d x d scatter."""
    return _scatter_quotient(moments, weighting, centre, 2)


def _pairs(moments: ClassMoments):
    """Rows of squared distances between class means, a tile at a time: (rows, (rows, C') squared distances)."""
    if moments.num_present < 2:
        moments.class_weights()  # raises TooFewClassesError with its reason
    means = moments.class_means()
    means = means - means[0]  # a common shift would cost digits in the products below
    for rows in row_chunks(len(means), len(means)):
        squared = torch.cdist(means[rows], means, compute_mode="donot_use_mm_for_euclid_dist").square()
        yield rows, squared


def cdnv_per_pair(moments: ClassMoments) -> Float64[Tensor, "p p"]:
    r"""CDNV of each pair of present classes, (C', C'): V_ij = (v_i + v_j) / (2 |mu_i - mu_j|^2); NaN on the diagonal.

    v_c is the mean squared distance to the class mean (divided by n_c). Dimensionless, at least 0, 0 at collapse,
    infinite where two means coincide. Source: Galanti, György & Hutter 2021. Raises TooFewClassesError below two
    present classes.

    >>> from deepcollapse import collect
    >>> cdnv_per_pair(collect([[1.0], [3.0], [-1.0], [-3.0]], [0, 0, 1, 1], num_classes=2))[0, 1].item()
    0.0625
    """
    v = moments.class_variances()
    tiles = [(v[rows, None] + v) / (2 * squared) for rows, squared in _pairs(moments)]
    return torch.cat(tiles).fill_diagonal_(math.nan)


def _mean_over_pairs(moments: ClassMoments, power: int) -> Tensor:
    """The mean over pairs of (v_i + v_j) / (2 |mu_i - mu_j|^(2 power)), pairs with equal means left out."""
    v, total, pairs = moments.class_variances(), torch.zeros_like(COLLAPSED_POINT), 0
    total = total.to(v.device)
    for rows, squared in _pairs(moments):
        apart = squared > 0  # also leaves the diagonal out
        values = (v[rows, None] + v) / (2 * squared**power)
        total = total + values[apart].sum()
        pairs += int(apart.sum())
    return total / pairs if pairs else torch.full_like(total, math.nan)


@metric(
    symbol="CDNV",
    source="Galanti, György & Hutter 2021",
    range=(0.0, math.inf),
    collapsed=0.0,
    invariant_to=SHAPE,
    cost="O(C^2 d)",
    needs=("moments",),
)
def cdnv(moments: ClassMoments) -> Float64[Tensor, ""]:
    r"""Class-distance normalised variance, the mean over pairs of classes of (v_i + v_j) / (2 |mu_i - mu_j|^2).

    Dimensionless, at least 0, 0 at collapse. Pairs whose means coincide are left out (`cdnv_per_pair` shows them as
    infinite); NaN where all do. Every pair of present classes counts once whatever the weighting. Needs no d x d
    scatter. Raises TooFewClassesError below two present classes.

    >>> from deepcollapse import collect
    >>> cdnv(collect([[1.0], [3.0], [-1.0], [-3.0]], [0, 0, 1, 1], num_classes=2)).item()
    0.0625
    """
    return _mean_over_pairs(moments, power=1)


@metric(
    symbol="CDNV_2",
    source="Wu & Papyan 2024, analysis code",
    range=(0.0, math.inf),
    collapsed=0.0,
    invariant_to=("rotation", "translation"),
    cost="O(C^2 d)",
    needs=("moments",),
    unit="1/feature^2",
)
def cdnv_fourth_power(moments: ClassMoments) -> Float64[Tensor, ""]:
    r"""CDNV with the fourth power of the distance: the mean over pairs of (v_i + v_j) / (2 |mu_i - mu_j|^4).

    In one over the features' unit squared, so it changes with scale; 0 at collapse. Pairs with equal means are left
    out. Raises TooFewClassesError below two present classes.
    """
    return _mean_over_pairs(moments, power=2)


@metric(
    symbol="max CDNV",
    source="Galanti, György & Hutter 2021; worst pair",
    range=(0.0, math.inf),
    collapsed=0.0,
    invariant_to=SHAPE,
    cost="O(C^2 d)",
    needs=("moments",),
)
def cdnv_max(moments: ClassMoments) -> Float64[Tensor, ""]:
    """CDNV of the worst pair of classes: dimensionless, 0 at collapse, infinite where two class means coincide."""
    v = moments.class_variances()
    worst = []
    for rows, squared in _pairs(moments):
        values = (v[rows, None] + v) / (2 * squared)
        index = torch.arange(len(v), device=v.device)
        values = values.masked_fill(index[rows, None] == index, -math.inf)
        worst.append(values.masked_fill(values.isnan(), 0.0).amax())  # two single points in one place: 0 / 0
    return torch.stack(worst).amax()


@metric(
    symbol="floor",
    source="rounding of the features: eps^2 |mu|^2 / tr Sigma_B",
    range=(0.0, math.inf),
    collapsed=None,
    invariant_to=("rotation", "scale"),
    cost="O(C d)",
    needs=("moments",),
)
def rounding_floor(
    moments: ClassMoments, *, weighting: Weighting = "class", centre: Weighting | None = None
) -> Float64[Tensor, ""]:
    r"""The trace ratio that rounding alone would leave: eps^2 sum_c pi_c |mu_c|^2 / tr Sigma_B.

    eps belongs to the coarsest precision the features came in, so half precision puts a floor of about 1e-6 (float16)
    or 6e-5 (bfloat16) times |mu|^2 / tr Sigma_B under NC1. Dimensionless. A measured trace ratio near this number says
    nothing about the network: measure with a float32 forward pass.
    """
    eps = torch.finfo(moments.dtype).eps
    size = moments.class_weights(weighting) @ moments.class_means().square().sum(dim=1)
    return eps**2 * size / moments.between_trace(weighting, centre)
