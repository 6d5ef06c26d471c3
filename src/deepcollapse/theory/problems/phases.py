r"""When minority classes collapse in the layer-peeled model, when they vanish, and what repeating their samples does.

Two groups, K_A majority and K_B minority classes, counts in a ratio R, budgets E_W and E_H with s = sqrt(E_W E_H). As R
grows the minority passes from "full" to "collapse" (its classes coincide) at R0(s), and may go on to "erased" (it is
zero) at R1(s). Minority Collapse as R goes to infinity is due to :cite:`fang2021`; the thresholds are derived here, and
held to the solved model by the tests. A single minority class has nothing to coincide with: thresholds of collapse are
NaN.
"""

import math

from scipy.optimize import brentq

from deepcollapse.errors import OptionError
from deepcollapse.theory.problems.layer_peeled import LayerPeeled
from deepcollapse.theory.reduced.groups import Groups
from deepcollapse.theory.reduced.two_groups import log_collapse_ratio, log_erasure_ratio, stationary


def critical_budget(majority: int, minority: int, ratio: float) -> float:
    """s0(R): minority classes coincide exactly where sqrt(E_W E_H) is at most this; 0 at R = 1, infinite at R = inf.

    Raises OptionError for a ratio below 1 or sizes below 1.

    >>> round(critical_budget(5, 5, 10.0), 10)
    2.1339287843
    """
    Groups.two(majority, minority, ratio)
    if minority == 1:
        return math.nan
    if ratio == 1 or math.isinf(ratio):
        return 0.0 if ratio == 1 else math.inf
    # The price of the budget is 1 there: the weight of a minority class.
    z = stationary(majority, minority, -math.log(ratio), 0.0)
    return 0.0 if z is None else z.nuclear_norm / (majority + minority)


def collapse_ratio(majority: int, minority: int, weight_budget: float, feature_budget: float) -> float:
    """R0(s), the inverse of s0: minority classes coincide exactly where R is at least this; above 1.

    It grows exponentially with s (`collapse_slope`), and is infinite here where no float holds it; `log_ratio_of`
    gives its logarithm for any budget. Raises OptionError for budgets not above 0 or sizes below 1.

    >>> round(collapse_ratio(5, 5, 1.0, 5.0), 6)
    12.192447
    """
    return _exp(log_ratio_of("collapse", majority, minority, weight_budget, feature_budget))


def erasure_ratio(majority: int, minority: int, weight_budget: float, feature_budget: float) -> float:
    """R1(s): classifiers and features of the minority are zero exactly where R is at least this; infinite for never.

    Never from s = `erasure_budget` on. Raises OptionError for budgets not above 0 or sizes below 1.

    >>> round(erasure_ratio(7, 3, 1.0, 5.0), 6), erasure_ratio(5, 5, 1.0, 5.0)
    (5.70533, inf)
    """
    return _exp(log_ratio_of("erasure", majority, minority, weight_budget, feature_budget))


def log_ratio_of(phase: str, majority: int, minority: int, weight_budget: float, feature_budget: float) -> float:
    """ln of the ratio at which "collapse" or "erasure" sets in, whatever its size.

    >>> round(log_ratio_of("collapse", 5, 5, 100.0, 100.0), 4)
    210.1908
    """
    if phase not in ("collapse", "erasure"):
        raise OptionError(f'phase must be "collapse" or "erasure"; got {phase!r}.')
    radius = LayerPeeled(Groups.two(majority, minority, 1.0), weight_budget, feature_budget).radius
    if phase == "erasure":
        return log_erasure_ratio(majority, minority, radius)
    return math.nan if minority == 1 else log_collapse_ratio(majority, minority, radius)


def collapse_slope(majority: int, minority: int) -> float:
    """The limit of d ln R0/ds for large budgets, K/(K_A - 1 + sqrt(K_B/K)).

    >>> round(collapse_slope(5, 5), 3)
    2.124
    """
    Groups.two(majority, minority, 1.0)
    size = majority + minority
    return size / (majority - 1 + math.sqrt(minority / size))


def erasure_budget(majority: int, minority: int) -> float:
    """s from which on no ratio erases the minority, K_A (K_A-1)/K ln(1 + sqrt(K/K_B)); 0 for one majority class.

    >>> round(erasure_budget(7, 3), 5)
    4.36284
    """
    Groups.two(majority, minority, 1.0)
    size = majority + minority
    return majority * (majority - 1) / size * math.log1p(math.sqrt(size / minority))


def minority_cosine(majority: int, minority: int, ratio: float, weight_budget: float, feature_budget: float) -> float:
    """The cosine of two minority classifiers, from -1/(K-1) at R = 1 to 1 from R0 on; NaN once erased or without pairs.

    >>> minority_cosine(5, 5, 20.0, 1.0, 5.0)
    1.0
    """
    optimum = LayerPeeled(Groups.two(majority, minority, ratio), weight_budget, feature_budget).optimum()
    return optimum.balanced.cosine("classifier", 1, 1)


def oversampling_past_collapse(
    majority: int, minority: int, ratio: float, weight_budget: float, feature_budget: float
) -> float:
    """R/R0: how often minority samples must be repeated, more often than this, for their classes to come apart.

    At least 1, which says that they are apart already or come apart with any repetition; infinite without samples.
    Weighting their loss does the same. Raises OptionError as `collapse_ratio` does, and for a ratio below 1.

    >>> round(oversampling_past_collapse(5, 5, 1000.0, 1.0, 5.0), 3)
    82.018
    """
    Groups.two(majority, minority, ratio)
    log_threshold = log_ratio_of("collapse", majority, minority, weight_budget, feature_budget)
    return math.nan if math.isnan(log_threshold) else _exp(max(0.0, math.log(ratio) - log_threshold))


def oversampling_for_cosine(
    majority: int, minority: int, ratio: float, weight_budget: float, feature_budget: float, cosine: float
) -> float:
    """How often minority samples must be repeated for their classifiers to stand at this cosine or a lower one.

    Between 1 and R, which restores the simplex ETF with cosine -1/(K-1). Raises OptionError for cosines that are not
    in [-1/(K-1), 1), for an infinite ratio, and as `collapse_ratio` does; NaN for a single minority class.

    >>> round(oversampling_for_cosine(5, 5, 1000.0, 1.0, 5.0, cosine=0.0), 1)
    282.3
    """
    groups = Groups.two(majority, minority, ratio)
    least = -1 / (groups.num_classes - 1)
    if not least <= cosine < 1:
        raise OptionError(
            f"repeating minority samples can bring their cosine to anything from {least:.6g}, that of balanced "
            f"classes, to below 1; got {cosine:g}."
        )
    if math.isinf(ratio):
        raise OptionError("classes without samples cannot be repeated: the ratio must be finite; got inf.")
    if minority == 1:
        return math.nan

    def too_wide(log_ratio: float) -> float:
        return minority_cosine(majority, minority, math.exp(log_ratio), weight_budget, feature_budget) - cosine

    # From the collapse on cosines are 1 (or undefined); below it they fall with the ratio.
    high = min(math.log(ratio), log_ratio_of("collapse", majority, minority, weight_budget, feature_budget))
    if cosine == least or high == 0:
        return float(ratio)
    if high == math.log(ratio) and too_wide(high) <= 0:
        return 1.0
    found = brentq(too_wide, 0.0, high, xtol=1e-13)
    assert isinstance(found, float)
    return ratio / math.exp(found)


def _exp(logarithm: float) -> float:
    return math.inf if logarithm > 709 else math.exp(logarithm)
