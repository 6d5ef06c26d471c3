"""What the models of theory predict, beside what was measured: each number under the name of its model."""

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from deepcollapse.errors import DeepCollapseError
from deepcollapse.geometry import METRICS, Metric
from deepcollapse.measurement import HEAD, Measurement
from deepcollapse.records import MODELS, Record
from deepcollapse.theory.head_geometry import head_records
from deepcollapse.theory.predictions.predicted import PREDICTORS, Predicted
from deepcollapse.theory.predictions.setting import Loss, Setting, require_training

if TYPE_CHECKING:
    import pandas

NETWORK = "network"
GAP = "optimality_gap"
# Of a layer's numbers, those that no model determines: they tell of rounding, of the features' offset from 0, or of how
# a spectrum goes on past C - 1 directions.
_UNDETERMINED = {"rounding_floor", "rankme", "alpha_req"}


def beside(
    measurement: Measurement, *, loss: Loss = "cross-entropy", weight_decay: float | None = None
) -> "pandas.DataFrame":
    """A table of what was measured on training data and what each model predicts for the same network.

    Columns are measure, layer, measured, and one for each model: "layer-peeled model" (given the measured budgets),
    "unconstrained features" (given `weight_decay`, as the optimiser had it, and the feature decay that balances the
    norms), "SELI" (proportions and angles alone). They disagree where classes are imbalanced. NaN stands where a model
    says nothing; `frame.attrs["notes"]` says by model what it was given, or why it has nothing to say. `loss` is what
    was minimised: "cross-entropy", or "mse" as `nn.MSELoss` has it.

    Raises OptionError where the measurement has no head, or lacks its `weight_budget` and `feature_budget`. Sources:
    :cite:`fang2021,zhu2021,thrampoulidis2022`; the feature decay from the norms' balance is derived here.

    >>> import torch
    >>> from deepcollapse import measure_features
    >>> head = torch.eye(3).double() - 1 / 3
    >>> table = beside(measure_features(2 * head, torch.arange(3), num_classes=3, classifier=head), weight_decay=0.01)
    >>> row = table.set_index("measure").loc["stable_rank_classifier"]
    >>> [round(float(row[name]), 9) for name in ("measured", "layer-peeled model", "SELI")]
    [2.0, 2.0, 2.0]
    """
    import pandas

    setting = Setting.of(measurement, loss, weight_decay)
    measured = _measured(measurement)
    records = [record for model in MODELS for record in _told(model, setting, measured)]
    rows: dict[tuple[str, str], dict[str, Any]] = {}
    for record in records:
        if (key := (record.measure, record.layer)) in measured:
            row = rows.setdefault(key, {"measure": key[0], "layer": key[1], "measured": measured[key].value})
            row[str(record.baseline)] = record.value
    rows = {key: rows[key] for key in measured if key in rows}
    frame = pandas.DataFrame(list(rows.values()), columns=["measure", "layer", "measured", *MODELS])
    frame = frame.astype(dict.fromkeys(["measured", *MODELS], "float64"))
    frame.attrs["notes"] = {record.baseline: record.note for record in records if record.measure == GAP}
    return frame


def predictions(
    measurement: Measurement, *, loss: Loss = "cross-entropy", weight_decay: float | None = None
) -> list[Record]:
    """What `beside` shows as records: rows like those of `measurement`, whose `baseline` names the model.

    Predicted are those of the measurement's numbers at the head and its input that the model determines, and the
    training loss. Each model adds its parameters, at layer "network", each with a note on how it was come by, and
    "optimality_gap": how far its optimum may be from the best, or null with the reason why it predicts nothing. Empty
    for a measurement without a head or without its budgets. Raises OptionError for another loss or a decay below 0.
    """
    require_training(loss, weight_decay)
    try:
        setting = Setting.of(measurement, loss, weight_decay)
    except DeepCollapseError:
        return []
    measured = _measured(measurement)
    return [record for model in MODELS for record in _told(model, setting, measured)]


def with_predictions(
    measurement: Measurement, *, loss: Loss = "cross-entropy", weight_decay: float | None = None
) -> Measurement:
    """The measurement with its `predictions` among its records."""
    found = predictions(measurement, loss=loss, weight_decay=weight_decay)
    return replace(measurement, records=(*measurement.records, *found))


def _measured(measurement: Measurement) -> dict[tuple[str, str], Record]:
    """The network's own numbers, by measure and layer."""
    return {(r.measure, r.layer): r for r in measurement.records if r.baseline is None and r.array is None}


def _told(model: str, setting: Setting, measured: dict[tuple[str, str], Record]) -> list[Record]:
    """Everything one model says, or the reason why it says nothing."""
    split = next(iter(measured.values())).split
    try:
        found = PREDICTORS[model](setting)
        rows = _numbers(model, found, setting, measured)
    except DeepCollapseError as error:
        return [Record(layer=NETWORK, measure=GAP, split=split, baseline=model, note=str(error))]
    rows += [
        Record(layer=NETWORK, measure=name, value=value, unit=unit, split=split, baseline=model, note=note)
        for name, (value, unit, note) in found.parameters.items()
    ]
    notes = [
        "given " + ", ".join(f"{name} {value:.4g}" for name, (value, _, _) in found.parameters.items()),
        found.note,
    ]
    notes.append(f"classes without samples left out: {setting.absent}" if setting.absent else "")
    told = {"value": found.gap, "unit": "nat", "note": "; ".join(note for note in notes if note)}
    return [*rows, Record(layer=NETWORK, measure=GAP, split=split, baseline=model, **told)]


def _numbers(model: str, found: Predicted, setting: Setting, measured: dict[tuple[str, str], Record]) -> list[Record]:
    """The measured numbers as the model has them, each in the modes in which it was measured."""
    moments = found.moments(setting.counts, setting.weighting, setting.centre)
    names = {_bare(name) for name, _ in measured}
    wanted = {name: metric for name, metric in METRICS.items() if name in names and _determined(metric, found)}
    rows = []
    for record in head_records(
        moments, found.classifier, found.bias, metrics=wanted, weighting=setting.weighting, centre=setting.centre
    ):
        own = measured.get((record.measure, record.layer))
        # Rows of absent classes are part of the measured classifier, and not of the predicted one.
        incomparable = setting.absent and record.layer == HEAD and record.measure != "weight_budget"
        if own is not None and own.value is not None and not incomparable:
            rows.append(replace(own, value=record.value, baseline=model, note=None))
    loss = measured.get(("loss", NETWORK))
    if loss is not None and math.isfinite(value := found.loss(setting.counts, setting.loss)):
        rows.append(replace(loss, value=value, baseline=model, note="without the decays"))
    return rows


def _bare(name: str) -> str:
    """A measure's own name, without what it was taken of."""
    endings = ("_means", "_classifier", "_features")
    return next((name.removesuffix(end) for end in endings if name.endswith(end) and name not in METRICS), name)


def _determined(metric: Metric, found: Predicted) -> bool:
    """Whether a model's optimum fixes a measure of the head or its input."""
    if metric.name in _UNDETERMINED | found.given:
        return False
    return found.sized or "scale" in metric.invariant_to
