r"""Two groups of like classes under cross-entropy: the stationary logits for a given price of the nuclear norm.

Classes A (K_A of them) and B, K = K_A + K_B. The logits of the optimum do not change when classes of one group are
exchanged, and their columns sum to zero, so four numbers hold them (derived here; the tests compare with general
solvers): a and b, by which a class's own logit exceeds those of its own group, and (r, rho) >= 0, by which the groups
stand apart on samples of A and of B,

    Z = a P_A (+) b P_B + v [ (r/sqrt K_A) 1_A^T, -(rho/sqrt K_B) 1_B^T ],
    v = (sqrt(K_B/(K K_A)) 1_A, -sqrt(K_A/(K K_B)) 1_B),   |v| = 1,

with singular values a (K_A - 1 times), b (K_B - 1 times) and t = hypot(r, rho). A price psi_A on a unit of nuclear
norm, per unit of a class's weight in the loss, fixes the softmax probabilities of A's samples, and these its logits.
Prices and probabilities are kept as logarithms: with large budgets they leave the range of floats.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import numpy as np
from scipy.optimize import brentq

from deepcollapse.theory.reduced.groups import GroupMatrix

# |ln tan theta| beyond which one of the two groups does not stand apart within the range of floats.
EXTREME = 700.0


@dataclass(frozen=True)
class TwoGroupLogits:
    """a, b, r and rho for `majority` = K_A and `minority` = K_B classes.

    >>> z = TwoGroupLogits(2, 2, 1.0, 1.0, 0.5**0.5, 0.5**0.5)  # equal groups: a simplex ETF
    >>> z.matrix().dense().round(12).tolist()[0]
    [0.75, -0.25, -0.25, -0.25]
    """

    majority: int
    minority: int
    a: float
    b: float
    r: float
    rho: float

    @property
    def nuclear_norm(self) -> float:
        """(K_A - 1) a + (K_B - 1) b + hypot(r, rho)."""
        return (self.majority - 1) * self.a + (self.minority - 1) * self.b + math.hypot(self.r, self.rho)

    def times(self, factor: float) -> "TwoGroupLogits":
        """All four numbers, multiplied."""
        return TwoGroupLogits(
            self.majority, self.minority, factor * self.a, factor * self.b, factor * self.r, factor * self.rho
        )

    def matrix(self) -> GroupMatrix:
        """The logits, K x K: one column a class."""
        size = self.majority + self.minority
        direction = np.array([math.sqrt(self.minority / size), -math.sqrt(self.majority / size)])
        block = np.outer(direction, [self.r, -self.rho])
        return GroupMatrix((self.majority, self.minority), np.array([self.a, self.b]), block)


def stationary(
    majority: int, minority: int, log_price_a: float, log_price_b: float, stretch: float = 1.0
) -> TwoGroupLogits | None:
    """The logits that minimise the loss plus the priced nuclear norm, where the groups stand apart; None where not.

    `log_price_a` and `log_price_b` are ln psi: the price of a unit of nuclear norm over the class's weight. `stretch`
    is d_A/d_B where columns of A and B count d_A and d_B in the norm. The direction (r d_A, rho d_B) is parallel to
    (cos theta, sin theta), one equation in theta; it is solved in ln tan theta.
    """

    @cache
    def at(tangent: float) -> tuple[float, float, float, float, float]:
        """a, b, r and rho for this ln tan theta, and how far (r, rho) then turns away from theta."""
        cos, sin = _direction(tangent)
        a, r = _side(majority, minority, log_price_a, cos, sin)
        b, rho = _side(minority, majority, log_price_b, sin, cos)
        return a, b, r, rho, r * stretch * sin - rho * cos

    low = -_farthest(minority, majority, log_price_a) if majority == 1 or log_price_a >= 0 else -EXTREME
    high = _farthest(majority, minority, log_price_b) if minority == 1 or log_price_b >= 0 else EXTREME
    # At the ends, where there are any, rho or r is zero but for rounding: only the other one tells.
    if low >= high or at(low)[3] <= 0 or at(high)[2] <= 0:
        return None
    tangent = low if at(low)[4] >= 0 else high if at(high)[4] <= 0 else _root(lambda t: at(t)[4], low, high)
    a, b, r, rho, _ = at(tangent)
    # The smaller of r and rho may be less than the rounding of its margin; the direction gives it in full.
    if tangent <= 0:
        rho = r * stretch * math.exp(tangent)
    else:
        r = rho * math.exp(-tangent) / stretch
    return TwoGroupLogits(majority, minority, a, b, r, rho) if r > 0 and rho >= 0 else None


def within_group_only(own: int, other: int, log_price: float) -> float:
    """a, where the groups do not stand apart: it solves K_A p + K_B q = psi_A at r = 0; 0 from psi_A = 1 on."""
    if own == 1 or log_price >= 0:
        return 0.0
    top = 1.0
    while _log_pull(own, other, top) > log_price:
        top *= 2
    return _root(lambda a: _log_pull(own, other, a) - log_price, 0.0, top)


def _log_pull(own: int, other: int, a: float) -> float:
    """ln(K_A p + K_B q) at r = 0: how hard the loss pulls on the contrast inside a group."""
    same, cross = -a, -a * (own - 1) / own
    total = np.logaddexp.reduce([0.0, math.log(own - 1) + same, math.log(other) + cross])
    return float(np.logaddexp(math.log(own) + same, math.log(other) + cross) - total)


def within_budget(majority: int, minority: int, log_ratio: float, radius: float) -> tuple[TwoGroupLogits, float]:
    """The logits of least loss whose nuclear norm is at most `radius`, and ln mu, the budget's price, over n_A.

    For weights R = exp(`log_ratio`) > 1 of the majority's classes to 1 of the minority's; R may be infinite, and then
    nothing is asked of the minority. mu falls as the budget grows: one equation, solved in ln(-ln(mu/R)).
    """
    erasure = log_erasure_ratio(majority, minority, radius)
    if log_ratio >= erasure and math.isfinite(erasure):
        a = radius / (majority - 1)
        return TwoGroupLogits(majority, minority, a, 0.0, 0.0, 0.0), _log_pull(majority, minority, a)

    # With many classes a contrast answers a thousandfold to how far its price lies below 1: that distance is what is
    # solved for, of the minority where it has a contrast, and else of the majority.
    full = minority > 1 and log_ratio < log_collapse_ratio(majority, minority, radius)
    ahead = log_ratio if full else 0.0

    def logits(depth: float) -> TwoGroupLogits | None:
        log_price = -math.exp(depth) - ahead
        if math.isinf(log_ratio):
            a, r = _side(majority, minority, log_price, 1.0, 0.0)
            return TwoGroupLogits(majority, minority, a, 0.0, r, 0.0) if r > 0 else None
        return stationary(majority, minority, log_price, -math.exp(depth) if full else log_price + log_ratio)

    found = _spend(logits, radius)
    z = logits(found)
    assert z is not None
    # The root is exact to rounding; the budget is met to the last digit.
    return z.times(radius / z.nuclear_norm), -math.exp(found) - ahead


def log_collapse_ratio(majority: int, minority: int, radius: float) -> float:
    """ln R0: from this ratio on, the logits inside the minority do not differ (mu = 1). Above 0, and finite."""
    return math.exp(_spend(lambda depth: stationary(majority, minority, -math.exp(depth), 0.0), radius))


def log_erasure_ratio(majority: int, minority: int, radius: float) -> float:
    """ln R1: from this ratio on, classifiers and features of the minority are zero; infinite where that never is."""
    a, size = radius / (majority - 1) if majority > 1 else math.inf, majority + minority
    turn = math.sqrt(size / minority)
    if a >= majority * math.log1p(turn):
        return math.inf
    near = math.exp(-a / majority)
    total = np.logaddexp.reduce([0.0, math.log(majority - 1) - a, math.log(minority) - a * (majority - 1) / majority])
    log_cross = -a * (majority - 1) / majority - float(total)
    apart = majority * (near - 1 / (1 + turn)) * (majority * near + minority + math.sqrt(size * minority))
    return math.log(majority / size) / 2 - log_cross - math.log(apart) / 2


def _spend(logits: Callable[[float], TwoGroupLogits | None], radius: float) -> float:
    """The argument at which logits that grow with it have the nuclear norm `radius`; None stands for no logits."""

    @cache
    def overspent(depth: float) -> float:
        z = logits(depth)
        return (0.0 if z is None else z.nuclear_norm) / radius - 1

    low, high, step = -1.0, 1.0, 1.0
    while overspent(low) >= 0:
        low, step = low - step, 2 * step
    step = 1.0
    while overspent(high) <= 0:
        high, step = high + step, min(2 * step, 8.0)
    return _root(overspent, low, high)


def _root(function: Callable[[float], float], low: float, high: float) -> float:
    root = brentq(function, low, high, xtol=1e-16, rtol=8 * np.finfo(float).eps, maxiter=500)
    assert isinstance(root, float)  # not the full output
    return root


def _direction(tangent: float) -> tuple[float, float]:
    """Cosine and sine of the angle whose tangent's logarithm is given, both to full precision."""
    ratio = math.exp(-abs(tangent))
    near, far = 1 / math.hypot(1.0, ratio), ratio / math.hypot(1.0, ratio)
    return (near, far) if tangent <= 0 else (far, near)


