"""The last digits of a minimum: Newton steps that ask for gradients alone.

Rounding hides changes of an objective once its gradient is below the square root of machine precision; the gradient
itself is known far better.
"""

from collections.abc import Callable

import numpy as np
from jaxtyping import Bool, Float64

Vector = Float64[np.ndarray, " x"]
STEPS = 10
PRODUCTS = 300


def polish(gradient: Callable[[Vector], Vector], x: Vector, free: Bool[np.ndarray, " x"]) -> Vector:
    """Newton steps over the free coordinates, each solved by conjugate gradients; ends where one helps no more.

    Products with the Hessian are central differences of the gradient. `x` must be close to a minimum; directions in
    which the objective is flat (turns and scales of factors) do no harm.

    >>> polish(lambda x: 4 * x**3 - 4 * x, np.array([1.1, 0.3]), np.array([True, False])).tolist()
    [1.0, 0.3]
    """
    slope = gradient(x) * free
    for _ in range(STEPS):
        step = _newton_step(lambda d: _along(gradient, x, d) * free, slope)  # noqa: B023 - used before x moves
        there = x + step
        after = gradient(there) * free
        if not np.linalg.norm(after) < np.linalg.norm(slope):
            break
        x, slope = there, after
    return x


def _along(gradient: Callable[[Vector], Vector], x: Vector, direction: Vector) -> Vector:
    """The Hessian times a direction."""
    length = np.linalg.norm(direction)
    if length == 0:
        return direction
    step = 6e-6 * max(1.0, float(np.linalg.norm(x))) / length  # the cube root of machine precision
    return (gradient(x + step * direction) - gradient(x - step * direction)) / (2 * step)


def _newton_step(product: Callable[[Vector], Vector], slope: Vector) -> Vector:
    """Conjugate gradients for H d = -slope, down to a thousandth, or to the first direction that does not curve up."""
    step, residual = np.zeros_like(slope), -slope
    direction, left = residual.copy(), float(residual @ residual)
    wanted = 1e-6 * left
    for _ in range(PRODUCTS):
        curved = product(direction)
        curvature = float(direction @ curved)
        if curvature <= 0 or left <= wanted:
            break
        length = left / curvature
        step, residual = step + length * direction, residual - length * curved
        left, before = float(residual @ residual), left
        direction = residual + left / before * direction
    return step
