"""Features, means and classifier of three and four classes as points in a plane or in space, for pictures."""

from typing import Any

import torch
from torch import Tensor

from deepcollapse.errors import DeepCollapseError
from deepcollapse.geometry import simplex_coordinates
from deepcollapse.measurement.evidence import Evidence
from deepcollapse.measurement.look import FirstOfEachClass
from deepcollapse.records import Record

CLASSES, SAMPLES = 4, 60


def pictures(evidence: Evidence, points: FirstOfEachClass) -> tuple[list[Record], dict[str, Tensor]]:
    """Arrays of the first 3 and of the first 4 classes, in the space of their class means, and records of them.

    Coordinates are those of `simplex_coordinates`: at collapse, points, means and classifier lie on the vertices of a
    simplex at distance 1.
    """
    arrays: dict[str, Tensor] = {}
    classes = [c for c, parts in points.parts.items() if parts]
    for k in (3, 4):
        if len(classes) >= k:
            arrays |= _picture(evidence, points, classes[:k])
    keyed = {f"{evidence.layer}/{name}": array for name, array in arrays.items()}
    how: dict[str, Any] = {"layer": evidence.layer, "split": evidence.split, "baseline": evidence.baseline}
    return [Record(measure=key.rpartition("/")[2], array=key, **how) for key in keyed], keyed


def _picture(evidence: Evidence, points: FirstOfEachClass, classes: list[int]) -> dict[str, Tensor]:
    k, means = len(classes), evidence.moments.mean[classes]
    centre = means.mean(dim=0)
    centred = means - centre
    h = [torch.cat(points.parts[c]) for c in classes]
    try:
        found = {
            f"simplex_{k}_points": simplex_coordinates(torch.cat(h) - centre, centred),
            f"simplex_{k}_means": simplex_coordinates(centred, centred),
        }
        if evidence.classifier is not None:
            w = evidence.classifier[classes]
            w = w - w.mean(dim=0)
            # Rows of W as long as the means: their directions are what is compared. A new head may be all zeros.
            scale = centred.norm() / w.norm() if w.any() else 1.0
            found[f"simplex_{k}_classifier"] = simplex_coordinates(w * scale, centred)
    except DeepCollapseError:
        return {}  # the means span too little for a picture
    found[f"simplex_{k}_labels"] = torch.repeat_interleave(torch.tensor(classes), torch.tensor([len(x) for x in h]))
    return found
