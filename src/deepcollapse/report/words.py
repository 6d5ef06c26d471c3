"""What each measure is called, and what it says, in plain words, for everything that draws or prints."""

import math
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Words:
    """A measure in plain words: its symbol, a short name, and what it says in one sentence.

    `collapsed` is its value at full neural collapse: a number, "C - 1" for one less than the number of classes, or None
    where collapse does not fix it.
    """

    symbol: str
    plain: str
    meaning: str
    collapsed: int | str | None = None

    def target(self, num_classes: int | None) -> float | None:
        """The value at full collapse for this many classes, or None where it has none or the classes are not known."""
        if self.collapsed == "C - 1":
            return None if num_classes is None else float(num_classes - 1)
        return None if self.collapsed is None or isinstance(self.collapsed, str) else float(self.collapsed)


WORDS: dict[str, Words] = {
    "within_class_variability": Words(
        "NC1",
        "within-class variability",
        "How far samples of one class scatter about their class mean, against how far the class means lie apart; "
        "0 when every class has become a single point.",
        0,
    ),
    "equinorm": Words(
        "NC2", "unequal lengths", "How much the lengths differ from class to class; 0 when all are equally long.", 0
    ),
    "equiangularity": Words(
        "NC2",
        "unequal angles",
        "How much the angles between classes differ from pair to pair; 0 when every pair is equally far apart.",
        0,
    ),
    "maximal_angle": Words(
        "NC2",
        "distance from the widest angle",
        "How far the angles are from the widest that so many classes can have all at once, which is a cosine of "
        "-1/(C-1): the simplex; 0 when they reach it.",
        0,
    ),
    "self_duality": Words(
        "NC3",
        "self-duality",
        "How far the classifier's rows point away from the class means, once both are brought to one scale; "
        "0 when they agree.",
        0,
    ),
    "nearest_class_mean_disagreement": Words(
        "NC4",
        "disagreement with the nearest class mean",
        "The share of samples on which the network decides otherwise than by choosing the nearest class mean; "
        "0 when both are one rule.",
        0,
    ),
    "accuracy": Words("", "accuracy", "The share of samples that the network gets right.", None),
    "loss": Words("", "loss", "What training makes small.", None),
    "loss_with_decay": Words("", "loss with weight decay", "The loss plus the penalty on the weights.", None),
    "tpt_onset": Words(
        "", "onset of the terminal phase", "The epoch from which on the network errs on no training sample.", None
    ),
    "truncated_accuracy": Words(
        "", "accuracy, cut to rank", "The accuracy that is left when every layer is cut to its rank.", None
    ),
    "linear_probe_accuracy": Words(
        "", "linear-probe accuracy", "How well a linear classifier decides by this layer's features.", None
    ),
    "learning_rate": Words("", "learning rate", "The size of the optimiser's steps.", None),
    "cdnv": Words("CDNV", "class-distance normalised variance", "NC1's sibling, averaged over pairs of classes.", 0),
    "cdnv_max": Words("CDNV", "class-distance normalised variance, worst pair", "The pair closest to overlapping.", 0),
    "separation_fuzziness": Words(
        "D", "separation fuzziness", "NC1 times the number of classes; often falls by one factor a layer.", 0
    ),
    "trace_ratio": Words("", "within over between variance", "Scatter within classes over scatter between them.", 0),
    "log_trace_ratio": Words("", "log of within over between variance", "The trace ratio's logarithm.", None),
    "largest_generalised_eigenvalue": Words("", "worst direction's variability", "NC1 along its worst direction.", 0),
    "gram_etf_error": Words("", "distance from the simplex (Gram)", "All angles and lengths in one number.", 0),
    "log_inverse_distance_mean": Words("GNC2", "log inverse distance", "How evenly the classes fill the sphere.", None),
    "log_inverse_distance_std": Words(
        "GNC2", "log inverse distance, spread", "How unevenly the classes fill the sphere.", 0
    ),
    "log_inverse_distance_variation": Words(
        "GNC2", "log inverse distance, relative spread", "Its spread over its size.", 0
    ),
    "hyperspherical_energy": Words(
        "", "hyperspherical energy", "The energy of equal charges at the classes' directions; least when even.", None
    ),
    "coincident_pairs": Words("", "coincident pairs", "Pairs of classes in one and the same place.", 0),
    "nearest_class_mean_accuracy": Words(
        "NCC", "nearest-class-mean accuracy", "How well the nearest class mean alone decides in this layer.", 1
    ),
    "effective_rank": Words("", "effective rank", "How many directions are in real use.", "C - 1"),
    "stable_rank": Words("", "stable rank", "Total energy over that of the strongest direction.", "C - 1"),
    "participation_ratio": Words("", "participation ratio", "How many directions share the variance.", "C - 1"),
    "energy_effective_rank": Words("", "energy effective rank", "The effective rank, counted in energy.", "C - 1"),
    "nuclear_rank": Words("", "nuclear rank", "All strengths together over the strongest.", "C - 1"),
    "energy_rank": Words("", "energy rank", "How many directions hold 99 % of the energy.", None),
    "numerical_rank": Words("", "numerical rank", "How many directions stand above rounding.", "C - 1"),
    "rank_at_one_percent": Words(
        "", "rank at 1 %", "How many directions have at least 1 % of the strength of the strongest.", "C - 1"
    ),
    "rank_above_noise_edge": Words(
        "", "rank above noise", "How many directions stand above what noise of the same size would give.", None
    ),
    "rank_by_hard_threshold": Words(
        "", "rank by the hard threshold", "How many directions are worth keeping against noise of their size.", None
    ),
    "spectral_norm": Words("", "spectral norm", "The strength of the strongest direction.", None),
    "frobenius_norm": Words("", "Frobenius norm", "The strength of all directions together.", None),
    "rows": Words("", "rows", "How many outputs the matrix has.", None),
    "columns": Words("", "columns", "How many inputs the matrix has.", None),
    "total_cluster_variation": Words(
        "TCV", "total cluster variation", "How far samples lie from their class mean, squared, on average.", 0
    ),
    "relative_cluster_variation": Words(
        "TCV", "relative cluster variation", "The share of the features' energy that is spread within classes.", 0
    ),
    "rankme": Words("", "RankMe", "The effective rank of features that were not centred.", None),
    "alpha_req": Words("", "decay of the spectrum", "How fast the eigenvalues fall off, as a power.", None),
    "covariance_rank": Words("", "numerical rank of the covariance", "How many directions are in use at all.", None),
    "mean_norm": Words("", "mean length", "The average length.", None),
    "global_mean_norm": Words("", "length of the global mean", "How far the features' centre is from 0.", None),
    "gram_self_duality": Words("NC3", "self-duality (Gram)", "NC3 written with inner products.", 0),
    "self_duality_cosine_mean": Words("NC3", "cosine of classifier and mean", "1 when they point the same way.", 1),
    "self_duality_cosine_min": Words("NC3", "cosine of classifier and mean, worst class", "1 at collapse.", 1),
    "self_duality_cosine_std": Words("NC3", "cosine of classifier and mean, spread", "0 at collapse.", 0),
    "uniform_duality": Words("UNC3", "uniform duality", "NC3 for more classes than dimensions.", 0),
    "uniform_duality_variation": Words("UNC3", "uniform duality, relative spread", "Its spread over its size.", 0),
    "generalised_self_duality": Words(
        "GNC3", "self-duality, class by class", "One less the mean cosine of classifier row and class mean.", 0
    ),
    "centre_logit_norm": Words("", "logits at the centre", "How far from even the decision at the centre is.", 0),
    "minority_angle_mean": Words(
        "", "cosine between small classes", "1 when the small classes have become one; minority collapse.", None
    ),
    "minority_angle_min": Words(
        "", "cosine between small classes, least", "That of the two small classes that are widest apart.", None
    ),
    "minority_norm_ratio": Words(
        "", "length of small classes over large ones", "0 when the small classes have vanished, 1 when balanced.", 1
    ),
    "relative_distance_to_rank_k": Words(
        "", "relative distance to rank k", "How far from rank k, as a share of the norm.", None
    ),
    "rank_collapse_bound": Words("", "bound on the distance to rank k", "What variability over decay allows.", None),
    "rank_collapse_bound_product": Words(
        "", "product bound on the distance to rank k", "The same, signals and inputs taken apart.", None
    ),
    "rank_collapse_bound_variability": Words(
        "", "variability bound on the distance to rank k", "The same by the inputs' variation within groups.", None
    ),
    "rank_collapse_bound_alignment": Words(
        "", "bound without decay", "The part that is not along the gradient between groups.", None
    ),
    "rank_collapse_bound_without_decay": Words(
        "", "bound at the implied decay", "The bound at the decay for which the weight is closest to stationary.", None
    ),
    "stationarity_residual": Words(
        "", "distance from stationary", "What is left of the gradient with decay; 0 where training has settled.", None
    ),
    "implied_decay": Words(
        "", "implied decay", "The weight decay for which the weight is closest to stationary.", None
    ),
    "input_cluster_variation": Words(
        "TCV", "variation of the inputs within groups", "Mean squared distance of inputs to their group's mean.", None
    ),
    "rank_collapse_groups": Words("k", "groups", "The rank that the gradient between groups cannot exceed.", None),
    "weight_budget": Words("E_W", "mean squared length of classifier rows", "How large the classifier is.", None),
    "feature_budget": Words(
        "E_H", "mean squared distance of features from their mean", "How large the features are, class by class.", None
    ),
    "bias_norm": Words("", "length of the classifier's bias", "How far the classifier leans without seeing.", None),
    "orthogonal_frame_error": Words(
        "DNC2",
        "distance from an orthogonal frame",
        "How far the class means, about zero, are from orthogonal and equally long; 0 in deep neural collapse.",
        None,
    ),
    "row_alignment": Words(
        "DNC3", "weights off the class means", "How far the weights point from every class mean; 0 at collapse.", 0
    ),
    "partial_jacobian_rank": Words(
        "rank J",
        "rank as a function of the input",
        "In how many directions a layer's features move when a patch of the input does, as float32 tells.",
        None,
    ),
    "partial_jacobian_rank_svd": Words(
        "rank J",
        "rank as a function of the input, strictly",
        "The same, with every direction that rounding has not swallowed.",
        None,
    ),
    "perturbed_dimension": Words(
        "", "dimension of perturbed features", "How many directions the features of slightly noisy copies span.", None
    ),
    "flattened_dimension": Words("", "features of a sample, flattened", "How many numbers the layer gives.", None),
    "classification_dimension": Words(
        "ClsDim",
        "classification dimension",
        "How many principal axes of the features keep 95 % of the accuracy, with uncentred features.",
        None,
    ),
    "centred_classification_dimension": Words(
        "ClsDim", "classification dimension, centred", "How many principal axes keep 95 % of the accuracy.", None
    ),
    "present_classes": Words("", "classes with samples", "How many classes have samples at all.", None),
    "smallest_class": Words("", "samples in the smallest class", "Few samples make NC1 look smaller.", None),
    "largest_class": Words("", "samples in the largest class", "How many samples the largest class has.", None),
    "dimension": Words("", "dimension of the features", "How many numbers a sample's features are.", None),
    "rounding_floor": Words("", "rounding's floor under NC1", "NC1 below this is rounding, not geometry.", None),
}

