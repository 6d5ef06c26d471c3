"""The geometry of a classifier on its features, by the very measures that trained networks are measured with."""

import math
from collections.abc import Mapping

from jaxtyping import Float64
from torch import Tensor

from deepcollapse.geometry import ClassMoments, Metric
from deepcollapse.geometry.moments import Weighting
from deepcollapse.measurement.evidence import Evidence, evaluate, wanted_measures
from deepcollapse.measurement.layers import HEAD_INPUT
from deepcollapse.records import Record


def head_records(
    moments: ClassMoments,
    classifier: Float64[Tensor, "c d"],
    bias: Float64[Tensor, " c"] | None = None,
    *,
    metrics: Mapping[str, Metric] | None = None,
    weighting: Weighting = "class",
    centre: Weighting = "class",
) -> list[Record]:
    """Every measure that features with these moments and this classifier allow, as a trained network's head has them.

    Layers are "head" and "head.input"; what is undefined here is left out. `metrics` are those wanted, by name; nearly
    all where not given.
    """
    evidence = Evidence(
        layer=HEAD_INPUT,
        split="train",
        moments=moments,
        weighting=weighting,
        centre=centre,
        reduction="none",
        classifier=classifier,
        bias=bias,
    )
    records, _ = evaluate(evidence, wanted_measures(None) if metrics is None else dict(metrics))
    return [record for record in records if isinstance(record.value, float) and math.isfinite(record.value)]


def head_geometry(
    moments: ClassMoments, classifier: Float64[Tensor, "c d"], bias: Float64[Tensor, " c"] | None = None
) -> dict[str, float]:
    """The values of `head_records` by measure; suffixes say what a measure of rows was taken of.

    >>> import torch
    >>> from deepcollapse.geometry import collect
    >>> seen = head_geometry(collect(torch.eye(3).double(), torch.arange(3), 3), torch.eye(3).double())
    >>> seen["within_class_variability"], round(seen["equiangularity_means"], 12)
    (0.0, 0.0)
    """
    return {record.measure: float(record.value or 0.0) for record in head_records(moments, classifier, bias)}
