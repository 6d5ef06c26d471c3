"""What only shows over the layers together: the law of equi-separation, effective depth, the tunnel."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from deepcollapse.geometry import ClassMoments, effective_depth, equi_separation, tunnel_start
from deepcollapse.measurement.layers import HEAD_INPUT
from deepcollapse.records import Record

ALL_LAYERS = "all"
FEWEST_LAYERS = 3  # a line through two points fits anything


def over_layers(
    records: Sequence[Record],
    moments: Mapping[str, ClassMoments],
    errors: Mapping[str, float],
    *,
    max_error: float,
    **columns: str | None,
) -> list[Record]:
    """Records of the laws over the layers up to the head's input, from each one's fuzziness and nearest-mean error."""
    depth = layers_in_depth(moments)
    if len(depth) < FEWEST_LAYERS:
        return []
    split, baseline = columns.get("split"), columns.get("baseline")
    how: dict[str, Any] = {"layer": ALL_LAYERS, "split": split, "baseline": baseline}
    fuzziness = {r.layer: r.value for r in records if r.measure == "separation_fuzziness" and r.value is not None}
    found = []
    if all(0 < fuzziness.get(name, math.nan) < math.inf for name in depth):
        law = equi_separation([float(fuzziness[name]) for name in depth])
        for part in ("rho", "intercept", "correlation", "r_squared"):
            measure, value = f"equi_separation_{part}", float(getattr(law, part))
            modes = {"weighting": columns.get("weighting"), "centre": columns.get("centre")}
            found.append(Record(measure=measure, value=value, **modes, **how))
    if all(name in errors for name in depth):
        value = effective_depth([errors[name] for name in depth], max_error)
        which = f"first of {len(depth)} layers" if value <= len(depth) else f"one past {len(depth)} layers, none"
        note = f"{which} with nearest-mean error at most {max_error:g}"
        found.append(Record(measure="effective_depth", value=int(value), unit="layers", note=note, **how))
    probes = {r.layer: r.value for r in records if r.measure == "linear_probe_accuracy" and r.value is not None}
    if all(math.isfinite(probes.get(name, math.nan)) for name in depth):
        value = tunnel_start([float(probes[name]) for name in depth])
        note = f"first of {len(depth)} layers whose linear probe has 98 % of the last one's accuracy"
        found.append(Record(measure="tunnel_start", value=value, unit="layers", note=note, **how))
    return found


def layers_in_depth(moments: Mapping[str, ClassMoments]) -> list[str]:
    """The layers from first to last, the head's input only where it is not the output of the layer before over again.

    What comes after the head's input (its output, where that was chosen) is no feature layer and does not count.
    """
    names = list(moments)
    if HEAD_INPUT not in names:
        return names
    before = names[: names.index(HEAD_INPUT)]
    if not before:
        return [HEAD_INPUT]
    last, head = moments[before[-1]].mean, moments[HEAD_INPUT].mean
    same = last.shape == head.shape and torch.allclose(last, head, atol=0, equal_nan=True)
    return before if same else [*before, HEAD_INPUT]
