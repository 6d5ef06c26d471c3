"""From what is known of a layer to records: each measure is called with what it asks for by name."""

import difflib
import fnmatch
import inspect
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from deepcollapse.errors import DeepCollapseError, UnknownNameError
from deepcollapse.geometry import METRICS, ClassMoments, Metric, rounding_floor, trace_ratio
from deepcollapse.geometry.moments import Weighting
from deepcollapse.measurement.layers import HEAD
from deepcollapse.records import Record

# Left out unless asked for: variants of a measure that is there, and what costs far more than the rest.
BY_REQUEST = {
    "frobenius_quotient",
    "spectral_quotient",
    "cdnv_fourth_power",
    "equinorm_unbiased",
    "one_vs_rest_distances",
    "one_vs_rest_margin",
    "uniform_duality_dot",
    "within_class_uniformity_energy",
    "orthogonal_frame_error",
    "row_alignment",
}
UNCENTRED = {"rankme"}  # read from the features as they are; other ranks from centred features
FIXED_MODES = {
    "feature_budget": ("class", "sample"),
    "total_cluster_variation": ("sample", None),
    "relative_cluster_variation": ("sample", None),
}  # weighting and centre that are part of the definition
ENDINGS = ("_means", "_classifier", "_features", "_weight_spatial", "_weight")  # of measures' names in records
SUFFIXES = {"rows": ("_means", "_classifier"), "matrix": ("_features", "_classifier")}


def wanted_measures(names: Sequence[str] | None) -> dict[str, Metric]:
    """The measures asked for by name or pattern; by default all that a classifier allows, save `BY_REQUEST`.

    A name may carry the suffix that records give it ("equinorm_means"). Raises UnknownNameError with close names.
    """
    if names is None:
        return {name: metric for name, metric in METRICS.items() if name not in BY_REQUEST}
    chosen = {}
    for name in [names] if isinstance(names, str) else names:
        bare = next((name.removesuffix(s) for s in ENDINGS if name.endswith(s)), name)
        found = [m for m in METRICS if fnmatch.fnmatchcase(m, name)] or [m for m in METRICS if m == bare]
        if not found:
            close = difflib.get_close_matches(bare, METRICS, n=4, cutoff=0.4)
            raise UnknownNameError(
                f"there is no measure {name!r}. Close names: {', '.join(close) or 'none'}. "
                "`deepcollapse list measures` shows all of them."
            )
        chosen |= {m: METRICS[m] for m in found}
    return chosen


