r"""Independence deficit: how few of the other classes' logits it takes to predict a class's own.

For class c, on the samples of class c, the logits F of the other classes predict its logit f with coefficients p that
minimise mean((F p - f)^2) + w |p|_1, without an intercept. The problem is convex. `independence_deficit` solves it to
the last digits and shows how well; `independence_deficit_by_descent` takes the published steps, which stop on the way.
"""

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Float64, Int64
from torch import Tensor

from deepcollapse.errors import LabelError, OptionError, ShapeError
from deepcollapse.geometry.rank import checked_matrix


@dataclass(frozen=True)
class IndependenceDeficit:
    """Each class's logit as a combination of the others', on its own samples; rows of NaN for classes without any.

    Attributes:
        coefficients: (C, C) row c are the p of class c, 0 at c itself. Dimensionless.
        unexplained: (C,) mean((F p - f)^2) / mean(f^2), at least 0; 0 where others say all, 1 for p = 0. NaN for f = 0.
        predictors: (C,) whole numbers, how many of the others take part.
        violation: (C,) how far p is from optimal: the largest distance of the gradient of the squared error from
            where the optimum has it (-w sign p_j, or within [-w, w] for p_j = 0), over w + 2 max_j |mean(F_j f)|. 0 at
            the minimiser, which it proves.
    """

    coefficients: Float64[Tensor, "c c"]
    unexplained: Float64[Tensor, " c"]
    predictors: Float64[Tensor, " c"]
    violation: Float64[Tensor, " c"]


def independence_deficit(
    logits: Float[Tensor, "n c"],
    labels: Int64[Tensor, " n"],
    penalty: float | int = 20.0,
    classes: Sequence[int] | None = None,
) -> IndependenceDeficit:
    r"""The p of each class that minimise mean((F p - f)^2) + penalty |p|_1, with evidence that they do.

    f are the logits of class c and F those of all others, (n_c, C-1), on the n_c samples of class c. Coordinate descent
    (scikit-learn's Lasso) finds which of p are 0; the rest solve a linear system. Where several p are minimal (more
    classes than samples, or logits that depend on one another) it is one of them. The `penalty` is in units of logits
    squared, so it says something about logits of the size that networks give. `classes` are all, or some where all are
    too many: a class costs O(n_c C^2). Raises ShapeError, NonFiniteError, LabelError, OptionError.
    Source: Feng et al. 2022, with their penalty of 20; their steps are `independence_deficit_by_descent`.

    >>> logits = torch.tensor([[10.0, 5.0, 0.0], [12.0, 6.0, 1.0]])
    >>> found = independence_deficit(logits, torch.tensor([0, 0]), classes=[0])
    >>> found.predictors[0].item(), round(found.coefficients[0, 1].item(), 6), found.violation[0].item() < 1e-9
    (1.0, 1.672131, True)
    """
    return _each_class(logits, labels, penalty, classes, _minimiser)


def independence_deficit_by_descent(
    logits: Float[Tensor, "n c"],
    labels: Int64[Tensor, " n"],
    penalty: float | int = 20.0,
    classes: Sequence[int] | None = None,
    rate: float | int = 1e-5,
    steps: int = 5000,
) -> IndependenceDeficit:
    r"""The published coefficients: `steps` of gradient descent on mean((F p - f)^2) + penalty |p|_1, from p = 0.

    As `independence_deficit`, but p stops where the steps end; `violation` says how far from the minimiser that is. A
    step is p <- p - rate (2 mean(F^T (F p - f)) + penalty sign(p)), sign(0) = 0, so hardly any p is exactly 0. Where
    rate > 1 / lambda_max(F^T F / n_c) the steps diverge, and p is NaN or large. Raises as `independence_deficit`.
    Source: Feng et al. 2022.

    >>> logits = torch.tensor([[10.0, 5.0, 0.0], [12.0, 6.0, 1.0]])
    >>> found = independence_deficit_by_descent(logits, torch.tensor([0, 0]), classes=[0])
    >>> found.predictors[0].item(), round(found.coefficients[0, 1].item(), 2)
    (2.0, 1.59)
    """
    if not 0 < rate < float("inf") or steps < 0:
        raise OptionError(f"rate must be above 0 and steps at least 0; got rate={rate}, steps={steps}.")

    def descend(gram: Tensor, products: Tensor, w: float) -> Tensor:
        p = torch.zeros_like(products)
        for _ in range(steps):
            p = p - rate * (2 * (gram @ p - products) + w * p.sign())
        return p

    return _each_class(logits, labels, penalty, classes, descend)


