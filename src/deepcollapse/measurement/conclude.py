"""From the first look, and a second where it can be had, to records, arrays and moments."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, get_args

import torch
from torch import Tensor

from deepcollapse.errors import OptionError
from deepcollapse.geometry import (
    ClassMoments,
    Metric,
    RunningSpan,
    least_squares_classifier,
    nearest_class_mean_accuracy,
)
from deepcollapse.geometry.decision import linear_rule
from deepcollapse.geometry.moments import ScatterLevel, Weighting, coarser
from deepcollapse.linalg import AffineArgmax
from deepcollapse.measurement.capture import Capture, Captured
from deepcollapse.measurement.depth import over_layers
from deepcollapse.measurement.evidence import Evidence, evaluate
from deepcollapse.measurement.facts import standing_facts
from deepcollapse.measurement.head import GivenHead
from deepcollapse.measurement.layers import HEAD_INPUT
from deepcollapse.measurement.look import FirstOfEachClass, LayerLook, SecondLook, all_samples
from deepcollapse.measurement.measurement import Measurement
from deepcollapse.measurement.passes import FirstPass
from deepcollapse.measurement.pictures import CLASSES, SAMPLES, pictures
from deepcollapse.measurement.reduction import POSITIONS
from deepcollapse.measurement.state import exact
from deepcollapse.measurement.weights import MAX_WEIGHT_DIM, affordable, weight_matrices, weight_records
from deepcollapse.records import Record

SECOND_LOOK: tuple[str, ...] = ("span scatter", "decisions")  # the needs that only a second look can serve
EIGENVALUES_LIMIT = 256  # classes; past it the C x C matrix of the second look costs more than it tells
NETWORK = "network"
SHUFFLED = "shuffled labels"


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
    means_of: Measurement | None = None
    weights: bool = False
    max_weight_dim: int = MAX_WEIGHT_DIM

    def __post_init__(self) -> None:
        """Check the settings, before any forward pass."""
        for name in ("weighting", "centre"):
            if getattr(self, name) not in get_args(Weighting):
                raise OptionError(f"{name} must be 'class' or 'sample'; got {getattr(self, name)!r}.")

    @property
    def reference(self) -> dict[str, ClassMoments] | None:
        """The training data's moments, where they are not those of the data measured."""
        return None if self.means_of is None else self.means_of.moments

    @property
    def needs(self) -> set[str]:
        """All that the measures asked for need."""
        return {need for metric in self.metrics.values() for need in metric.needs}

    @property
    def scatter_needed(self) -> bool:
        """Whether any of the measures needs d x d scatter."""
        return bool(self.needs & {"pooled scatter", "matrix"})

    def level(self, dim: int) -> ScatterLevel:
        """The cheapest level of scatter that serves the measures asked for, within the limit on d x d memory."""
        return "pooled" if self.scatter_needed and dim <= self.max_scatter_dim else "none"


@dataclass
class Findings:
    """What a measurement is made of; see `Measurement`."""

    moments: dict[str, ClassMoments]
    records: list[Record] = field(default_factory=list)
    arrays: dict[str, Tensor] = field(default_factory=dict)
    runs: int = 0
    probes: dict[str, AffineArgmax] = field(default_factory=dict)

    @property
    def samples(self) -> int:
        """All samples (or labelled positions) that came, those that were left out included."""
        moments = next(iter(self.moments.values()))
        return moments.num_samples + moments.ignored + moments.skipped

    def add(self, records: list[Record], arrays: dict[str, Tensor]) -> None:
        """Take in more records and arrays."""
        self.records += records
        self.arrays |= arrays

    def numbers(self) -> list[Record]:
        """The records that are numbers: a baseline is shown beside those."""
        return [record for record in self.records if record.array is None]


