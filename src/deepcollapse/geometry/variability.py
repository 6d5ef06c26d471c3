"""NC1 and its family: how small the classes are in the directions in which their means differ."""

import math
from functools import partial

import torch
from jaxtyping import Float64
from torch import Tensor

from deepcollapse.errors import ScatterLevelError
from deepcollapse.geometry.metric import metric
from deepcollapse.geometry.moments import ClassMoments, Weighting

_measure = partial(
    metric,
    source="papyan2020",
    range=(0.0, math.inf),
    collapsed=0.0,
    invariant_to=("rotation", "scale", "translation"),
    cost="O(N C d)",
    needs=("span scatter",),
)


def _relative_scatter_trace(moments: ClassMoments, weighting: Weighting, centre: Weighting) -> Tensor:
    """tr(Sigma_W Sigma_B^+) from whatever scatter there is: infinite where the means coincide, NaN if all does."""
    if not moments.centred_means(centre).any():
        return moments.trace.new_full((), math.inf if moments.within_trace(weighting) > 0 else math.nan)
    span = moments.span
    if span is not None and (span.weighting, span.centre) == (weighting, centre):  # no second factorisation
        return moments.class_weights(weighting) @ (span.trace / moments.count)[moments.present]
    basis, s = moments.between_span(weighting, centre)
    whitener = basis / s
    return (whitener * (moments.within_scatter(weighting) @ whitener)).sum()


@_measure(symbol="NC1")
def within_class_variability(
    moments: ClassMoments, *, weighting: Weighting = "class", centre: Weighting | None = None
) -> Float64[Tensor, ""]:
    r"""Within-class scatter relative to between-class scatter: tr(Sigma_W Sigma_B^+) / C'.

    Dimensionless, at least 0, and 0 when every class is one point. Sigma_B^+ acts in the span of the class means, at
    most min(C'-1, d) directions, so directions are neither invented nor dropped by rounding. Absent classes are left
    out (C' are present); a class with one sample adds no scatter and biases NC1 low. If all class means coincide it is
    infinite, or NaN where nothing varies at all.

    Raises TooFewClassesError below two present classes, and ScatterLevelError where the moments hold too little
    scatter for `weighting` (a second look, `look_again`, is the cheap way to enough). Source: Papyan, Han & Donoho
    2020, Fig. 6.

    >>> from deepcollapse import collect
    >>> moments = collect([[1.0, 0.0], [3.0, 0.0], [-2.0, 1.0], [-2.0, -1.0]], [0, 0, 1, 1], num_classes=2)
    >>> round(within_class_variability(moments).item(), 12)   # half the variance lies between the two means
    0.0625
    """
    return _relative_scatter_trace(moments, weighting, centre or weighting) / moments.num_present


@_measure(symbol="D", source="he2023")
def separation_fuzziness(
    moments: ClassMoments, *, weighting: Weighting = "class", centre: Weighting | None = None
) -> Float64[Tensor, ""]:
    r"""Within-class scatter relative to between-class scatter, not divided by the classes: tr(Sigma_W Sigma_B^+).

    C' times NC1, with the same degenerate cases and errors (see `within_class_variability`). Dimensionless; 0 at
    collapse. Through the layers of a trained network it falls geometrically (see `equi_separation`).
    Source: He & Su 2023.

    >>> from deepcollapse import collect
    >>> round(separation_fuzziness(collect([[1.0], [3.0], [-1.0], [-3.0]], [0, 0, 1, 1], num_classes=2)).item(), 12)
    0.25
    """
    return _relative_scatter_trace(moments, weighting, centre or weighting)


@_measure(symbol="NC1_c")
def class_variability(
    moments: ClassMoments, *, weighting: Weighting = "class", centre: Weighting | None = None
) -> Float64[Tensor, " p"]:
    r"""NC1 of each present class alone: tr(Sigma_c Sigma_B^+) / C', shape (C',), with Sigma_c that class's covariance.

    Dimensionless, at least 0, 0 at collapse. Its average under `weighting` is NC1, so it names the classes that keep
    NC1 up. Infinite or NaN where all means coincide; raises ScatterLevelError unless scatter was kept per class or a
    second look was taken, and TooFewClassesError below two present classes. Source: Papyan, Han & Donoho 2020, taken
    class by class.

    >>> from deepcollapse import collect
    >>> data = [[1.0], [3.0], [-2.0], [-2.0]], [0, 0, 1, 1]
    >>> class_variability(collect(*data, num_classes=2, scatter="per_class")).round(decimals=12).tolist()
    [0.125, 0.0]
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


@_measure(symbol="eig", source="fisher1936", cost="O(N C d + C^3)")
def generalised_eigenvalues(
    moments: ClassMoments, *, weighting: Weighting = "class", centre: Weighting | None = None
) -> Float64[Tensor, " k"]:
    r"""Eigenvalues of Sigma_B^{+1/2} Sigma_W Sigma_B^{+1/2}, largest first, shape (k,) with k <= min(C'-1, d).

    Dimensionless, at least 0, all 0 at collapse. Their sum is `separation_fuzziness`; the largest belongs to the
    direction in which the classes are worst separated. Empty where all means coincide. Raises ScatterLevelError and
    TooFewClassesError as NC1 does. Source: the discriminant of Fisher 1936, for many classes.

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


@_measure(symbol="max eig", source="fisher1936", cost="O(N C d + C^3)")
def largest_generalised_eigenvalue(
    moments: ClassMoments, *, weighting: Weighting = "class", centre: Weighting | None = None
) -> Float64[Tensor, ""]:
    """The largest of `generalised_eigenvalues`: within- over between-class variance in the worst direction.

    Dimensionless, at least 0, 0 at collapse; NaN where all class means coincide. Errors and source as
    `generalised_eigenvalues`.

    >>> from deepcollapse import collect
    >>> moments = collect([[1.0], [3.0], [-1.0], [-3.0]], [0, 0, 1, 1], num_classes=2)
    >>> round(largest_generalised_eigenvalue(moments).item(), 12)
    0.25
    """
    eigenvalues = generalised_eigenvalues(moments, weighting=weighting, centre=centre)
    return eigenvalues[0] if len(eigenvalues) else moments.trace.new_full((), math.nan)
