r"""The central path: features that move under the squared error while the classifier is always the best for them.

On it the loss depends on the features through C-1 numbers alone, the singular values omega of the signal-to-noise
matrix Sigma_W^{-1/2} (mu_c - mu)_c, and each of them grows by itself. Source: :cite:`han2022`; the law of growth with
its constants is derived here.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float64
from torch import Tensor

from deepcollapse.errors import OptionError, ShapeError, TooFewClassesError
from deepcollapse.geometry import ClassMoments, simplex_etf


def signal_to_noise(moments: ClassMoments) -> Float64[np.ndarray, " r"]:
    r"""The singular values omega_1 >= ... >= omega_{C'-1} of Sigma_W^{-1/2} Z, Z (d, C') the centred class means.

    Dimensionless, unchanged by every invertible linear map of the features. Infinite along directions in which means
    differ and samples of a class do not (all of them at full collapse); 0 along those in which means agree. Every
    class counts equally; absent ones are left out. Needs the d x d scatter (ScatterLevelError), two classes
    (TooFewClassesError). Source: :cite:`han2022`.

    >>> from deepcollapse import collect
    >>> h, y = torch.tensor([[1.0], [3.0], [-1.0], [-3.0]]), torch.tensor([0, 0, 1, 1])
    >>> signal_to_noise(collect(h, y, num_classes=2)).round(12).tolist()   # means -2 and 2, variance 1
    [2.828427124746]
    """
    means = moments.centred_means()
    values, vectors = torch.linalg.eigh(moments.within_scatter())
    # Variance at the rounding of the means is none.
    size = float(moments.class_means().square().sum(dim=1).mean())
    eps = torch.finfo(torch.float64).eps
    noisy = values > moments.dim * eps * max(float(values[-1]), eps * size)
    silent = means @ vectors[:, ~noisy]
    signal = means @ (vectors[:, noisy] / values[noisy].sqrt())
    left, heights, _ = torch.linalg.svd(silent)
    infinite = int((heights > max(silent.shape) * eps * math.sqrt(size * len(means))).sum())
    # What is left of the classes once the silent directions have told them apart.
    rest = torch.linalg.svdvals(left[:, infinite:].T @ signal)
    found = np.concatenate([np.full(infinite, np.inf), rest.cpu().numpy()])[: len(means) - 1]
    return np.pad(found, (0, len(means) - 1 - len(found)))


@dataclass(frozen=True)
class CentralPath:
    r"""The least-squares loss L and its gradient flow for features held to Sigma_W = I, as functions of omega.

    L = 1/2 sum_j 1/(C + omega_j^2) (without decay), and n [C^2 log omega + C omega^2 + omega^4/4] = t + constant for
    each omega_j under dX/dt = -grad L, X the whitened features of n samples a class, grad L projected onto the tangent
    of {Sigma_W = I}: only the class means move. All omega grow like (4t/n)^(1/4), and their ratios go to 1.

    Arrays of omega hold C-1 numbers, each from 0 to infinity. Raises TooFewClassesError below two classes, OptionError
    for `per_class` below 1, negative omega or a time that is no number, ShapeError for another number of omega.

    >>> path = CentralPath(num_classes=3, per_class=4)
    >>> path.omega_at(100.0, np.array([2.0, 1.0])).round(9).tolist()
    [2.778042889, 2.227572248]
    """

    num_classes: int
    per_class: int

    def __post_init__(self) -> None:
        check_classes(self.num_classes, self.per_class)

    def loss(self, omega: Float64[np.ndarray, " r"]) -> float:
        """L, the sum of `within` and `simplex`; (C-1)/(2C) without signal, 0 at full collapse."""
        return float(self._share(omega).sum()) / 2

    def within(self, omega: Float64[np.ndarray, " r"]) -> float:
        """The part of L that scatter within classes causes, 1/2 sum omega^2/(C + omega^2)^2."""
        return float(self._step(omega) @ np.where(np.isinf(omega), 0.0, omega)) / 2

    def simplex(self, omega: Float64[np.ndarray, " r"]) -> float:
        """The part of L that the class means cause, C/2 sum 1/(C + omega^2)^2."""
        return self.num_classes / 2 * float(np.square(self._share(omega)).sum())

    def speed(self, omega: Float64[np.ndarray, " r"]) -> Float64[np.ndarray, " r"]:
        """d omega/dt = (1/n) omega/(C + omega^2)^2: omega = 0 stays, and so does infinity."""
        return self._step(omega) / self.per_class

    def omega_at(self, t: float, omega0: Float64[np.ndarray, " r"]) -> Float64[np.ndarray, " r"]:
        """Omega at time t (before 0 as well as after), from omega0 at time 0."""
        self._share(omega0)
        if not math.isfinite(t):
            raise OptionError(f"t must be a finite number; got {t:g}.")
        return np.array([self._moved(t / self.per_class, float(start)) for start in omega0], dtype=float)

    def _moved(self, time: float, start: float) -> float:
        """Solves C^2 x + C (w^2 - w0^2) + (w^4 - w0^4)/4 = time with w = w0 e^x by Newton's method.

        The left side rises and is convex in x, so that from above the root every step falls and none passes it.
        """
        if start == 0 or start > 1e70:  # a fourth power overflows, and no time moves it
            return start
        c, log_start = self.num_classes, math.log(start)
        # Each of the three terms alone bounds x; the least bound lies above the root.
        x = 0.0
        if time > 0:
            bounds = [time / c**2]
            for power, factor in ((2, c), (4, 0.25)):
                # log(1 + time/(factor w0^power)), with no power of w0 that could vanish.
                bounds.append(float(np.logaddexp(0.0, math.log(time / factor) - power * log_start)) / power)
            x = min(bounds)
        for _ in range(MOST_STEPS):
            square, fourth = _growth(2, log_start, x), _growth(4, log_start, x)
            now = math.exp(2 * (log_start + x))
            step = (c**2 * x + c * square + fourth / 4 - time) / (c + now) ** 2
            if x - step == x:
                break
            x -= step
            if step < 0:  # only rounding is left
                break
        half = math.exp(x / 2)  # e^x itself may overflow where w does not
        return start * half * half

    def _share(self, omega: Float64[np.ndarray, " r"]) -> Float64[np.ndarray, " r"]:
        """1/(C + omega^2), of checked omega."""
        if len(omega) != self.num_classes - 1:
            raise ShapeError(
                f"{self.num_classes} classes have {self.num_classes - 1} signal-to-noise values; got {len(omega)}."
            )
        if not (omega >= 0).all():
            raise OptionError(f"signal-to-noise values must be 0 or above; got {omega.tolist()}.")
        return 1 / (self.num_classes + np.square(omega))

    def _step(self, omega: Float64[np.ndarray, " r"]) -> Float64[np.ndarray, " r"]:
        """omega/(C + omega^2)^2."""
        return np.where(np.isinf(omega), 0.0, omega) * np.square(self._share(omega))


MOST_STEPS = 10_000


def _growth(power: int, log_start: float, x: float) -> float:
    """w^power - w0^power for w = w0 e^x: by differences where x is small, else without w0^power, which may vanish."""
    if abs(x) < 1:
        return math.exp(power * log_start) * math.expm1(power * x)
    return math.exp(power * (log_start + x)) - math.exp(power * log_start)


def squared_flow_limit(
    num_classes: int, per_class: int, dim: int | None = None
) -> tuple[Float64[Tensor, "k d"], Float64[Tensor, "k d"], Float64[Tensor, " k"]]:
    r"""Where gradient flow of the squared error without any decay ends that starts near zero: W, H and b.

    W W^T = sqrt(n) (I - J/K), each sample of class k at n^{-1/2} w_k, b = 1/K: a simplex ETF with loss 0, up to a
    rotation. Classifier (K, d), one feature vector a class (K, d), and bias (K,); d is K where `dim` is None. Raises
    TooFewClassesError, OptionError for `per_class` below 1, ShapeError for d below K-1. Source: :cite:`mixon2022`.

    >>> W, H, b = squared_flow_limit(num_classes=3, per_class=4)
    >>> (H @ W.T + b).round(decimals=12).abs().tolist()
    [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]
    """
    check_classes(num_classes, per_class)
    rows = simplex_etf(num_classes, dim or num_classes) * math.sqrt((num_classes - 1) / num_classes)
    bias = torch.full((num_classes,), 1 / num_classes, dtype=torch.float64)
    return rows * per_class**0.25, rows / per_class**0.25, bias


def check_classes(num_classes: int, per_class: int) -> None:
    """Raise TooFewClassesError below two classes, OptionError without samples."""
    if num_classes < 2:
        raise TooFewClassesError(f"theory compares classes: it needs at least 2 of them; got {num_classes}.")
    if per_class < 1:
        raise OptionError(f"per_class must be at least 1; got {per_class}.")
