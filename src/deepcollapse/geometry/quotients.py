"""Quotients of within- and between-class scatter: the coarse relatives of NC1, and the floor that rounding leaves."""

import math
from functools import partial

import torch
from jaxtyping import Float64
from torch import Tensor

from deepcollapse.geometry.metric import metric
from deepcollapse.geometry.moments import ClassMoments, Weighting

_measure = partial(
    metric,
    source="tirer2023",
    range=(0.0, math.inf),
    collapsed=0.0,
    invariant_to=("rotation", "scale", "translation"),
)


@_measure(symbol="tr W / tr B", cost="O(C d)", needs=("moments",))
def trace_ratio(
    moments: ClassMoments, *, weighting: Weighting = "class", centre: Weighting | None = None
) -> Float64[Tensor, ""]:
    r"""Total within-class over total between-class variance: tr Sigma_W / tr Sigma_B.

    Dimensionless, at least 0, 0 at collapse; infinite where all means coincide, NaN where nothing varies at all. The
    quotient of nuclear norms is the same number. Raises TooFewClassesError below two present classes.
    Source: Tirer, Huang & Niles-Weed 2023.

    >>> from deepcollapse import collect
    >>> trace_ratio(collect([[1.0], [3.0], [-1.0], [-3.0]], [0, 0, 1, 1], num_classes=2)).item()
    0.25
    """
    return moments.within_trace(weighting) / moments.between_trace(weighting, centre)


@_measure(symbol="log tr W / tr B", range=(-math.inf, math.inf), collapsed=-math.inf, cost="O(C d)", needs=("moments",))
def log_trace_ratio(
    moments: ClassMoments, *, weighting: Weighting = "class", centre: Weighting | None = None
) -> Float64[Tensor, ""]:
    """The natural logarithm of `trace_ratio`.

    Dimensionless, any number, minus infinity at collapse; degenerate cases, errors and source as `trace_ratio`.

    >>> from deepcollapse import collect
    >>> round(log_trace_ratio(collect([[1.0], [3.0], [-1.0], [-3.0]], [0, 0, 1, 1], num_classes=2)).item(), 6)
    -1.386294
    """
    return trace_ratio(moments, weighting=weighting, centre=centre).log()


def _scatter_quotient(
    moments: ClassMoments, weighting: Weighting, centre: Weighting | None, order: int | str
) -> Tensor:
    within = torch.linalg.matrix_norm(moments.within_scatter(weighting), ord=order)
    return within / torch.linalg.matrix_norm(moments.between_scatter(weighting, centre), ord=order)


@_measure(symbol="|W|_F / |B|_F", cost="O(d^2)", needs=("pooled scatter",))
def frobenius_quotient(
    moments: ClassMoments, *, weighting: Weighting = "class", centre: Weighting | None = None
) -> Float64[Tensor, ""]:
    """Frobenius norm of Sigma_W over that of Sigma_B.

    Dimensionless, at least 0, 0 at collapse; infinite where all means coincide, NaN where nothing varies at all. Needs
    d x d scatter (ScatterLevelError says which level). Raises TooFewClassesError. Source: a variant of `trace_ratio`.

    >>> from deepcollapse import collect
    >>> moments = collect([[1.0], [3.0], [-1.0], [-3.0]], [0, 0, 1, 1], num_classes=2, scatter="pooled")
    >>> frobenius_quotient(moments).item()
    0.25
    """
    return _scatter_quotient(moments, weighting, centre, "fro")


@_measure(symbol="|W|_2 / |B|_2", cost="O(d^3)", needs=("pooled scatter",))
def spectral_quotient(
    moments: ClassMoments, *, weighting: Weighting = "class", centre: Weighting | None = None
) -> Float64[Tensor, ""]:
    """Largest eigenvalue of Sigma_W over that of Sigma_B.

    Dimensionless, at least 0, 0 at collapse; degenerate cases, needs, errors and source as `frobenius_quotient`.

    >>> from deepcollapse import collect
    >>> moments = collect([[1.0], [3.0], [-1.0], [-3.0]], [0, 0, 1, 1], num_classes=2, scatter="pooled")
    >>> spectral_quotient(moments).item()
    0.25
    """
    return _scatter_quotient(moments, weighting, centre, 2)


@_measure(
    symbol="floor",
    source="higham2002",
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
    or 6e-5 (bfloat16) times |mu|^2 / tr Sigma_B under NC1. Dimensionless, at least 0; grows as features move away from
    0; infinite or NaN where all means coincide. A measured trace ratio near this number says nothing about the network:
    measure with a float32 forward pass. Raises TooFewClassesError. Source: the model of rounding in Higham 2002.

    >>> from deepcollapse import collect
    >>> features = torch.tensor([[1.0], [3.0], [-1.0], [-3.0]], dtype=torch.float16)
    >>> rounding_floor(collect(features, [0, 0, 1, 1], num_classes=2)).item() == torch.finfo(torch.float16).eps ** 2
    True
    """
    eps = torch.finfo(moments.dtype).eps
    size = moments.class_weights(weighting) @ moments.class_means().square().sum(dim=1)
    return eps**2 * size / moments.between_trace(weighting, centre)