@dataclass(frozen=True)
class Evidence:
    """All that is known of one layer on one split; `missing` says why something is not (need -> reason)."""

    layer: str
    split: str
    moments: ClassMoments
    weighting: Weighting
    centre: Weighting
    reduction: str
    labels: Tensor | None = None
    nearest: Tensor | None = None
    probed: Tensor | None = None
    decisions: Tensor | None = None
    classifier: Tensor | None = None
    bias: Tensor | None = None
    reference: ClassMoments | None = None  # the training data's, whose means `nearest` and `probed` are taken of
    baseline: str | None = None
    class_names: Sequence[str] = ()
    missing: dict[str, str] = field(default_factory=dict)
    twin: "Evidence | None" = None  # a layer before with the same moments to the bit, and so with the same spectra

    @cached_property
    def means(self) -> Tensor:
        """Centred class means of the present classes."""
        return self.moments.centred_means(self.centre)

    @cached_property
    def spectrum(self) -> Tensor:
        """Singular values of the centred features."""
        return self.moments.feature_spectrum(centred=True) if self.twin is None else self.twin.spectrum

    @cached_property
    def uncentred_spectrum(self) -> Tensor:
        """Singular values of the features as they are."""
        return self.moments.feature_spectrum(centred=False) if self.twin is None else self.twin.uncentred_spectrum

    def argument(self, name: str, metric: Metric, target: str) -> object:
        """What a measure's parameter of this name stands for here; KeyError where there is no such thing."""
        if name == "rows":
            return self.means if target == "_means" else self._known(self.classifier, name)
        if name == "matrix":
            if target == "_classifier":
                return self._known(self.classifier, name)
            if "shape" in metric.parameters:
                return torch.where(self.spectrum > self.rounding(target) * self.spectrum[0], self.spectrum, 0.0)
            return self.uncentred_spectrum if metric.name in UNCENTRED else self.spectrum
        if name == "classifier":
            return self._known(self.classifier, name)[self.moments.present]
        if name == "bias":
            w = self._known(self.classifier, name)
            return (w.new_zeros(len(w)) if self.bias is None else self.bias)[self.moments.present]
        if name == "centre":
            return self.moments.global_mean(self.centre)
        if name == "class_means":
            return self.moments.class_means()
        known = {"moments": self.moments, "means": None, "labels": self.labels, "nearest": self.nearest}
        known |= {"decisions": self.decisions, "probed": self.probed, "subset": self.minority}
        return self.means if name == "means" else self._known(known.get(name), name)

    def choices(self, metric: Metric, target: str) -> dict[str, object]:
        """What a measure of a matrix must be told besides: the shape behind singular values, and what is rounding."""
        parameters, moments, found = metric.parameters, self.moments, {}
        if "shape" in parameters and target == "_features":
            found["shape"] = (max(moments.num_samples, 1), moments.dim)
        if metric.name == "numerical_rank":
            found["tolerance"] = self.rounding(target)
        return found

    def rounding(self, target: str) -> float:
        """The share of the largest singular value below which others are rounding, of the type that features have."""
        columns = self.moments.dim
        rows = self.moments.num_samples if target == "_features" else self.moments.num_classes
        eps = min(torch.finfo(self.moments.dtype).eps, torch.finfo(torch.float32).eps)
        # Spectra of features come from the d x d scatter, which halves the digits.
        least = math.sqrt(columns * torch.finfo(torch.float64).eps) if target == "_features" else 0.0
        return min(max(max(rows, columns) * eps, least), 0.5)

    @staticmethod
    def _known(value: Any, name: str) -> Any:
        if value is None:
            raise KeyError(name)
        return value

    @cached_property
    def minority(self) -> tuple[int, ...] | None:
        """The classes with less than half the samples of the largest, where they are several and not all."""
        small = (self.moments.count[self.moments.present] * 2 < self.moments.count.max()).nonzero().flatten().tolist()
        return tuple(small) if len(small) > 1 and self.moments.num_present == self.moments.num_classes else None

    @cached_property
    def caveats(self) -> list[str]:
        """What a reader of any of these numbers must know of the data."""
        count, notes = self.moments.count, []
        if absent := self._named((count == 0).nonzero().flatten().tolist()):
            notes.append(f"absent and left out: {absent}")
        if self.moments.num_present > self.moments.dim + 1:
            notes.append("more than d + 1 classes: no simplex ETF fits, see log_inverse_distance_mean")
        if self.moments.skipped:
            notes.append(f"{self.moments.skipped} samples with NaN or infinity left out")
        return notes

    def _named(self, classes: list[int]) -> str:
        """The first few of some classes by name; empty where there are none."""
        names = [str(self.class_names[c]) if c < len(self.class_names) else str(c) for c in classes[:5]]
        return ", ".join(names) + (f" and {len(classes) - 5} more" if len(classes) > 5 else "")

    @cached_property
    def reference_caveats(self) -> list[str]:
        """Classes that come here and are unknown to the training data: their samples cannot be got right."""
        if self.reference is None:
            return []
        unknown = (self.reference.count.cpu() == 0) & (self.moments.count.cpu() > 0)
        named = self._named(unknown.nonzero().flatten().tolist())
        return [f"absent in the training data, so never the nearest: {named}"] if named else []

    @cached_property
    def scatter_caveats(self) -> list[str]:
        """What a reader of numbers about spread within classes must know besides."""
        notes = []
        if single := int((self.moments.count == 1).sum()):
            which = "1 class has" if single == 1 else f"{single} classes have"
            notes.append(f"{which} a single sample, so within-class scatter is biased low")
        if self.moments.num_present > 1 and self._rounding_shows():
            dtype = str(self.moments.dtype).removeprefix("torch.")
            notes.append(f"rounding of {dtype} features may show: measure the network in a wider type")
        return notes

    def note(self, metric: Metric, target: str) -> str | None:
        """The caveats that belong to a measure, by what it is taken of."""
        parameters = metric.parameters.keys()
        of_means = target == "_means" or {"moments", "means", "class_means", "centre", "classifier"} & parameters
        notes = list(self.caveats) if of_means else []
        if {"nearest", "probed"} & parameters:
            notes += self.reference_caveats
        if "subset" in parameters and self.minority:
            notes.append(f"of the {len(self.minority)} classes with less than half the samples of the largest")
        if "moments" in parameters:
            notes += self.scatter_caveats
        if metric.name == "numerical_rank":
            notes.append(f"above {self.rounding(target):.2g} of the largest: beyond what rounding leaves")
        if target == "_means" and self.moments.num_present == 2:
            notes.append("two classes: equal norms and angles of centred means hold by construction")
        return "; ".join(notes) or None

    def _rounding_shows(self) -> bool:
        floor = float(rounding_floor(self.moments, weighting=self.weighting, centre=self.centre))
        seen = float(trace_ratio(self.moments, weighting=self.weighting, centre=self.centre))
        return math.isfinite(floor) and seen < 10 * floor