def conclude(
    first: FirstPass,
    again: Iterable[Captured] | str,
    capture: Capture | GivenHead,
    settings: Settings,
    baseline: str | None = None,
) -> Findings:
    """Everything that can be told. `again` are the batches once more, or the reason why they cannot be had."""
    look = None
    with exact():  # what is made here is added to later, outside of the user's inference mode
        found = Findings(_finished(first, capture, settings))
        if not isinstance(again, str):
            probes = _probes(found.moments, settings)
            found.probes = probes if settings.means_of is None else {}  # those of other moments are not handed on
            looks = {name: _layer_look(name, m, settings, probes.get(name)) for name, m in found.moments.items()}
            look = SecondLook(looks)
    if look is not None and not isinstance(again, str):
        look.over(again)
    with exact():
        _tell(found, first, look, again if isinstance(again, str) else None, capture, settings, baseline)
    if settings.weights and baseline != SHUFFLED and isinstance(capture, Capture):  # labels do not move weights
        matrices, note = affordable(list(weight_matrices(capture.root, without=capture.head)), settings.max_weight_dim)
        if note is not None and note not in capture.notes:
            capture.notes.append(note)
        records, arrays = weight_records(matrices, settings.metrics, settings.max_weight_dim)
        found.add([replace(record, baseline=baseline) for record in records], arrays)
    return found


def _finished(first: FirstPass, capture: Capture | GivenHead, settings: Settings) -> dict[str, ClassMoments]:
    """The moments of the first pass, marked with the precision that the layers themselves gave."""
    moments = first.moments(settings.distributed)
    given = {name: capture.precisions.get(name.partition("#")[0], m.dtype) for name, m in moments.items()}
    return {name: replace(m, dtype=coarser(m.dtype, given[name])) for name, m in moments.items()}


def _layer_look(name: str, m: ClassMoments, settings: Settings, probe: AffineArgmax | None) -> LayerLook:
    """What looks at a layer again: the span of its means, the nearest (training) means, a sample for pictures."""
    span = means = points = None
    if m.num_present > 1 and "span scatter" in settings.needs:
        matrix = m.num_classes <= EIGENVALUES_LIMIT and any("eigenvalue" in metric for metric in settings.metrics)
        span = RunningSpan(m, weighting=settings.weighting, centre=settings.centre, matrix=matrix)
    reference = _reference(name, m, settings)
    if "decisions" in settings.needs and reference.num_present:
        means = reference
    if name == HEAD_INPUT:
        points = FirstOfEachClass(m.present.nonzero().flatten().tolist()[:CLASSES], SAMPLES)
    return LayerLook(span, means, points, probe)


def _reference(name: str, m: ClassMoments, settings: Settings) -> ClassMoments:
    """The training data's moments of a layer with moments `m`: those themselves, or those of `means_of`."""
    return m if settings.reference is None else settings.reference[name].to(m.mean.device)


def _probes(moments: dict[str, ClassMoments], settings: Settings) -> dict[str, AffineArgmax]:
    """The least-squares classifier of the training data at each layer as a rule; none below two classes.

    It is the dearest of a small layer's numbers: taken once for both splits, and for layers that are the same.
    """
    probes: dict[str, AffineArgmax] = {}
    if "linear_probe_accuracy" not in settings.metrics:
        return probes
    known = {} if settings.means_of is None else settings.means_of.probes
    for name, m in ((name, _reference(name, m, settings)) for name, m in moments.items()):
        if m.scatter is None or m.num_present < 2:
            continue
        twin = next((other for other in probes if settings.means_of is None and _same(moments[other], m)), None)
        if name in known and known[name].rows.device == m.mean.device:
            probes[name] = known[name]
        elif twin is not None:
            probes[name] = probes[twin]
        else:
            probes[name] = linear_rule(*least_squares_classifier(m, weighting="sample"), m.global_mean("sample"))
    return probes


def _same(m: ClassMoments, other: ClassMoments) -> bool:
    """Whether two layers have the same moments to the bit, as a last block and the head's input often do."""
    if m.mean.device != other.mean.device or m.scatter is None or other.scatter is None:
        return False
    return (
        torch.equal(m.count, other.count) and torch.equal(m.mean, other.mean) and torch.equal(m.scatter, other.scatter)
    )


