"""From the first pass, and a second look where it can be had, to a measurement."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from deepcollapse.errors import DeepCollapseError, OptionError
from deepcollapse.geometry import (
    ClassMoments,
    Metric,
    RunningSpan,
    effective_depth,
    equi_separation,
    nearest_class_mean_accuracy,
    simplex_coordinates,
)
from deepcollapse.geometry.moments import ScatterLevel, Weighting
from deepcollapse.measurement.capture import Capture, Captured, GivenHead
from deepcollapse.measurement.evidence import Evidence, evaluate, scatter_needed, standing_facts
from deepcollapse.measurement.layers import HEAD_INPUT
from deepcollapse.measurement.measurement import Measurement
from deepcollapse.measurement.passes import FirstOfEachClass, FirstPass, NearestMeans, Observer, all_samples, look_at
from deepcollapse.measurement.reduction import POSITIONS
from deepcollapse.records import Record

SECOND_LOOK = ("span scatter", "decisions")  # the needs that only a second look can serve
EIGENVALUES_LIMIT = 256  # classes; past it the C x C matrix of the second look costs more than it tells
PICTURE_CLASSES, PICTURE_SAMPLES = 4, 60
NETWORK, ALL_LAYERS = "network", "all"


@dataclass(frozen=True)
class Settings:
    """How to measure; see `measure` for each."""

    metrics: dict[str, Metric]
    split: str = "train"
    weighting: Weighting = "class"
    centre: Weighting = "class"
    reduction: str = "mean"
    max_scatter_dim: int = 2048
    effective_depth_error: float = 0.01
    class_names: Sequence[str] = ()
    distributed: bool = False

    def level(self, dim: int) -> ScatterLevel:
        """The cheapest level of scatter that serves the measures asked for, within the limit on d x d memory."""
        return "pooled" if scatter_needed(self.metrics) and dim <= self.max_scatter_dim else "none"


def conclude(
    first: FirstPass,
    again: Iterable[Captured] | str,
    capture: Capture | GivenHead,
    settings: Settings,
    *,
    means_of: Measurement | None = None,
    baseline: str | None = None,
) -> tuple[list[Record], dict[str, Tensor], dict[str, ClassMoments]]:
    """Records, arrays and moments. `again` are the batches once more, or the reason why they cannot be had."""
    moments = first.moments(settings.distributed)
    looks: dict[str, list[Observer]] = {}
    if not isinstance(again, str):
        looks = {name: _observers(name, m, settings, means_of) for name, m in moments.items()}
        look_at(again, looks)
    labels = all_samples(first.labels, settings.distributed)
    decisions = all_samples(first.decisions, settings.distributed) if first.decisions else None
    records = [] if baseline else _network_records(first, labels, decisions, settings)
    arrays: dict[str, Tensor] = {}
    nearest_errors: dict[str, float] = {}
    for name, m in moments.items():
        m, nearest, points = _results(looks.get(name, []), m, settings)
        moments[name] = m
        evidence = Evidence(
            layer=name,
            split=settings.split,
            moments=m,
            weighting=settings.weighting,
            centre=settings.centre,
            reduction=_reduction(name, capture, settings),
            labels=labels,
            nearest=nearest,
            decisions=decisions if decisions is not None and len(decisions) == len(labels) else None,
            classifier=capture.classifier if name == HEAD_INPUT else None,
            bias=capture.bias if name == HEAD_INPUT else None,
            baseline=baseline,
            class_names=settings.class_names,
            missing=_missing(again, m, settings),
        )
        if nearest is not None:
            nearest_errors[name] = 1 - float(nearest_class_mean_accuracy(nearest, labels))
        new, its_arrays = evaluate(evidence, settings.metrics)
        facts, fact_arrays = standing_facts(evidence)
        pictures, picture_arrays = _pictures(evidence, points) if points and name == HEAD_INPUT else ([], {})
        records += new + facts + pictures
        arrays |= its_arrays | fact_arrays | picture_arrays
    records += _over_layers(records, moments, nearest_errors, settings, baseline)
    return records, arrays, moments


def _observers(name: str, m: ClassMoments, settings: Settings, means_of: Measurement | None) -> list[Observer]:
    """What looks at a layer again: the span of its means, the nearest (training) means, a sample for pictures."""
    observers: list[Observer] = []
    needs = {need for metric in settings.metrics.values() for need in metric.needs}
    if m.num_present > 1 and "span scatter" in needs:
        matrix = m.num_classes <= EIGENVALUES_LIMIT and any("eigenvalue" in metric for metric in settings.metrics)
        observers.append(RunningSpan(m, weighting=settings.weighting, centre=settings.centre, matrix=matrix))
    if means_of is not None and name not in means_of.moments:
        raise OptionError(
            f"layer {name!r} was not measured on the training data; its class means are needed here. "
            f"Measured there: {', '.join(means_of.moments)}. Measure both splits with the same layers."
        )
    means = m if means_of is None else means_of.moments[name]
    if "decisions" in needs and means.num_present:
        observers.append(NearestMeans(means))
    if name == HEAD_INPUT:
        present = m.present.nonzero().flatten().tolist()
        observers.append(FirstOfEachClass(present[:PICTURE_CLASSES], PICTURE_SAMPLES))
    return observers


def _results(
    observers: list[Observer], m: ClassMoments, settings: Settings
) -> tuple[ClassMoments, Tensor | None, FirstOfEachClass | None]:
    nearest = points = None
    for observer in observers:
        if isinstance(observer, RunningSpan):
            if settings.distributed:
                observer.sum_over_processes()
            m = observer.compute()
        elif isinstance(observer, NearestMeans):
            nearest = all_samples(observer.parts, settings.distributed)
        elif isinstance(observer, FirstOfEachClass):
            points = observer
    return m, nearest, points


def _missing(again: object, m: ClassMoments, settings: Settings) -> dict[str, str]:
    missing = dict.fromkeys(SECOND_LOOK, again) if isinstance(again, str) else {}
    if m.scatter is None and scatter_needed(settings.metrics):
        reason = (
            f"dimension {m.dim} is above max_scatter_dim={settings.max_scatter_dim}, "
            f"so no {m.dim} x {m.dim} scatter was kept"
        )
        missing |= {"pooled scatter": reason, "matrix": reason}
    return missing


def _reduction(name: str, capture: Capture | GivenHead, settings: Settings) -> str:
    return POSITIONS if capture.by_position else capture.reductions.get(name.partition("#")[0], settings.reduction)


def _network_records(first: FirstPass, labels: Tensor, decisions: Tensor | None, settings: Settings) -> list[Record]:
    """Accuracy and loss of the network itself, from the same forward pass."""
    how = {"layer": NETWORK, "split": settings.split, "weighting": "sample"}
    if decisions is None or len(decisions) != len(labels):
        reason = "no head was named and the network's output is no (samples, classes) tensor"
        return [Record(measure="accuracy", value=math.nan, note=reason, **how)]
    accuracy = float((decisions == labels).double().mean()) if len(labels) else math.nan
    records = [Record(measure="accuracy", value=accuracy, **how)]
    if first.loss_function is not None:
        total = torch.tensor([first.loss, float(sum(len(part) for part in first.labels))], dtype=torch.float64)
        if settings.distributed and torch.distributed.is_initialized():
            torch.distributed.all_reduce(total)
        records.append(Record(measure="loss", value=float(total[0] / total[1]), unit="nat", **how))
    return records


def _pictures(evidence: Evidence, points: FirstOfEachClass) -> tuple[list[Record], dict[str, Tensor]]:
    """Features, means and classifier rows of the first 3 and 4 classes, in the space of their class means."""
    arrays = {}
    classes = [c for c, parts in points.parts.items() if parts]
    for k in (3, 4):
        if len(classes) < k:
            continue
        means = evidence.moments.mean[classes[:k]]
        centre = means.mean(dim=0)
        centred = means - centre
        h = [torch.cat(points.parts[c]) for c in classes[:k]]
        try:
            arrays[f"simplex_{k}_points"] = simplex_coordinates(torch.cat(h) - centre, centred)
            arrays[f"simplex_{k}_means"] = simplex_coordinates(centred, centred)
        except DeepCollapseError:
            continue  # the means span too little for a picture
        arrays[f"simplex_{k}_labels"] = torch.repeat_interleave(torch.tensor(classes[:k]), torch.tensor([*map(len, h)]))
        if evidence.classifier is not None:
            w = evidence.classifier[classes[:k]]
            w = w - w.mean(dim=0)
            scale = centred.norm() / w.norm()  # rows of W as long as the means: their directions are what is compared
            arrays[f"simplex_{k}_classifier"] = simplex_coordinates(w * scale, centred)
    keyed = {f"{evidence.layer}/{name}": array for name, array in arrays.items()}
    how = {"layer": evidence.layer, "split": evidence.split, "baseline": evidence.baseline}
    return [Record(measure=key.rpartition("/")[2], array=key, **how) for key in keyed], keyed


def _over_layers(
    records: Sequence[Record],
    moments: dict[str, ClassMoments],
    errors: dict[str, float],
    settings: Settings,
    baseline: str | None,
) -> list[Record]:
    """The law of equi-separation and the effective depth: what only shows over the layers together."""
    depth = [name for name in moments if name != HEAD_INPUT or not _repeats_last(moments)]
    if len(depth) < 3:
        return []
    how = {"layer": ALL_LAYERS, "split": settings.split, "baseline": baseline}
    fuzziness = {
        r.layer: float(r.value) for r in records if r.measure == "separation_fuzziness" and r.value is not None
    }
    found = []
    if all(0 < fuzziness.get(name, math.nan) < math.inf for name in depth):
        law = equi_separation([fuzziness[name] for name in depth])
        modes = {"weighting": settings.weighting, "centre": settings.centre}
        for part in ("rho", "intercept", "correlation", "r_squared"):
            found.append(Record(measure=f"equi_separation_{part}", value=float(getattr(law, part)), **modes, **how))
    if all(name in errors for name in depth):
        value = effective_depth([errors[name] for name in depth], settings.effective_depth_error)
        note = f"first of {len(depth)} layers with nearest-mean error at most {settings.effective_depth_error:g}"
        found.append(Record(measure="effective_depth", value=int(value), unit="layers", note=note, **how))
    return found


def _repeats_last(moments: dict[str, ClassMoments]) -> bool:
    """Whether the head's input is the last layer's output over again."""
    names = list(moments)
    if HEAD_INPUT not in names or len(names) < 2:
        return False
    last, head = moments[[name for name in names if name != HEAD_INPUT][-1]], moments[HEAD_INPUT]
    return last.mean.shape == head.mean.shape and torch.allclose(last.mean, head.mean)
