"""A gap is a bound: it is never below what a point truly loses, wherever the point was moved from the optimum."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from deepcollapse.theory import Groups, UnconstrainedFeatures, UnconstrainedFocal, UnconstrainedImbalanced
from deepcollapse.theory import UnconstrainedSquared as Squared

BALANCED = {"num_classes": 3, "per_class": 2, "weight_decay": 0.02, "feature_decay": 0.01}
UNEQUAL = {"groups": Groups((2, 2), (6.0, 2.0)), "weight_decay": 0.02, "feature_decay": 0.01}
PROBLEMS = [
    kind(**common, bias_decay=bias_decay, **own)
    for bias_decay in (0.0, 0.05, 2.0)
    for kind, common, own in (
        (UnconstrainedFeatures, BALANCED, {}),
        (UnconstrainedFeatures, BALANCED, {"smoothing": 0.1}),
        (UnconstrainedFocal, BALANCED, {"focus": 2.0}),
        (Squared, BALANCED, {}),
        (UnconstrainedImbalanced, UNEQUAL, {}),
    )
]


@pytest.mark.parametrize("moved", ["bias", "classifier", "features"])
@pytest.mark.parametrize("problem", PROBLEMS, ids=str)
@settings(max_examples=12, deadline=None)
@given(seed=st.integers(0, 2**16), size=st.sampled_from([1e-4, 1e-2, 0.3, 3.0]))
def test_a_gap_is_at_least_what_a_point_loses(problem, moved, seed, size):
    optimum = problem.optimum()
    point = dict(optimum.point())
    noise = torch.randn(point[moved].shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    point[moved] = point[moved] + size * noise
    assert problem.gap(point) >= (problem.value(point) - optimum.value) * (1 - 1e-9) - 1e-13


@pytest.mark.parametrize("bias_decay", [0.05, 2.0])
def test_the_bound_of_cross_entropy_is_the_dual_value_of_its_own_gradient(bias_decay):
    """Predictions q between the point's and the labels, as far as the price bears: entropy less |sum G|^2 / (2 lb)."""
    problem = UnconstrainedFeatures(3, 2, weight_decay=0.02, feature_decay=0.01, bias_decay=bias_decay)
    point = dict(problem.optimum().point())
    point["bias"] = point["bias"] + torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64)
    target = torch.eye(3, dtype=torch.float64).repeat_interleave(2, dim=0)
    q = (point["features"] @ point["classifier"].T + point["bias"]).softmax(dim=1)
    share = min(1.0, 0.0002**0.5 / float(torch.linalg.matrix_norm((q - target) / 6, 2)))
    q = share * q + (1 - share) * target
    dual = -(q * q.clamp_min(1e-300).log()).sum() / 6 - ((q - target).sum(dim=0) / 6).square().sum() / (2 * bias_decay)
    assert problem.gap(point) == pytest.approx(problem.value(point) - float(dual), rel=1e-12)