def _tell(
    found: Findings,
    first: FirstPass,
    look: SecondLook | None,
    reason: str | None,
    capture: Capture | GivenHead,
    settings: Settings,
    baseline: str | None,
) -> None:
    """Add the records and arrays of every layer, and of the layers together, to the findings."""
    labels = all_samples(look.labels if look else first.labels, settings.distributed)
    decisions = all_samples(look.decisions, settings.distributed) if look else None
    errors: dict[str, float] = {}
    told: list[Evidence] = []
    if baseline is None and not isinstance(capture, GivenHead):
        found.records += _network_records(first, settings)
    for name, m in found.moments.items():
        layer = look.layers[name] if look else LayerLook()
        found.moments[name] = m = layer.moments(m, settings.distributed)
        nearest = all_samples(layer.nearest, settings.distributed) if layer.means else None
        probed = all_samples(layer.probed, settings.distributed) if layer.probe else None
        evidence = Evidence(
            layer=name,
            split=settings.split,
            moments=m,
            weighting=settings.weighting,
            centre=settings.centre,
            reduction=_reduction(name, capture, settings),
            labels=labels,
            nearest=nearest,
            probed=probed,
            decisions=decisions if decisions is not None and len(decisions) == len(labels) else None,
            classifier=capture.classifier if name == HEAD_INPUT else None,
            bias=capture.bias if name == HEAD_INPUT else None,
            reference=None if settings.reference is None else settings.reference[name],
            baseline=baseline,
            class_names=settings.class_names,
            missing=_missing(reason, m, settings),
            twin=next((other for other in told if _same(other.moments, m)), None),
        )
        told.append(evidence)
        if nearest is not None and len(labels):
            errors[name] = 1 - float(nearest_class_mean_accuracy(nearest, labels))
        _add_layer(found, evidence, layer.points, settings)
    how = {"split": settings.split, "baseline": baseline, "weighting": settings.weighting, "centre": settings.centre}
    found.records += over_layers(found.records, found.moments, errors, max_error=settings.effective_depth_error, **how)


def _add_layer(found: Findings, evidence: Evidence, points: FirstOfEachClass | None, settings: Settings) -> None:
    told = [evaluate(evidence, settings.metrics), standing_facts(evidence)]
    if points is not None:
        told.append(pictures(evidence, points))
    for records, arrays in told:
        found.add(records, arrays)


def _missing(reason: str | None, m: ClassMoments, settings: Settings) -> dict[str, str]:
    """Why needs of measures cannot be served at a layer: need -> reason."""
    missing: dict[str, str] = {} if reason is None else dict.fromkeys(SECOND_LOOK, reason)
    if m.scatter is None and settings.scatter_needed:
        scatter = (
            f"dimension {m.dim} is above max_scatter_dim={settings.max_scatter_dim}, "
            f"so no {m.dim} x {m.dim} scatter was kept"
        )
        missing |= {"pooled scatter": scatter, "matrix": scatter}
    return missing


def _reduction(name: str, capture: Capture | GivenHead, settings: Settings) -> str:
    return POSITIONS if capture.by_position else capture.reductions.get(name.partition("#")[0], settings.reduction)


def _network_records(first: FirstPass, settings: Settings) -> list[Record]:
    """Accuracy and loss of the network itself, from the same forward pass."""
    hits, loss, judged = first.scores(settings.distributed)
    how: dict[str, Any] = {"layer": NETWORK, "split": settings.split, "weighting": "sample"}
    reason = None if judged else "the network's output is no (samples, classes) tensor, or no sample is left"
    records = [Record(measure="accuracy", value=hits / judged if judged else math.nan, note=reason, **how)]
    if first.loss_function is not None:
        value = loss / judged if judged else math.nan
        records.append(Record(measure="loss", value=value, unit="nat", note=reason, **how))
    return records
