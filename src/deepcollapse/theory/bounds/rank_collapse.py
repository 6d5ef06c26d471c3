r"""How far a layer's weight is from rank K, and what weight decay and the variability within K groups allow.

Let Z (N, n) hold the inputs of a layer a = W z + b and D (N, m) the gradient of the mean loss with respect to its
outputs a, in rows, so that the gradient with respect to W is G = D^T Z. Split both by any K groups of rows: into the
means of the groups, and deviations Z~, D~ from them. The cross terms vanish:

    G = B + D~^T Z~,        B = sum_k n_k d_k z_k^T of rank at most K.

Let decay add (lambda / 2) |W|_F^2 to the loss, and R = lambda W + G be what is left of the gradient; 0 where training
has become stationary. Then W = (R - D~^T Z~ - B) / lambda, and since B has rank at most K, with no assumption at all,

    dist_F(W, rank <= K) <= |W + B / lambda|_F = |R - D~^T Z~|_F / lambda <= (|D~^T Z~|_F + |R|_F) / lambda,

and likewise in spectral norm, where the distance is the (K+1)st singular value. As |D~^T Z~|_F is at most
|D~|_F |Z~|_2, and D~^T Z~ = D^T Z~ (deviations sum to 0 in each group) is at most |D|_2 |Z~|_F, two more bounds follow;
the last one is the papers' "constant times variability over decay". Away from stationarity all of them stay true, but
the residual R decides their size.

Two statements need no lambda. For every number l, W l + G = R_l, so the decay l* = -<W, G> / |W|^2 for which W is
closest to stationary gives dist <= (|D~^T Z~|_F + |R_l*|_F) / l*; in units of |W|_F this is |D~^T Z~|_F / |G|_F where
W is stationary. And as every multiple of B has rank at most K, the part of W that is orthogonal to B bounds the
distance too, at most |W|_F and never above the others.

Sources: :cite:`zangrando2024` for the statement; these computable forms and their proof are ours.
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float, Float64, Int64
from torch import Tensor

from deepcollapse.errors import OptionError, ShapeError
from deepcollapse.geometry.rank import checked_matrix
from deepcollapse.theory.bounds.group_moments import GroupMoments, group_moments

# A relative residual above this: the bounds are true, but tell of the residual as much as of the variability.
NEARLY_STATIONARY = 1e-2
NAN = float("nan")


@dataclass(frozen=True)
class RankCollapse:
    """Both sides of the bounds for one layer; what is undefined is NaN, and `assumptions` says why.

    Attributes:
        groups: K, the groups that have rows: classes, times positions where the layer is applied at several.
        shape: (m, n) of the weight.
        norm: |W|_F. rows: how many inputs the layer had.
        distance: dist_F(W, rank <= K), in the unit of the weights; 0 where K >= min(m, n).
        next_singular_value: the (K+1)st singular value.
        bound_cross, bound_product, bound_variability: (|D~^T Z~|_F, |D~|_F |Z~|_2 or |D|_2 |Z~|_F, each plus |R|_F)
            over lambda; all at least `distance`.
        bound_spectral: (|D~^T Z~|_2 + |R|_2) / lambda, at least `next_singular_value`.
        bound_alignment: the length of the part of W orthogonal to B; at least `distance`, at most `norm`; no lambda.
        relative_bound: at least distance / norm; no lambda. Above 1 it says nothing.
        implied_decay: the decay for which W is closest to stationary.
        residual_norm: |R|_F. stationarity_residual: |R|_F / (lambda |W|_F); 0 at a stationary point.
        input_variation: |Z~|_F^2 over the number of rows, the inputs' total cluster variation.
        assumptions: those that are not met, in words; empty where the bounds mean what they say.

    >>> found = rank_collapse(torch.eye(3), torch.eye(3), -torch.eye(3), torch.tensor([0, 0, 1]), decay=1)
    >>> found.groups, found.distance, round(found.bound_cross, 9)
    (2, 1.0, 1.0)
    """

    groups: int
    shape: tuple[int, int]
    rows: int
    norm: float
    distance: float
    next_singular_value: float
    bound_cross: float
    bound_spectral: float
    bound_product: float
    bound_variability: float
    bound_alignment: float
    relative_bound: float
    implied_decay: float
    residual_norm: float
    stationarity_residual: float
    input_variation: float
    assumptions: tuple[str, ...] = ()

    @property
    def relative_distance(self) -> float:
        """distance / norm, in [0, 1]; NaN for a weight of zeros."""
        return self.distance / self.norm if self.norm else NAN


def rank_collapse(
    weight: Float[Tensor, "m n"],
    inputs: Float[Tensor, "r n"],
    signals: Float[Tensor, "r m"],
    groups: Int64[Tensor, " r"],
    decay: float | int | None,
) -> RankCollapse:
    r"""Distance of a layer's weight to rank K, and every bound on it.

    Formulas stand at `RankCollapse`, the proof at the head of this module.

    Args:
        weight: (m, n), one row an output.
        inputs: what entered the layer, in rows; of a convolution its patches, a row a sample and position.
        signals: the gradient of the *mean* loss with respect to the layer's outputs, in the same rows.
        groups: any partition of the rows, numbered from 0: the classes, or finer ones. Empty groups do not count.
        decay: lambda, as torch's SGD and Adam have their weight_decay; None where it is unknown.

    Raises ShapeError, NonFiniteError, LabelError, OptionError for a decay below 0.

    >>> x, groups = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.0, 3.0]]), torch.tensor([0, 0, 1, 1])
    >>> weight = torch.diag(torch.tensor([2.0, 5.0]))  # stationary for these signals and decay
    >>> signals = torch.tensor([[-1.0, 0.0], [-1.0, 0.0], [0.0, -2.0], [0.0, -1.0]])
    >>> found = rank_collapse(weight, x, signals, groups, decay=1)
    >>> found.groups, found.distance, found.bound_cross, found.stationarity_residual
    (2, 0.0, 1.0, 0.0)
    """
    w = checked_matrix(weight.detach(), "weight", "(outputs, inputs)")
    for name, rows, axis in (("inputs", inputs, 1), ("signals", signals, 0)):
        if rows.ndim != 2 or rows.shape[1] != w.shape[axis]:
            raise ShapeError(
                f"{name} have shape {tuple(rows.shape)}; a weight of shape {tuple(w.shape)} takes (rows, "
                f"{w.shape[axis]})."
            )
    num_groups = int(groups.max()) + 1 if len(groups) else 0
    return from_moments(w, group_moments(inputs.detach(), signals.detach(), groups, num_groups), decay)


def from_moments(
    weight: Float64[Tensor, "m n"],
    moments: GroupMoments,
    decay: float | int | None,
    assumptions: tuple[str, ...] = (),
    why_no_decay: str = "the decay is not known",
) -> RankCollapse:
    """As `rank_collapse`, from moments that were streamed; `assumptions` already known to fail are passed on."""
    if decay is not None and not 0 <= decay < math.inf:
        raise OptionError(f"decay must be 0 or more; got {decay}.")
    k, s = moments.present, torch.linalg.svdvals(weight)
    between, cross = moments.between(), moments.cross
    gradient, norm = between + cross, float(weight.norm())
    inner, square = float((weight * gradient).sum()), float(weight.square().sum())
    implied = -inner / square if square else NAN
    away = float((gradient + implied * weight).norm()) + float(cross.norm()) if implied > 0 else math.inf
    weights = _with_decay(weight, gradient, moments, float(decay or 0))
    unmet = list(assumptions)
    if decay is None:
        unmet.append(why_no_decay)
    elif decay == 0:
        unmet.append("without weight decay nothing bounds the rank")
    elif not weights["stationarity_residual"] <= NEARLY_STATIONARY:
        unmet.append(
            f"not stationary: |decay W + gradient| is {weights['stationarity_residual']:.2g} of |decay W|, which the "
            "bounds take in"
        )
    if k >= min(weight.shape):
        unmet.append(trivial(k, weight))
    return RankCollapse(
        groups=k,
        shape=(weight.shape[0], weight.shape[1]),
        rows=moments.rows,
        norm=norm,
        distance=float(s[k:].norm()),
        next_singular_value=float(s[k]) if k < len(s) else 0.0,
        bound_alignment=_off(weight, between),
        relative_bound=away / (implied * norm) if implied > 0 else math.inf,
        implied_decay=implied,
        input_variation=moments.input_square / moments.rows if moments.rows else NAN,
        assumptions=tuple(unmet),
        **weights,
    )


def trivial(groups: int, weight: Tensor) -> str:
    """That no matrix of this shape has a rank above the number of groups."""
    return f"trivially true: with {groups} groups no rank of {' x '.join(map(str, weight.shape))} lies above"


def trivially_true(weight: Float64[Tensor, "m n"], groups: int) -> RankCollapse:
    """For K >= min(m, n), without a look at any data: the distance is 0, and the bounds are not worked out."""
    unknown = {name: NAN for name in RankCollapse.__dataclass_fields__ if name.startswith("bound_")}
    return RankCollapse(
        groups=groups,
        shape=(weight.shape[0], weight.shape[1]),
        rows=0,
        norm=float(weight.norm()),
        distance=0.0,
        next_singular_value=0.0,
        relative_bound=NAN,
        implied_decay=NAN,
        residual_norm=NAN,
        stationarity_residual=NAN,
        input_variation=NAN,
        assumptions=(trivial(groups, weight),),
        **unknown,
    )


_NEEDING_DECAY = ("residual_norm", "stationarity_residual", "bound_cross", "bound_spectral")


def _with_decay(weight: Tensor, gradient: Tensor, moments: GroupMoments, decay: float) -> dict[str, float]:
    """What depends on lambda; NaN where there is none."""
    if not decay:
        return dict.fromkeys((*_NEEDING_DECAY, "bound_product", "bound_variability"), NAN)
    residual = decay * weight + gradient
    left, norm = float(residual.norm()), float(weight.norm())
    inputs, cross = moments.input_gram, moments.cross
    widest = NAN if inputs is None else _root_of_largest(inputs)
    deviation = math.sqrt(float(moments.signal_gram.diagonal().sum()))
    signals = _root_of_largest(moments.signal_second_moment())
    return {
        "residual_norm": left,
        "stationarity_residual": left / (decay * norm) if norm else NAN,
        "bound_cross": (float(cross.norm()) + left) / decay,
        "bound_spectral": (_spectral(cross) + _spectral(residual)) / decay,
        "bound_product": (deviation * widest + left) / decay,
        "bound_variability": (signals * math.sqrt(moments.input_square) + left) / decay,
    }


def _spectral(matrix: Tensor) -> float:
    return float(torch.linalg.matrix_norm(matrix, 2))


def _root_of_largest(gram: Tensor) -> float:
    """The spectral norm of rows from their Gram matrix: the largest eigenvalue loses no digits that matter."""
    return math.sqrt(max(0.0, float(torch.linalg.eigvalsh(gram)[-1])))


def _off(weight: Tensor, between: Tensor) -> float:
    """The length of the part of the weight that is orthogonal to `between`."""
    square = float(between.square().sum())
    return (
        float((weight - float((weight * between).sum()) / square * between).norm()) if square else float(weight.norm())
    )
