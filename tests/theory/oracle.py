"""Theory's convex programs as CVXPY takes them, over all K x K logits: slow, and independent of any symmetry."""

import warnings

import numpy as np
import pytest


def solved(make):
    """What `make(cvxpy)` gives, (objective, constraints, variable), solved: the value, and the variable's value."""
    # An independent package may warn as it likes; ours may not.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        cp = pytest.importorskip("cvxpy")
        objective, constraints, variable = make(cp)
        precision = {"tol_gap_abs": 1e-11, "tol_gap_rel": 1e-11, "tol_feas": 1e-11}
        problem = cp.Problem(cp.Minimize(objective), constraints)
        problem.solve(solver="CLARABEL", **precision)
        assert problem.status in ("optimal", "optimal_inaccurate")
        return problem.value, variable.value


def losses(cp, z, weights):
    """sum_k w_k CE(z_k, k) for logits in columns."""
    return sum(w * (cp.log_sum_exp(z[:, k]) - z[k, k]) for k, w in enumerate(weights) if w > 0)


def layer_peeled_by_nuclear_norm(weights, radius):
    """min loss(Z) over |Z|_* <= radius."""

    def make(cp):
        z = cp.Variable((len(weights),) * 2)
        return losses(cp, z, weights), [cp.normNuc(z) <= radius], z

    return solved(make)


def layer_peeled_by_gram(weights, weight_budget, feature_budget):
    """The paper's relaxation: the Gram matrix of all features and classifiers, 2K x 2K."""
    k = len(weights)

    def make(cp):
        gram = cp.Variable((2 * k, 2 * k), PSD=True)
        budgets = [
            cp.trace(gram[:k, :k]) <= k * feature_budget,
            cp.trace(gram[k:, k:]) <= k * weight_budget,
        ]
        return losses(cp, gram[k:, :k], weights), budgets, gram

    value, gram = solved(make)
    return value, np.array(gram[k:, :k])


def imbalanced(counts, weight_decay, feature_decay, bias_decay):
    """min loss(Z + b 1^T) + sqrt(lW lH) |Z diag(sqrt n)|_* + lb/2 |b|^2."""
    counts = np.array(counts, dtype=float)

    def make(cp):
        k = len(counts)
        z, b = cp.Variable((k, k)), cp.Variable((k, 1))
        shifted = z if bias_decay is None else z + b @ np.ones((1, k))
        price = np.sqrt(weight_decay * feature_decay) * cp.normNuc(z @ np.diag(np.sqrt(counts)))
        decay = (bias_decay or 0.0) / 2 * cp.sum_squares(b)
        return losses(cp, shifted, counts / counts.sum()) + price + decay, [], z

    return solved(make)
