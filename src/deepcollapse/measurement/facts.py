"""What a reader wants beside the measures: sizes, norms, class counts, angles and spectra."""

import contextlib
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from deepcollapse.errors import DeepCollapseError
from deepcollapse.geometry import cosines, singular_values
from deepcollapse.measurement.evidence import Evidence
from deepcollapse.measurement.layers import HEAD, HEAD_INPUT
from deepcollapse.records import Record


def standing_facts(evidence: Evidence) -> tuple[list[Record], dict[str, Tensor]]:
    """Records of a layer's class sizes, dimension and norms of global mean and bias; arrays of counts and spectra."""
    moments = evidence.moments
    count = moments.count[moments.present]
    numbers: dict[str, tuple[float, str]] = {
        "present_classes": (moments.num_present, "classes"),
        "smallest_class": (int(count.min()) if len(count) else 0, "samples"),
        "largest_class": (int(count.max()) if len(count) else 0, "samples"),
        "dimension": (moments.dim, "features"),
        "feature_bits": (torch.finfo(moments.dtype).bits, "bits"),
    }
    wanted: dict[str, Callable[[], Tensor]] = {}
    if evidence.layer == HEAD_INPUT:
        wanted[f"{HEAD_INPUT}/class_counts"] = lambda: moments.count  # all classes, those that are absent with 0
    if moments.num_present > 1:
        numbers["global_mean_norm"] = (float(moments.global_mean(evidence.centre).norm()), "feature")
        wanted[f"{evidence.layer}/cosines_means"] = lambda: cosines(evidence.means)
        if moments.scatter is not None:
            wanted[f"{evidence.layer}/singular_values_features"] = lambda: evidence.spectrum
    if (classifier := evidence.classifier) is not None:
        wanted[f"{HEAD}/cosines_classifier"] = lambda: cosines(classifier)
        wanted[f"{HEAD}/singular_values_classifier"] = lambda: singular_values(classifier)
    arrays = {}
    for key, make in wanted.items():
        with contextlib.suppress(DeepCollapseError):  # the measures of the same object say why
            arrays[key] = make()
    how: dict[str, Any] = {"split": evidence.split, "baseline": evidence.baseline}
    records = [
        Record(layer=evidence.layer, measure=name, value=value, unit=unit, reduction=evidence.reduction, **how)
        for name, (value, unit) in numbers.items()
    ]
    if (spectrum := arrays.get(f"{HEAD}/singular_values_classifier")) is not None:
        # As of every other layer's weights.
        sides = {"rows": evidence.moments.num_classes, "columns": evidence.moments.dim}
        norms = {"spectral_norm": spectrum[0], "frobenius_norm": spectrum.norm()}
        told = [*((m, v, m) for m, v in sides.items()), *((m, v, "weight") for m, v in norms.items())]
        records += [Record(layer=HEAD, measure=f"{m}_classifier", value=float(v), unit=u, **how) for m, v, u in told]
    if evidence.bias is not None:
        records.append(Record(layer=HEAD, measure="bias_norm", value=float(evidence.bias.norm()), unit="logit", **how))
    for key in arrays:
        layer, _, measure = key.rpartition("/")
        centre = "sample" if measure == "singular_values_features" else evidence.centre
        if layer == HEAD or measure == "class_counts":
            centre = None
        reduction = None if layer == HEAD else evidence.reduction
        records.append(Record(layer=layer, measure=measure, array=key, centre=centre, reduction=reduction, **how))
    return records, arrays