def _farthest(own: int, other: int, log_price: float) -> float:
    """ln tan of the widest angle at which a collapsed group of `other` classes keeps its logits in order.

    The sine there is sqrt(own/K)/psi: it makes all probabilities of the group's samples equal.
    """
    log_sine = (math.log(own) - math.log(own + other)) / 2 - log_price
    if log_sine >= 0:
        return EXTREME
    return min(EXTREME, log_sine - math.log(-math.expm1(2 * log_sine)) / 2)


def _side(own: int, other: int, log_price: float, along: float, across: float) -> tuple[float, float]:
    """The contrast inside a group (a) and its distance from the other one (r), for theta's cosine `along`."""
    size = own + other
    log_cross = log_price + math.log(along) - math.log(size * other) / 2
    contrast = 0.0
    if own == 1 or log_price >= 0:
        log_same = math.log1p(-other * math.exp(log_cross)) - math.log(own)
    else:
        # 1 - sqrt(other/K) cos theta, summed from parts that do not cancel.
        tilt = math.sqrt(other / size)
        rest = own / size / (1 + tilt) + tilt * across**2 / (1 + along)
        log_same = log_price + math.log(rest / own)
        contrast = float(np.logaddexp(0.0, math.log(-math.expm1(log_price)) - log_same))
    margin = log_same + contrast - log_cross
    return contrast, own * math.sqrt(other / size) * (margin - contrast * (own - 1) / own)
