"""What is measured: pure functions of class moments, of the classifier, and of a layer's features. No networks."""

from deepcollapse.geometry.budget import feature_budget, weight_budget
from deepcollapse.geometry.class_distance import cdnv, cdnv_fourth_power, cdnv_max, cdnv_per_pair
from deepcollapse.geometry.classification_dimension import (
    centred_classification_dimension,
    classification_dimension,
)
from deepcollapse.geometry.cluster_variation import relative_cluster_variation, total_cluster_variation
from deepcollapse.geometry.decision import (
    linear_decisions,
    nearest_class_mean_accuracy,
    nearest_class_mean_disagreement,
    nearest_class_means,
)
from deepcollapse.geometry.duality import (
    centre_logit_norm,
    gram_self_duality,
    self_duality,
    self_duality_cosine_mean,
    self_duality_cosine_min,
    self_duality_cosines,
    uniform_duality,
    uniform_duality_dot,
    uniform_duality_variation,
)
from deepcollapse.geometry.foreign import Neco, foreign_orthogonality, neco
from deepcollapse.geometry.frame import orthogonal_conditioning, orthogonal_frame_error, row_alignment
from deepcollapse.geometry.gram_rank import gram_rank
from deepcollapse.geometry.independence import (
    IndependenceDeficit,
    independence_deficit,
    independence_deficit_by_descent,
)
from deepcollapse.geometry.metric import METRICS, Metric
from deepcollapse.geometry.minority import erased_classes, minority_angle_mean, minority_angle_min, minority_norm_ratio
from deepcollapse.geometry.moments import ClassMoments, SpanScatter
from deepcollapse.geometry.noise import (
    known_noise_threshold,
    marchenko_pastur_cdf,
    marchenko_pastur_median,
    noise_deviation,
    optimal_shrinkage,
    rank_above_noise_edge,
    rank_by_hard_threshold,
    unknown_noise_threshold,
)
from deepcollapse.geometry.probe import least_squares_classifier, linear_probe_accuracy
from deepcollapse.geometry.quotients import (
    frobenius_quotient,
    log_trace_ratio,
    rounding_floor,
    spectral_quotient,
    trace_ratio,
)
from deepcollapse.geometry.rank import (
    alpha_req,
    alpha_req_window,
    covariance_rank,
    effective_rank,
    energy_effective_rank,
    energy_rank,
    nuclear_rank,
    numerical_rank,
    participation_ratio,
    rank_at_one_percent,
    rankme,
    singular_values,
    stable_rank,
)
from deepcollapse.geometry.regression import nrc1, nrc1_centred, nrc2, nrc3, nrc3_at, nrc3_gamma, nrc3_gamma_appendix_f
from deepcollapse.geometry.running import RunningMoments, collect, sum_over_processes
from deepcollapse.geometry.second_look import RunningSpan, look_again
from deepcollapse.geometry.separation import EquiSeparation, effective_depth, equi_separation, tunnel_start
from deepcollapse.geometry.simplex import (
    cosines,
    equiangularity,
    equinorm,
    equinorm_unbiased,
    gram_etf_error,
    maximal_angle,
    mean_norm,
    simplex_coordinates,
    simplex_etf,
)
from deepcollapse.geometry.softmax_code import (
    one_vs_rest_distances,
    one_vs_rest_margin,
    softmax_code_bounds,
    softmax_code_optimum,
)
from deepcollapse.geometry.unfolding import channel_unfolding, circular_singular_values, spatial_unfolding
from deepcollapse.geometry.uniformity import (
    coincident_pairs,
    hyperspherical_energy,
    log_inverse_distance_mean,
    log_inverse_distance_std,
    log_inverse_distance_variation,
    within_class_uniformity_energy,
)
from deepcollapse.geometry.variability import (
    class_variability,
    generalised_eigenvalues,
    largest_generalised_eigenvalue,
    separation_fuzziness,
    within_class_variability,
)

__all__ = [
    # moments
    "ClassMoments",
    "SpanScatter",
    # running
    "RunningMoments",
    "collect",
    "sum_over_processes",
    # second_look
    "RunningSpan",
    "look_again",
    # metric
    "METRICS",
    "Metric",
    # variability
    "within_class_variability",
    "separation_fuzziness",
    "class_variability",
    "generalised_eigenvalues",
    "largest_generalised_eigenvalue",
    # quotients
    "trace_ratio",
    "log_trace_ratio",
    "frobenius_quotient",
    "spectral_quotient",
    "rounding_floor",
    # cluster_variation
    "total_cluster_variation",
    "relative_cluster_variation",
    # class_distance
    "cdnv_per_pair",
    "cdnv",
    "cdnv_fourth_power",
    "cdnv_max",
    # simplex
    "simplex_etf",
    "cosines",
    "equinorm",
    "equinorm_unbiased",
    "equiangularity",
    "maximal_angle",
    "gram_etf_error",
    "mean_norm",
    "simplex_coordinates",
    # duality
    "self_duality",
    "gram_self_duality",
    "self_duality_cosines",
    "self_duality_cosine_mean",
    "self_duality_cosine_min",
    "uniform_duality",
    "uniform_duality_dot",
    "uniform_duality_variation",
    "centre_logit_norm",
    # frame
    "orthogonal_frame_error",
    "orthogonal_conditioning",
    "row_alignment",
    # decision
    "linear_decisions",
    "nearest_class_means",
    "nearest_class_mean_accuracy",
    "nearest_class_mean_disagreement",
    # probe
    "least_squares_classifier",
    "linear_probe_accuracy",
    # separation
    "effective_depth",
    "tunnel_start",
    "EquiSeparation",
    "equi_separation",
    # rank
    "singular_values",
    "effective_rank",
    "rankme",
    "stable_rank",
    "participation_ratio",
    "energy_effective_rank",
    "nuclear_rank",
    "energy_rank",
    "numerical_rank",
    "rank_at_one_percent",
    "covariance_rank",
    "alpha_req_window",
    "alpha_req",
    # noise
    "marchenko_pastur_cdf",
    "marchenko_pastur_median",
    "known_noise_threshold",
    "unknown_noise_threshold",
    "optimal_shrinkage",
    "noise_deviation",
    "rank_above_noise_edge",
    "rank_by_hard_threshold",
    # unfolding
    "channel_unfolding",
    "spatial_unfolding",
    "circular_singular_values",
    # gram_rank
    "gram_rank",
    # classification_dimension
    "classification_dimension",
    "centred_classification_dimension",
    # independence
    "IndependenceDeficit",
    "independence_deficit",
    "independence_deficit_by_descent",
    # uniformity
    "coincident_pairs",
    "log_inverse_distance_mean",
    "log_inverse_distance_std",
    "log_inverse_distance_variation",
    "hyperspherical_energy",
    "within_class_uniformity_energy",
    # softmax_code
    "one_vs_rest_distances",
    "one_vs_rest_margin",
    "softmax_code_optimum",
    "softmax_code_bounds",
    # minority
    "erased_classes",
    "minority_angle_mean",
    "minority_angle_min",
    "minority_norm_ratio",
    # budget
    "weight_budget",
    "feature_budget",
    # foreign
    "foreign_orthogonality",
    "Neco",
    "neco",
    # regression
    "nrc1",
    "nrc1_centred",
    "nrc2",
    "nrc3_gamma",
    "nrc3_gamma_appendix_f",
    "nrc3_at",
    "nrc3",
]

# Tables and records list the measures as they are listed here, not as they happened to be imported.
for _name in [name for name in __all__ if name in METRICS]:
    METRICS[_name] = METRICS.pop(_name)
