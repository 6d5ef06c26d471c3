"""How networks are measured: hooks that capture each layer, two looks at the data, and a monitor for your own loop."""

from deepcollapse.measurement.deepfool import Perturbations, deepfool
from deepcollapse.measurement.layers import HEAD, HEAD_INPUT, INPUT, default_layers
from deepcollapse.measurement.measure import measure, measure_features
from deepcollapse.measurement.measurement import BASELINES, Measurement
from deepcollapse.measurement.monitor import Monitor
from deepcollapse.measurement.robustness import Robustness, robustness

__all__ = [
    "measure",
    "measure_features",
    "Measurement",
    "Monitor",
    "deepfool",
    "Perturbations",
    "robustness",
    "Robustness",
    "default_layers",
    "BASELINES",
    "HEAD",
    "HEAD_INPUT",
    "INPUT",
]