# What a generic measure was applied to, as its name's ending says.
SUFFIXES = {
    "_means": "class means",
    "_classifier": "classifier",
    "_features": "features",
    "_weight_spatial": "weights, height against width",
    "_weight": "weights",
}


def words_for(measure: str) -> Words:
    """The words for a measure's name, its suffix understood; a name that nobody described is read as it stands.

    >>> words_for("equinorm_classifier").plain
    'unequal lengths, classifier'
    >>> words_for("my_measure").plain
    'my measure'
    """
    if measure in WORDS:
        return WORDS[measure]
    for suffix, what in SUFFIXES.items():
        base = WORDS.get(measure.removesuffix(suffix))
        if base and measure.endswith(suffix):
            return Words(base.symbol, f"{base.plain}, {what}", base.meaning, base.collapsed)
    return Words("", measure.replace("_", " "), "", None)


def number(value: float | int | None, figures: int = 3) -> str:
    """A number as a reader likes it: three figures, and powers of ten only where they help.

    >>> number(0.04567), number(123456.0), number(0.0000321), number(0.0), number(None), number(12.192447, 6)
    ('0.0457', '1.23 × 10⁵', '3.21 × 10⁻⁵', '0', '–', '12.1924')
    """
    if value is None or math.isnan(value):
        return "–"
    if math.isinf(value):
        return "∞" if value > 0 else "-∞"
    if value == 0 or 1e-3 <= abs(value) < 10 ** max(5, figures) - 0.5:
        return np.format_float_positional(float(f"{value:.{figures}g}"), trim="-")
    mantissa, exponent = f"{value:.{figures - 1}e}".split("e")
    superscript = str(int(exponent)).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))
    return f"{mantissa} × 10{superscript}"


def percent(value: float) -> str:
    """A share as a percentage, with the digits that matter close to 0 and to 100.

    >>> percent(0.9995), percent(0.5), percent(0.0), percent(1.0)
    ('99.95 %', '50 %', '0 %', '100 %')
    """
    text = np.format_float_positional(round(100 * value, 2), trim="-")
    return f"{text} %"
