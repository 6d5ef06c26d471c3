"""NC4 and nearest class means: worked examples, ties, near-ties, strong collapse, absent classes."""

import pytest
import torch
from examples import B1, D1, D1_LABELS, D1_MEANS, T1, W1, gaussian
from hypothesis import given, settings
from hypothesis.strategies import integers, sampled_from

from deepcollapse import errors
from deepcollapse.geometry import (
    collect,
    linear_decisions,
    nearest_class_mean_accuracy,
    nearest_class_mean_disagreement,
    nearest_class_means,
)
from deepcollapse.geometry.decision import nearest_class_mean_rule
from deepcollapse.linalg import first_largest
from unchecked import shapes_unchecked


def by_differences(features, means):
    """Nearest means from all differences in float64, the smallest index at ties."""
    distances = (features.double()[:, None, :] - means.double()[None]).square().sum(dim=2)
    return first_largest(-distances)


def test_worked_example():
    decided, nearest = linear_decisions(D1, W1, B1), nearest_class_means(D1, D1_MEANS)
    assert nearest_class_mean_disagreement(decided, nearest) == 0
    assert nearest_class_mean_accuracy(nearest, D1_LABELS) == 1
    assert linear_decisions(T1, W1, B1).tolist() == [1, 1, 0, 1]
    nearest = nearest_class_means(T1, collect(D1, D1_LABELS, 3))
    assert nearest.tolist() == [2, 2, 0, 1]
    assert nearest_class_mean_disagreement(linear_decisions(T1, W1, B1), nearest) == 0.5


@settings(max_examples=30, derandomize=True, deadline=None)
@given(
    seed=integers(0, 2**16),
    dtype=sampled_from([torch.float16, torch.float32, torch.float64]),
    offset=sampled_from([0.0, 30.0]),
    spread=sampled_from([1.0, 1e-2]),
)
def test_nearest_is_what_the_differences_say(seed, dtype, offset, spread):
    means = gaussian(seed, 7, 20)
    features = (means[torch.arange(200) % 7] + spread * gaussian(seed + 1, 200, 20) + offset).to(dtype)
    assert nearest_class_means(features, means + offset).tolist() == by_differences(features, means + offset).tolist()


def test_near_ties_below_float32_rounding_are_settled():
    # Samples 1e-6 beside the middle of two means that are 2 apart, at distance 1e3 from the origin.
    means = torch.zeros(2, 64, dtype=torch.float64)
    means[:, 0] = torch.tensor([1e3 - 1, 1e3 + 1])
    features = torch.full((100, 64), 1e3)
    features[:, 1:] = 1e3 * gaussian(0, 100, 63).float()
    features[:, 0] = 1e3 + torch.where(torch.arange(100) % 2 == 0, -(2.0**-14), 2.0**-14)
    scores = features @ means.T.float() - means.float().square().sum(dim=1) / 2
    truth = (torch.arange(100) % 2).tolist()
    assert scores.argmax(dim=1).tolist() != truth  # the trap: plain float32 products get it wrong
    assert nearest_class_means(features, means).tolist() == truth


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_ties_go_to_the_smallest_index(dtype):
    means = torch.tensor([[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0]], dtype=dtype)
    assert nearest_class_means(torch.tensor([[0.0, -1.0], [0.0, 0.0]], dtype=dtype), means).tolist() == [0, 0]
    same = torch.ones(5, 3, dtype=dtype)
    assert linear_decisions(torch.ones(4, 3, dtype=dtype), same).tolist() == [0, 0, 0, 0]
    assert nearest_class_means(torch.zeros(4, 3, dtype=dtype), same).tolist() == [0, 0, 0, 0]


def test_features_all_alike_are_compared_all_the_same():
    assert nearest_class_means(torch.zeros(1000, 8), torch.zeros(10, 8)).unique().tolist() == [0]


def test_means_that_all_but_coincide_are_told_apart():
    # Every mean could be nearest as far as float32 products know; candidates are so many that float64 products settle.
    means = 100 + 1e-4 * gaussian(0, 50, 30)
    features = (means[torch.arange(200) % 50] + 1e-5 * gaussian(1, 200, 30)).float()
    assert nearest_class_means(features, means).tolist() == by_differences(features, means).tolist()


def test_products_that_overflow_are_taken_again():
    means = torch.tensor([[2e25, 0.0], [0.0, 1e25]], dtype=torch.float64)
    features = torch.tensor([[3e25, 0.0], [0.0, 3e25]])
    assert nearest_class_means(features, means).tolist() == [0, 1]
    assert linear_decisions(features, means).tolist() == [0, 1]


def test_a_sample_that_is_not_finite_leaves_the_other_decisions_alone():
    h = torch.tensor([[0.0, 1.0], [torch.nan, 0.0], [0.0, 2.0]])
    assert linear_decisions(h, torch.eye(2))[[0, 2]].tolist() == [1, 1]


def test_one_rule_serves_many_batches_and_precisions():
    h, means = gaussian(0, 60, 5), gaussian(1, 4, 5)
    rule = nearest_class_mean_rule(means)
    for dtype in (torch.float32, torch.float64, torch.float16):
        parts = [rule(part.to(dtype)) for part in h.split(7)]
        assert torch.cat(parts).tolist() == by_differences(h.to(dtype), means).tolist()


def test_absent_classes_are_never_nearest():
    moments = collect([[5.0], [9.0]], [1, 3], num_classes=5)
    assert nearest_class_means(torch.tensor([[0.0], [8.0]]), moments).tolist() == [1, 3]


def test_decisions_follow_the_bias():
    h = torch.tensor([[1.0, 0.0]])
    assert linear_decisions(h, torch.eye(2)).tolist() == [0]
    assert linear_decisions(h, torch.eye(2), torch.tensor([0.0, 1.5])).tolist() == [1]


def test_nothing_gives_nothing():
    empty = torch.empty(0, 3)
    assert linear_decisions(empty, torch.ones(2, 3)).tolist() == []
    none = torch.empty(0, dtype=torch.int64)
    assert torch.isnan(nearest_class_mean_disagreement(none, none))
    assert torch.isnan(nearest_class_mean_accuracy(none, none))


def test_shapes_that_do_not_fit_are_answered():
    with shapes_unchecked(), pytest.raises(errors.ShapeError) as caught:
        nearest_class_means(torch.ones(2, 3), torch.ones(4, 5))
    assert str(caught.value) == (
        "class means have shape (4, 5) and features (2, 3); expected (classes, dim) and (samples, dim) with one dim."
    )
    with shapes_unchecked(), pytest.raises(errors.ShapeError) as caught:
        linear_decisions(torch.ones(2, 3), torch.ones(4, 5))
    assert str(caught.value) == (
        "the classifier has shape (4, 5) and features (2, 3); expected (classes, dim) and (samples, dim) with one dim."
    )
