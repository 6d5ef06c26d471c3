"""Total cluster variation: the worked example, its definition, and what is no cluster of two."""

import math

import pytest
import torch
from examples import assert_digits, doubles, gaussian
from hypothesis import given, settings
from hypothesis.strategies import integers

from deepcollapse import collect
from deepcollapse.geometry import relative_cluster_variation, total_cluster_variation, trace_ratio

FEATURES = doubles((1, 0), (2, 0), (0, 3), (0, 5), (0, 4), (-1, -1))
LABELS = torch.tensor([0, 0, 1, 1, 1, 2])


def test_worked_example():
    moments = collect(FEATURES, LABELS, num_classes=3)
    assert_digits(total_cluster_variation(moments), 0.4166666666666667)
    assert_digits(relative_cluster_variation(moments), 0.0438596491, rtol=1e-9)
    assert_digits(relative_cluster_variation(moments), 2.5 / 57)
    assert_digits(moments.trace.sum(), 2.5)
    assert_digits(moments.trace.sum().sqrt(), 1.5811388301, rtol=1e-9)
    assert_digits(trace_ratio(moments, weighting="sample"), 0.0742574257, rtol=1e-9)


@given(seed=integers(0, 2**16), clusters=integers(1, 5), cut=integers(0, 12))
@settings(derandomize=True, max_examples=20, deadline=None)
def test_against_the_projector_written_out(seed, clusters, cut):
    z = gaussian(seed, 12, 4) + 3
    labels = torch.randint(clusters, (12,), generator=torch.Generator().manual_seed(seed))
    one_hot = torch.eye(clusters, dtype=torch.float64)[labels]
    left = z - one_hot @ torch.linalg.pinv(one_hot) @ z
    moments = collect(z[:cut], labels[:cut], clusters).merge(collect(z[cut:], labels[cut:], clusters))
    assert_digits(total_cluster_variation(moments), left.square().sum() / 12)
    assert_digits(relative_cluster_variation(moments), left.square().sum() / z.square().sum())


def test_fewer_or_emptier_clusters_than_two():
    single = collect(FEATURES, torch.zeros(6, dtype=torch.int64), num_classes=1)
    assert_digits(total_cluster_variation(single), (FEATURES - FEATURES.mean(dim=0)).square().sum() / 6)
    with_empty = collect(FEATURES, LABELS * 2, num_classes=9)
    assert_digits(total_cluster_variation(with_empty), 2.5 / 6)
    each_its_own = collect(FEATURES, torch.arange(6), num_classes=6)
    assert total_cluster_variation(each_its_own).item() == 0
    assert relative_cluster_variation(each_its_own).item() == 0


def test_where_nothing_varies_or_nothing_is_there():
    nothing = collect(torch.zeros(0, 2), torch.zeros(0, dtype=torch.int64), num_classes=2)
    assert math.isnan(total_cluster_variation(nothing).item())
    assert math.isnan(relative_cluster_variation(nothing).item())
    zero = collect(torch.zeros(4, 2), torch.tensor([0, 0, 1, 1]), num_classes=2)
    assert total_cluster_variation(zero).item() == 0
    assert math.isnan(relative_cluster_variation(zero).item())
    opposite = collect(doubles((1, 0), (-1, 0), (0, 2), (0, -2)), torch.tensor([0, 0, 1, 1]), num_classes=2)
    assert relative_cluster_variation(opposite).item() == 1
    # Beside the variation between clusters: infinite where there is none, undefined where there is none of either.
    assert trace_ratio(opposite, weighting="sample").item() == math.inf
    assert math.isnan(trace_ratio(zero, weighting="sample").item())


@pytest.mark.parametrize("scale", [1e-150, 1e-30, 1e150])
def test_a_share_knows_no_scale(scale):
    moments = collect(FEATURES * scale, LABELS, num_classes=3)
    assert_digits(relative_cluster_variation(moments), 2.5 / 57)
