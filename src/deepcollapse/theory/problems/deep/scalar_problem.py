r"""The one-dimensional problem behind every structure of the deep model: how far to fit, given what fitting costs.

A structure that puts out x times the one-hot targets, at a price of (L+1)/2 kappa x^{2/(L+1)} in weight decay, has

    h(x) = (1-x)^2 / 2 + (L+1)/2 kappa x^{2/(L+1)},   0 <= x <= 1,   with (1-x) x^{(L-1)/(L+1)} = kappa where h' = 0.

h rises with kappa at every x, so two such structures are compared by kappa alone. Source: the reduction is that of
Súkeník, Mondelli & Lampert 2023 for two classes; for any structure it is derived here.
"""

from deepcollapse.errors import OptionError


def kappa_max(depth: int) -> float:
    """The price kappa above which only x = 0 is stationary: the largest value of (1-x) x^{(L-1)/(L+1)}.

    Dimensionless, in (0, 1]; 1 for one layer. Raises OptionError for a depth below 1. Derived here.

    >>> round(kappa_max(3), 12)
    0.38490017946
    """
    checked_depth(depth)
    x = (depth - 1) / (2 * depth)
    return (1 - x) * x ** ((depth - 1) / (depth + 1))


def kappa_star(depth: int) -> float:
    """The price kappa from which on x = 0 is best: (1/L) ((L-1)/L)^{(L-1)/(L+1)}; h is 1/2 on both sides of the jump.

    Dimensionless, in (0, 1]; 1 for one layer, where there is no jump. Raises OptionError for a depth below 1. Source:
    equal to the threshold of Súkeník, Mondelli & Lampert 2023 where they state it; for any price derived here.

    >>> round(kappa_star(3), 12)
    0.272165526976
    """
    checked_depth(depth)
    return ((depth - 1) / depth) ** ((depth - 1) / (depth + 1)) / depth


def solve_scalar(kappa: float, depth: int) -> tuple[float, float]:
    """(x, h(x)) at the least h over 0 <= x <= 1; (0, 1/2) where kappa >= kappa_star(depth).

    Both in [0, 1]. Raises OptionError for a depth below 1, or a kappa that is negative or NaN. Derived here.

    >>> x, h = solve_scalar(0.1, depth=3)
    >>> round(x, 12), round(h, 12)
    (0.894252549272, 0.194721116452)
    >>> solve_scalar(0.9, depth=3)
    (0.0, 0.5)
    """
    if not kappa >= 0:
        raise OptionError(f"kappa is a price, 0 or more; got {kappa:g}.")
    if kappa >= kappa_star(depth):
        return 0.0, 0.5
    power = (depth - 1) / (depth + 1)
    low, high = (depth - 1) / (2 * depth), 1.0  # (1-x) x^power falls from here to 1
    for _ in range(200):
        middle = (low + high) / 2
        if not low < middle < high:
            break
        low, high = (middle, high) if (1 - middle) * middle**power > kappa else (low, middle)
    x = (low + high) / 2
    # 1 - x by way of kappa: it keeps its digits where x is all but 1.
    return x, (kappa / x**power) ** 2 / 2 + (depth + 1) / 2 * kappa * x ** (2 / (depth + 1))


def checked_depth(depth: int) -> int:
    """`depth`, or OptionError where it is below 1."""
    if depth < 1:
        raise OptionError(f"a network has one weight matrix or more; got depth={depth}.")
    return depth
