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

    Products with the Hessian are differences of gradients. `x` must be close to a minimum; directions in
    which the objective is flat (turns and scales of factors) do no harm.

    >>> polish(lambda x: 4 * x**3 - 4 * x, np.array([1.1, 0.3]), np.array([True, False])).tolist()
    [1.0, 0.3]
    """
    slope = gradient(x) * free
    for _ in range(STEPS):
        # Good to half the digits, which is more than a step to a thousandth asks for.
        reach = np.sqrt(np.finfo(float).eps) * max(1.0, float(np.linalg.norm(x)))
        step = _newton_step(lambda d, h: (gradient(x + h * d) * free - slope) / h, slope, reach)  # noqa: B023
        there = x + step
        after = gradient(there) * free
        if not np.linalg.norm(after) < np.linalg.norm(slope):
            break
        x, slope = there, after
    return x


def _newton_step(product: Callable[[Vector, float], Vector], slope: Vector, reach: float) -> Vector:
    """Conjugate gradients for H d = -slope, down to a thousandth, or to the first direction that does not curve up."""
    step, residual = np.zeros_like(slope), -slope
    direction, left = residual.copy(), float(residual @ residual)
    wanted = max(1e-6 * left, 1e-300)
    for _ in range(PRODUCTS):
        if left <= wanted:
            break
        curved = product(direction, reach / float(np.linalg.norm(direction)))
        curvature = float(direction @ curved)
        if curvature <= 0:
            break
        length = left / curvature
        step, residual = step + length * direction, residual - length * curved
        left, before = float(residual @ residual), left
        direction = residual + left / before * direction
    return step
