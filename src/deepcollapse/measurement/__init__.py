"""How networks are measured: hooks that capture each layer, two looks at the data, and a monitor for your own loop."""

from deepcollapse.measurement.coordinates import centre_patch, patch_alone
from deepcollapse.measurement.deepfool import Perturbations, deepfool
from deepcollapse.measurement.function_rank import function_rank
from deepcollapse.measurement.jacobian import PartialJacobians, partial_jacobians
from deepcollapse.measurement.layers import HEAD, HEAD_INPUT, INPUT, default_layers
from deepcollapse.measurement.measure import measure, measure_features
from deepcollapse.measurement.measurement import BASELINES, Measurement
from deepcollapse.measurement.monitor import Monitor
from deepcollapse.measurement.perturbation import PerturbedDimensions, perturbed_dimensions, principal_count
from deepcollapse.measurement.robustness import Robustness, robustness
from deepcollapse.measurement.weights import measure_weights

__all__ = [
    "measure",
    "measure_features",
    "measure_weights",
    "Measurement",
    "Monitor",
    "deepfool",
    "Perturbations",
    "robustness",
    "Robustness",
    "function_rank",
    "partial_jacobians",
    "PartialJacobians",
    "perturbed_dimensions",
    "PerturbedDimensions",
    "principal_count",
    "centre_patch",
    "patch_alone",
    "default_layers",
    "BASELINES",
    "HEAD",
    "HEAD_INPUT",
    "INPUT",
]
