r"""What weight decay and small batches make of a weight's rank, by a count of steps alone.

A step of gradient descent on a batch of B samples changes a weight by a gradient of rank at most B m, where m is the
number of positions at which the layer is applied to a sample; decay shrinks what was there before. With rate mu and
torch's weight decay w (the loss has (w / 2) |W|^2),

    W_T = q^n W_{T-n} - mu sum_{j=1}^n q^{j-1} G_{T-j},        q = 1 - mu w,

so W_T is within q^n |W_{T-n}| of a matrix of rank at most n B m, whatever the data, converged or not. With momentum
rho, V' = rho V + G + w W and W' = W - mu V', the same holds for the pair: with

    A = [[1 - mu w, -mu rho], [w, rho]],    u = (-mu, 1),
    W_T = (A^n)_00 W_{T-n} + (A^n)_01 V_{T-n} + sum_{j=1}^n (A^{j-1} u)_0 G_{T-j},

and old steps fade with the spectral radius of A, about 1 - mu w / (1 - rho).
"""

import math
from dataclasses import dataclass

import numpy as np

from deepcollapse.errors import OptionError

_SMALLEST = 1e-300  # of rate * decay, so that the number of steps stays finite


@dataclass(frozen=True)
class SgdRankBound:
    """After how many steps old weights have faded, and the rank that all steps since can have at most.

    Attributes:
        steps: n. rank: n B m. fading: what a step leaves of old weights in the long run, below 1 up to
            rounding.
        largest: min(m, n) of the layer's weight, or None where it was not told.

    >>> SgdRankBound(steps=3, rank=12, fading=0.5, largest=10).vacuous
    True
    """

    steps: int
    rank: int
    fading: float
    largest: int | None = None

    @property
    def vacuous(self) -> bool | None:
        """Whether every matrix of the layer's shape has so low a rank; None where the shape was not told."""
        return None if self.largest is None else self.rank >= self.largest


def fading(rate: float | int, decay: float | int, momentum: float | int = 0) -> float:
    """The spectral radius of the state matrix A: what a step leaves of old weights in the long run.

    >>> fading(0.1, 0.1), round(fading(0.02, 0.01, 0.9), 6)
    (0.99, 0.997963)
    """
    return 1 - _gap(rate, decay, momentum)


def state_matrix(rate: float | int, decay: float | int, momentum: float | int) -> np.ndarray:
    """A: what a step of heavy-ball descent does to (W, V) where there is no gradient.

    >>> state_matrix(0.5, 0.1, 0.5).tolist()
    [[0.95, -0.25], [0.1, 0.5]]
    """
    return np.array([[1 - rate * decay, -rate * momentum], [decay, momentum]], dtype=float)


def sgd_rank_bound(
    rate: float | int,
    decay: float | int,
    batch: int,
    eps: float = 0.1,
    patches: int = 1,
    momentum: float | int = 0,
    shape: tuple[int, int] | None = None,
) -> SgdRankBound:
    r"""The rank from which a weight that mini-batch descent has trained for long is within `eps`, relative to its norm.

    n = ceil(log(2 / eps) / (1 - r)) steps with r = `fading`, which is 1 - rate decay without momentum, and rank
    n batch patches. It holds once |W| has settled, for any data, and for momentum up to the constant in front of r^n.
    Dimensionless, at least 1; no statement where the rank reaches the weight's smaller side (`vacuous`).

    Args:
        rate, decay, momentum: as torch.optim.SGD has lr, weight_decay and momentum.
        batch: samples a step. eps: the distance allowed, as a share of the weight's norm, above 0 and below 1.
        patches: positions at which the layer is applied to a sample: 1 for a linear layer, the number of output pixels
            for a convolution, the number of tokens in a transformer.
        shape: of the weight as a matrix, to tell whether the bound says anything.

    Raises OptionError for settings out of their range; without decay old steps never fade and there is no bound.
    Source: :cite:`galanti2025`; the extension to momentum is ours.

    >>> sgd_rank_bound(0.1, 0.1, batch=1, eps=0.1, shape=(512, 512))
    SgdRankBound(steps=300, rank=300, fading=0.99, largest=512)
    """
    _check(rate, decay, eps, momentum)
    for name, value in (("batch", batch), ("patches", patches)):
        if value < 1:
            raise OptionError(f"{name} must be 1 or more; got {value}.")
    if decay == 0:
        raise OptionError("without weight decay old steps never fade, so no rank is bounded; give a decay above 0.")
    gap = _gap(rate, decay, momentum)
    at = f"at rate {rate:g}, decay {decay:g} and momentum {momentum:g}"
    if rate * decay < _SMALLEST:
        raise OptionError(f"{at} a step forgets less than a float can hold; raise the rate or the decay.")
    if not gap > 0:
        raise OptionError(f"{at} a step enlarges old weights; lower the rate.")
    steps = math.ceil((math.log(2) - math.log(eps)) / gap)
    return SgdRankBound(steps, steps * batch * patches, fading(rate, decay, momentum), min(shape) if shape else None)


def _gap(rate: float | int, decay: float | int, momentum: float | int) -> float:
    r"""1 - r to all digits, however small: 1 - (1 - x) would lose those of x = rate * decay.

    With l = 1 - g the eigenvalues of A are the roots of g^2 - (1 - rho + x) g + x: where they are real, the nearer to 0
    has no difference of close numbers in it, and where they are not, r = sqrt(rho).
    """
    x = float(rate) * float(decay)
    root = math.sqrt(momentum)
    short = (1 - momentum) / (1 + root)
    # (1 - rho + x)^2 - 4 x, as factors that cancel nothing where the roots meet
    inside = (short * short - x) * ((1 + root) * (1 + root) - x)
    if inside <= 0:
        return short
    far = ((1 - momentum) + x + math.sqrt(inside)) / 2
    # Of a far root above 2 - near the eigenvalue 1 - far is the larger one, and negative.
    return min(x / far, 2 - far)


def _check(rate: float | int, decay: float | int, eps: float, momentum: float | int) -> None:
    if not 0 < rate < math.inf:
        raise OptionError(f"rate must be a positive number; got {rate}.")
    if not 0 <= decay < math.inf:
        raise OptionError(f"decay must be 0 or more; got {decay}.")
    if not 0 <= momentum < 1:
        raise OptionError(f"momentum must be at least 0 and below 1; got {momentum}.")
    if not 0 < eps < 1:
        raise OptionError(f"eps is a share of the weight's norm, above 0 and below 1; got {eps}.")
