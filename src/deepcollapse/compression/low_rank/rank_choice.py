"""Which rank to cut a weight to, from its singular values (k,), largest first, or from its shape (m, n) alone."""

import math

from jaxtyping import Float
from torch import Tensor

from deepcollapse.errors import OptionError, ShapeError
from deepcollapse.geometry.noise import rank_above_noise_edge, rank_by_hard_threshold
from deepcollapse.geometry.rank import energy_rank, numerical_rank

Shape = tuple[int, int]


def largest_useful_rank(shape: Shape) -> int:
    """The largest rank r at which factors hold fewer numbers than the matrix: r (m + n) < m n; 0 where none does.

    >>> largest_useful_rank((64, 576)), largest_useful_rank((1, 10))
    (57, 0)
    """
    m, n = shape
    return max(0, (m * n - 1) // (m + n))


def useful_rank(rank: int, shape: Shape) -> int | None:
    """`rank`, or None where factors of that rank would hold no fewer numbers than the matrix: keep it dense.

    >>> useful_rank(57, (64, 576)), useful_rank(58, (64, 576))
    (57, None)
    """
    return rank if rank <= largest_useful_rank(shape) else None


def rank_for_energy(singular_values: Float[Tensor, " k"], energy: float | int) -> int:
    r"""The smallest rank r with sum_{i <= r} s_i^2 >= energy * sum_i s_i^2; 0 for a zero matrix.

    A share that is met up to 1e-15 is met. With singular values of W X it is the output's energy. Raises OptionError
    for an energy outside [0, 1], NonFiniteError.

    >>> import torch
    >>> rank_for_energy(torch.tensor([4.0, 3.0, 2.0, 1.0, 0.01]), 0.9)
    3
    """
    rank = energy_rank(_vector(singular_values), energy)
    return 0 if energy == 0 or rank.isnan() else int(rank)


def rank_for_tolerance(singular_values: Float[Tensor, " k"], tolerance: float) -> int:
    r"""How many singular values lie above `tolerance` * s_1: the numerical rank. OptionError for one outside [0, 1).

    >>> import torch
    >>> rank_for_tolerance(torch.tensor([4.0, 3.0, 2.0, 1.0, 0.01]), 1e-2)
    4
    """
    return int(numerical_rank(_vector(singular_values), tolerance))


def rank_for_parameters(shape: Shape, share: float | int) -> int | None:
    r"""The rank whose factors hold `share` of the matrix's numbers: floor(share m n / (m + n)), at least 1.

    Never one at which the factors hold as many numbers as the matrix; None where even rank 1 does: keep it dense.
    Raises OptionError for a share outside (0, 1].

    >>> rank_for_parameters((64, 576), 0.5), rank_for_parameters((1, 10), 0.5)
    (28, None)
    """
    if not 0 < share <= 1:
        raise OptionError(f"share of parameters is above 0 and at most 1; got {share}.")
    m, n = shape
    # A share such as 0.3 is a little less than it says: whole numbers missed by rounding alone are met.
    wanted = max(1, math.floor(share * m * n / (m + n) * (1 + 1e-15)))
    best = largest_useful_rank(shape)
    return min(wanted, best) if best else None


def rank_above_noise(
    singular_values: Float[Tensor, " k"], shape: Shape, rule: str = "cut", deviation: float | None = None
) -> int:
    r"""How many singular values of an (m, n) matrix stand above noise, by `rule` "edge" or "cut".

    "edge" counts those above the largest that noise alone would have, "cut" those above the hard threshold with the
    least error, which is higher. The noise's standard deviation is estimated from the median where `deviation` is None.
    A soft guide: trained weights are no independent noise. Raises OptionError, ShapeError, NonFiniteError. Source
    :cite:`gavish2014`.

    >>> import torch
    >>> from deepcollapse.geometry import singular_values
    >>> noise = torch.randn(60, 120, generator=torch.Generator().manual_seed(0))
    >>> noise[:3, :3] += 100 * torch.eye(3)
    >>> rank_above_noise(singular_values(noise), (60, 120))
    3
    """
    rules = {"edge": rank_above_noise_edge, "cut": rank_by_hard_threshold}
    if rule not in rules:
        raise OptionError(f"the rule for ranks above noise must be one of {', '.join(rules)}; got {rule!r}.")
    return int(rules[rule](_vector(singular_values), shape, deviation))


def _vector(singular_values: Tensor) -> Tensor:
    if singular_values.ndim != 1:
        raise ShapeError(
            f"singular values have shape {tuple(singular_values.shape)}; expected (k,). Pass singular_values(matrix)."
        )
    return singular_values