def evaluate(evidence: Evidence, metrics: dict[str, Metric]) -> tuple[list[Record], dict[str, Tensor]]:
    """Records of every measure that applies to this layer, and the arrays that some of them are."""
    records, arrays = [], {}
    for metric in metrics.values():
        for name, target, call in _calls(metric, evidence):
            layer = HEAD if _of_head(metric, target) else evidence.layer
            value, note = _value(call)
            columns = _columns(metric, target, evidence)
            if isinstance(value, Tensor) and value.ndim:
                arrays[f"{layer}/{name}"] = value
                record = Record(layer=layer, measure=name, array=f"{layer}/{name}", note=note, **columns)
            else:
                note = note or evidence.note(metric, target)
                record = Record(layer=layer, measure=name, value=float(value), unit=metric.unit, note=note, **columns)
            records.append(record)
    return records, arrays


def _calls(metric: Metric, evidence: Evidence) -> Iterator[tuple[str, str, object]]:
    """(record's name, suffix, zero-argument call) for each object that the measure can be taken of here."""
    parameters = metric.parameters
    targets = next((suffixes for name, suffixes in SUFFIXES.items() if name in parameters), ("",))
    for target in targets:
        if target == "_classifier" and evidence.classifier is None:
            continue
        reasons = [evidence.missing[need] for need in metric.needs if need in evidence.missing]
        if reasons and target != "_classifier":
            yield metric.name + target, target, reasons[0]
            continue
        modes = {name: getattr(evidence, name) for name in ("weighting", "centre") if _is_mode(parameters, name)}
        required = [p.name for p in parameters.values() if p.default is p.empty and p.name not in modes]
        try:
            arguments = {name: evidence.argument(name, metric, target) for name in required}
            arguments |= evidence.choices(metric, target)
        except KeyError:
            continue  # the measure is of something that this layer has not got
        except DeepCollapseError as error:
            yield metric.name + target, target, str(error)
            continue
        yield metric.name + target, target, _Call(metric, arguments | modes)


def _of_head(metric: Metric, target: str) -> bool:
    """Whether a measure is one of the classifier alone."""
    return target == "_classifier" or metric.needs == ("classifier",)


def _is_mode(parameters, name: str) -> bool:
    """Whether a parameter is the keyword `weighting` or `centre`, and not the vector mu_G."""
    return name in parameters and parameters[name].kind is inspect.Parameter.KEYWORD_ONLY


@dataclass(frozen=True)
class _Call:
    metric: Metric
    arguments: dict[str, object]


def _value(call: object) -> tuple[Any, str | None]:
    """The measure's value, or NaN with the reason why it has none."""
    if not isinstance(call, _Call):
        return math.nan, str(call)
    try:
        value = call.metric.function(**call.arguments)
    except DeepCollapseError as error:
        return math.nan, str(error)
    return (value if isinstance(value, Tensor | float | int) else math.nan), None


def _columns(metric: Metric, target: str, evidence: Evidence) -> dict[str, Any]:
    """Split, weighting, centre, reduction and baseline of a record of this measure."""
    parameters = metric.parameters
    weighting, centre = FIXED_MODES.get(metric.name, (None, None))
    if _is_mode(parameters, "weighting"):
        weighting, centre = evidence.weighting, evidence.centre
    elif target == "_means" or "means" in parameters or ("centre" in parameters):
        centre = evidence.centre
    elif target == "_features":
        weighting, centre = "sample", None if metric.name in UNCENTRED else "sample"
    elif {"nearest", "labels"} & set(parameters):
        weighting = "sample"
    return {
        "split": evidence.split,
        "weighting": weighting,
        "centre": centre,
        "reduction": None if _of_head(metric, target) else evidence.reduction,
        "baseline": evidence.baseline,
    }