def _minimiser(gram: Float64[Tensor, "k k"], products: Float64[Tensor, " k"], w: float) -> Float64[Tensor, " k"]:
    """argmin_p p G p - 2 b p + w |p|_1 for G = F^T F / n and b = F^T f / n."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import Lasso

    if len(products) == 0 or not products.any():
        return torch.zeros_like(products)
    if w == 0:
        return torch.linalg.pinv(gram, hermitian=True) @ products
    # G = R^T R and b = R^T z: the same problem in as many rows as G has dimensions.
    values, vectors = torch.linalg.eigh(gram)
    kept = values > len(values) * torch.finfo(torch.float64).eps * values[-1]
    root = values[kept].sqrt()
    rows, target = root[:, None] * vectors[:, kept].T, (vectors[:, kept].T @ products) / root
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # the violation says how near the end is
        lasso = Lasso(w / (2 * len(target)), fit_intercept=False, tol=1e-13, max_iter=20000)
        found = lasso.fit(rows.cpu().numpy(), target.cpu().numpy()).coef_
    p = torch.from_numpy(found).to(products)
    active = p != 0
    polished = torch.zeros_like(p)
    if active.any():
        solved = torch.linalg.lstsq(gram[active][:, active], products[active] - w / 2 * p[active].sign()).solution
        polished[active] = solved
    better = _violation(polished, gram, products, w) <= _violation(p, gram, products, w)
    return polished if better else p


def _violation(p: Tensor, gram: Tensor, products: Tensor, w: float) -> Float64[Tensor, ""]:
    """The largest breach of the optimality conditions, over w + 2 max |b|."""
    if len(p) == 0:
        return p.new_zeros(())
    gradient = 2 * (gram @ p - products)
    breach = torch.where(p != 0, (gradient + w * p.sign()).abs(), (gradient.abs() - w).clamp(min=0))
    size = w + 2 * products.abs().amax()
    return breach.amax() / size if size > 0 else breach.amax()


def _each_class(
    logits: Tensor,
    labels: Tensor,
    penalty: float | int,
    classes: Sequence[int] | None,
    solve: Callable[[Tensor, Tensor, float], Tensor],
) -> IndependenceDeficit:
    """Solve for every class that has samples; `solve(G, b, w)` gives p."""
    if not 0 <= penalty < float("inf"):
        raise OptionError(f"penalty must be at least 0 and finite; got {penalty}.")
    values = checked_matrix(logits, "logits", "(samples, classes)")
    n, count = values.shape
    if labels.shape != (n,):
        raise ShapeError(f"{n} rows of logits came with labels of shape {tuple(labels.shape)}; expected ({n},).")
    if n and not 0 <= int(labels.min()) <= int(labels.max()) < count:
        raise LabelError(f"labels run from {int(labels.min())} to {int(labels.max())}; expected 0 to {count - 1}.")
    wanted = range(count) if classes is None else [int(c) for c in classes]
    if any(not 0 <= c < count for c in wanted):
        raise OptionError(f"classes are indices from 0 to {count - 1}; got {list(wanted)}.")
    coefficients = values.new_full((count, count), torch.nan)
    unexplained, predictors, violation = values.new_full((3, count), torch.nan)
    for c in wanted:
        own = values[labels.to(values.device) == c]
        if not len(own):
            continue
        others = torch.arange(count, device=values.device) != c
        f, rest = own[:, c], own[:, others]
        gram, products = rest.T @ rest / len(own), rest.T @ f / len(own)
        p = solve(gram, products, float(penalty))
        coefficients[c, others], coefficients[c, c] = p, 0
        unexplained[c] = (rest @ p - f).square().mean() / f.square().mean()
        predictors[c] = (p != 0).sum()
        violation[c] = _violation(p, gram, products, float(penalty))
    return IndependenceDeficit(coefficients, unexplained, predictors, violation)
