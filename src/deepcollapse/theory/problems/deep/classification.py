"""What kind of point of the deep model this is, and its geometry layer by layer."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float64
from torch import Tensor

from deepcollapse.geometry import (
    collect,
    numerical_rank,
    orthogonal_conditioning,
    orthogonal_frame_error,
    row_alignment,
    trace_ratio,
    within_class_variability,
)
from deepcollapse.theory.problems.deep.strongly_regular import vertices_of

Kind = Literal["trivial", "dead class", "collapsed", "strongly regular graph", "low-rank", "other"]
RANK_TOLERANCE = 1e-2  # descent leaves directions of a thousandth; those that matter are ten times larger
CLOSE = 0.05  # how far inner products and singular values may be from those of an exact solution


@dataclass(frozen=True)
class Classification:
    """A point's kind, its loss beside that of deep neural collapse, and the ranks of its class means.

    `kind` is "trivial" where outputs are all but 0, "dead class" where the network says nothing of some class,
    "collapsed" and "strongly regular graph" where it has the loss or the inner products of these; otherwise "low-rank"
    below collapse in loss and rank, or "other". `ranks` counts singular values above 1 % of the largest, of class means
    before the ReLU in layers 1 to L, then of the output; `ranks_after` the same after the ReLU, in layers 2 to L.
    """

    kind: Kind
    loss: float
    loss_ratio: float
    ranks: tuple[int, ...]
    ranks_after: tuple[int, ...]


def classify_layers(layers: Sequence[Tensor], num_classes: int, loss: float, collapsed_loss: float) -> Classification:
    """The kind of a point with features `layers` (H_1 to H_L, then the output) in rows, samples in class order."""
    before = [_class_means(h, num_classes) for h in layers]
    after = [_class_means(h.relu(), num_classes) for h in layers[1:-1]]
    ranks, ranks_after = ([int(numerical_rank(m, RANK_TOLERANCE)) for m in means] for means in (before, after))
    ratio = loss / collapsed_loss
    kind: Kind = "other"
    if layers[-1].norm() < 1e-3 * len(layers[-1]) ** 0.5:
        kind = "trivial"
    elif bool((before[-1].diagonal() < 0.1).any()):
        kind = "dead class"
    elif abs(ratio - 1) < 2e-3 and _full(ranks, num_classes) and all(map(_orthogonal, after)):
        kind = "collapsed"
    elif len(after) > 1 and set(ranks[:-2]) == {vertices_of(num_classes)} and is_triangular_graph(after[0]):
        kind = "strongly regular graph"
    elif ratio < 1 - 1e-4 and max(ranks[:-2], default=num_classes) < num_classes:
        kind = "low-rank"
    return Classification(kind, loss, ratio, tuple(ranks), tuple(ranks_after))


def _full(ranks: Sequence[int], num_classes: int) -> bool:
    """Whether ranks are those of collapse, which leaves them open before the first ReLU.

    The first two factors cost the nuclear norm of their product M_2, and M_2 = I - T costs K, with the same ReLU, for
    every symmetric T >= 0 with zero diagonal and I - T positive semi-definite: down to rank K/2 (derived here; descent
    ends at such points). Orthogonality after the ReLU, which is looked at besides, says all that is left.
    """
    return min(ranks[2:], default=num_classes) == ranks[-1] == num_classes


def _class_means(features: Tensor, num_classes: int) -> Float64[Tensor, "c d"]:
    return features.unflatten(0, (num_classes, -1)).mean(dim=1)


def _orthogonal(means: Tensor) -> bool:
    return bool(orthogonal_conditioning(means) < CLOSE)


def is_triangular_graph(means: Float64[Tensor, "c d"]) -> bool:
    """Whether inner products of class means are 2I + A up to scale, A the adjacency of srg(K, 2(r-2), r-2, 4).

    Each entry may be 5 % of the diagonal off. For r = 8 three other graphs have these numbers, and pass.

    >>> from deepcollapse.theory.problems.deep.strongly_regular import incidence
    >>> is_triangular_graph(incidence(5)), is_triangular_graph(torch.eye(10).double())
    (True, False)
    """
    vertices, gram = vertices_of(len(means)), means @ means.T
    if vertices is None or not gram.diagonal().mean() > 0:
        return False
    gram = gram / gram.diagonal().mean()
    identity = torch.eye(len(gram), dtype=gram.dtype)
    adjacency = ((gram - 0.5).abs() < CLOSE).to(gram.dtype)
    if not ((gram - identity - adjacency / 2).abs() < CLOSE).all():
        return False
    apart = 1 - identity - adjacency
    neighbours = 2 * (vertices - 2) * identity + (vertices - 2) * adjacency + 4 * apart
    return bool(torch.equal(adjacency @ adjacency, neighbours))


def layer_geometry(layers: Sequence[Tensor], point: Mapping[str, Tensor], num_classes: int) -> dict[str, float]:
    """Measures of each layer under "measure.where": where is "H1" to "HL" or "out", "relu(H2)", or "W1" to "WL".

    Of features: `trace_ratio` (DNC1), `within_class_variability` (NC1), and of class means `orthogonal_frame_error` and
    `orthogonal_conditioning` (DNC2) and `numerical_rank` at 1 %. Of weights: `row_alignment` (DNC3), against the class
    means of what they act on.
    """
    depth, found = len(layers) - 1, {}
    labels = torch.arange(num_classes).repeat_interleave(len(layers[0]) // num_classes)
    for layer, features in enumerate(layers, start=1):
        name = f"H{layer}" if layer <= depth else "out"
        found |= _of_features(name, features, labels, num_classes)
        if layer > depth:
            break
        acted = features if layer == 1 else features.relu()
        if layer > 1:
            found |= _of_features(f"relu({name})", acted, labels, num_classes)
        found[f"row_alignment.W{layer}"] = row_alignment(point[f"W{layer}"], _class_means(acted, num_classes))
    return {name: float(value) for name, value in found.items()}


def _of_features(name: str, features: Tensor, labels: Tensor, num_classes: int) -> dict[str, Tensor]:
    moments = collect(features, labels, num_classes, scatter="pooled")
    means = moments.class_means()
    return {
        f"trace_ratio.{name}": trace_ratio(moments),
        f"within_class_variability.{name}": within_class_variability(moments),
        f"orthogonal_frame_error.{name}": orthogonal_frame_error(means),
        f"orthogonal_conditioning.{name}": orthogonal_conditioning(means),
        f"numerical_rank.{name}": numerical_rank(means, RANK_TOLERANCE),
    }
