"""What theory predicts, added to a run made from formulas: the models disagree, and one of them has nothing to say."""

from typing import Any

from sample import EPOCHS, fade

from deepcollapse.records import Record
from deepcollapse.records.record import LAYER_PEELED, SELI, UNCONSTRAINED

# (measure, layer) -> measured at the end, and predicted by each model
NUMBERS: dict[tuple[str, str], tuple[float, dict[str, float]]] = {
    ("minority_angle_mean_classifier", "head"): (0.2, {LAYER_PEELED: 0.9, UNCONSTRAINED: 0.25, SELI: 0.1}),
    ("minority_angle_mean_means", "head.input"): (-0.1, {LAYER_PEELED: 0.8, UNCONSTRAINED: -0.3, SELI: -0.4}),
    ("equinorm_classifier", "head"): (0.003, {LAYER_PEELED: 0.5, UNCONSTRAINED: 1e-17, SELI: 1e-17}),
    ("weight_budget", "head"): (2.0, {UNCONSTRAINED: 1.5}),
    ("feature_budget", "head.input"): (30.0, {UNCONSTRAINED: 20.0}),
    ("cdnv", "head.input"): (0.01, {LAYER_PEELED: 0.0, UNCONSTRAINED: 0.0, SELI: 0.0}),
    ("loss", "network"): (0.02, {LAYER_PEELED: 0.001, UNCONSTRAINED: 0.03}),
}
PARAMETERS = {
    LAYER_PEELED: {"weight_budget": 2.0, "feature_budget": 30.0, "class_ratio": 10.0, "collapse_ratio": 1234.5},
    UNCONSTRAINED: {"weight_decay": 5e-3, "feature_decay": 6e-6, "collapse_count": 0.02},
    SELI: {"class_ratio": 10.0},
}
GAP = "optimality_gap"


def add_predictions(run, *, silent=(), epochs=EPOCHS):
    """Append measured minority angles over epochs, and the models' rows at the end; `silent` models give a reason."""
    last: dict[str, Any] = {"epoch": epochs[-1], "split": "train"}
    for (measure, layer), (value, _) in NUMBERS.items():
        if measure.startswith("minority"):
            rows = [(epoch, value + fade(epoch, 0.3) - fade(epochs[-1], 0.3)) for epoch in epochs]
        elif measure in ("weight_budget", "feature_budget"):
            rows = [(epochs[-1], value)]
        else:
            continue  # the run has those
        run.append([Record(epoch=e, split="train", layer=layer, measure=measure, value=v) for e, v in rows])
    run.append([Record(layer="head.input", measure="smallest_class", value=5, unit="samples", **last)])
    for model, parameters in PARAMETERS.items():
        if model in silent:
            run.append([Record(layer="network", measure=GAP, baseline=model, note="<no> optimum", **last)])
            continue
        told = [(m, layer, theirs[model]) for (m, layer), (_, theirs) in NUMBERS.items() if model in theirs]
        told += [(name, "network", value) for name, value in parameters.items()]
        told += [(GAP, "network", 1e-15)]
        run.append([Record(layer=layer, measure=m, value=v, baseline=model, **last) for m, layer, v in told])
    return run
