r"""Whether a point of a ReLU network is stationary where entries lie on the ReLU's kink.

At 0 the ReLU has every slope from 0 to 1, and a point is stationary in Clarke's sense if some choice makes the gradient
0. With one slope theta_l for all kinks of layer l, the gradient of W_{l-1} is linear in theta_l once those of later
layers are chosen, so that they follow one after the other by least squares. Derived here.
"""

from collections.abc import Callable, Sequence

from deepcollapse.theory.problem import Point


def clarke_slopes(gradient: Callable[[Sequence[float]], Point], depth: int) -> tuple[tuple[float, ...], float]:
    """(slopes of layers 2 to L, residual) for a point's gradient as a function of the slopes.

    The residual is the largest entry of the gradient at those slopes; a layer without kinks has slope 0.
    """
    slopes = [0.0] * (depth - 1)
    for layer in range(depth, 1, -1):
        name, index = f"W{layer - 1}", layer - 2
        flat = gradient(slopes)[name]
        slopes[index] = 1.0
        change = gradient(slopes)[name] - flat
        size = float(change.square().sum())
        slopes[index] = min(1.0, max(0.0, -float((flat * change).sum()) / size)) if size > 0 else 0.0
    return tuple(slopes), max(float(g.abs().max()) for g in gradient(slopes).values())
