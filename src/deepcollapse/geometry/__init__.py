"""What is measured: pure functions of class moments, of the classifier, and of a layer's features. No networks."""

from deepcollapse.geometry.decision import (
    linear_decisions,
    nearest_class_mean_accuracy,
    nearest_class_mean_disagreement,
    nearest_class_means,
)
from deepcollapse.geometry.metric import METRICS, Metric
from deepcollapse.geometry.moments import ClassMoments, SpanScatter
from deepcollapse.geometry.running import RunningMoments, collect, sum_over_processes
from deepcollapse.geometry.second_look import RunningSpan, look_again
from deepcollapse.geometry.variability import (
    cdnv,
    cdnv_fourth_power,
    cdnv_max,
    cdnv_per_pair,
    class_variability,
    frobenius_quotient,
    generalised_eigenvalues,
    largest_generalised_eigenvalue,
    log_trace_ratio,
    rounding_floor,
    separation_fuzziness,
    spectral_quotient,
    trace_ratio,
    within_class_variability,
)

__all__ = [
    "ClassMoments",
    "SpanScatter",
    "RunningMoments",
    "RunningSpan",
    "collect",
    "look_again",
    "sum_over_processes",
    "Metric",
    "METRICS",
    "within_class_variability",
    "class_variability",
    "separation_fuzziness",
    "generalised_eigenvalues",
    "largest_generalised_eigenvalue",
    "trace_ratio",
    "log_trace_ratio",
    "frobenius_quotient",
    "spectral_quotient",
    "cdnv",
    "cdnv_per_pair",
    "cdnv_max",
    "cdnv_fourth_power",
    "rounding_floor",
    "linear_decisions",
    "nearest_class_means",
    "nearest_class_mean_disagreement",
    "nearest_class_mean_accuracy",
]
