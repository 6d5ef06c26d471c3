"""Weights are shared optimally: against every way to cut, kmeans1d, and each other."""

from itertools import combinations

import kmeans1d
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deepcollapse.compression.quantisation import weight_sharing
from deepcollapse.compression.quantisation.partition import optimal_cuts, spliced
from deepcollapse.compression.quantisation.weight_sharing import optimal_means, share_weights

WEIGHTS = np.array([-0.9, -0.4, -0.35, -0.1, -0.05, 0, 0.02, 0.1, 0.3, 0.33, 0.7, 1.2])
SMALL = st.lists(st.integers(-6, 6).map(lambda i: i / 4) | st.floats(-3, 3, width=32), min_size=1, max_size=9)


def error_of(parts):
    return sum(float(((part - part.mean()) ** 2).sum()) for part in parts)


def least_error(weights, k):
    """The least squared error over every way to cut the sorted weights into k runs."""
    rising = np.sort(weights)
    k = min(k, len(rising))
    return min(error_of(np.split(rising, cuts)) for cuts in combinations(range(1, len(rising)), k - 1))


def error_with(means, cells, weights):
    return float(((weights - means[cells]) ** 2).sum())


def test_the_example():
    means, cells = optimal_means(WEIGHTS, 4)
    np.testing.assert_allclose(means, [-0.9, -0.375, 0.6 / 7, 0.95], rtol=1e-10)
    assert error_with(means, cells, WEIGHTS) == pytest.approx(0.2966214286, rel=1e-9)
    few = share_weights(WEIGHTS.reshape(3, 4), 4)
    np.testing.assert_allclose(few.array().ravel(), means[cells], rtol=1e-6)
    assert few.distortion(WEIGHTS.reshape(3, 4)) == pytest.approx(0.2966214286, rel=1e-6)


@settings(max_examples=80, deadline=None)
@given(values=SMALL, k=st.integers(1, 10), large=st.booleans())
def test_no_other_way_to_cut_has_a_smaller_error(values, k, large):
    weights = np.array(values)
    with pytest.MonkeyPatch.context() as patch:
        if large:
            patch.setattr(weight_sharing, "SMALL", 0)
        means, cells = optimal_means(weights, k)
    assert len(means) == min(k, len(set(values)))
    for cell, mean in enumerate(means):
        assert mean == pytest.approx(weights[cells == cell].mean(), abs=1e-12)
    assert error_with(means, cells, weights) == pytest.approx(least_error(weights, k), rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("k", [2, 3, 7, 32, 200, 599])
@pytest.mark.parametrize("kind", ["normal", "grid", "clusters", "heavy"])
def test_both_solvers_reach_the_same_error(kind, k):
    rng = np.random.default_rng(k)
    points = {
        "normal": lambda: rng.standard_normal(600),
        "grid": lambda: np.arange(600.0),  # all differences alike: prices tie, and paths are spliced
        "clusters": lambda: np.repeat(np.arange(300.0) * 10, 2) + np.tile([0.0, 0.5], 300),
        "heavy": lambda: rng.standard_cauchy(600) + 1e3,
    }[kind]()
    points = np.unique(points)
    cuts = optimal_cuts(points, np.ones(len(points), np.int64), k)
    assert len(cuts) == k + 1
    assert (np.diff(cuts) > 0).all()
    ours = error_of(np.split(points, cuts[1:-1]))
    clusters = np.array(kmeans1d.cluster(points - points.mean(), k).clusters)
    theirs = error_of([points[clusters == c] for c in np.unique(clusters)])
    assert ours == pytest.approx(theirs, rel=1e-9, abs=1e-9)


def test_counts_stand_for_repeated_points():
    rng = np.random.default_rng(1)
    points, counts = np.sort(rng.standard_normal(80)), rng.integers(1, 9, 80)
    cuts = optimal_cuts(points, counts, 6)
    weighed = error_of([np.repeat(p, c) for p, c in zip(np.split(points, cuts[1:-1]), np.split(counts, cuts[1:-1]),
                                                        strict=True)])  # fmt: skip
    found = kmeans1d.cluster(np.repeat(points, counts), 6)
    theirs = error_with(np.array(found.centroids), np.array(found.clusters), np.repeat(points, counts))
    assert weighed == pytest.approx(theirs, rel=1e-9)


@given(few=st.sets(st.integers(1, 29)), many=st.sets(st.integers(1, 29)), pick=st.integers(0, 99))
def test_spliced_paths_have_the_cells_asked_for_and_follow_one_path_then_the_other(few, many, pick):
    few, many = (np.array([0, *sorted(path), 30]) for path in (few, many))
    if len(many) - len(few) < 2:
        return
    k = len(few) + pick % (len(many) - len(few) - 1)
    path = spliced(few, many, k)
    assert len(path) == k + 1
    assert (np.diff(path) > 0).all()
    assert (path[0], path[-1]) == (0, 30)
    assert set(path) <= {*few, *many}


def test_many_weights_reach_what_theory_says_of_them():
    """k cells of equal width leave 1 / (12 k^2) of weights that lie evenly between 0 and 1."""
    weights = np.random.default_rng(0).random(50_000).astype(np.float32)
    few = share_weights(weights, 64)
    assert few.distinct == 64
    assert few.distortion(weights) / len(weights) == pytest.approx(1 / 12 / 64**2, rel=0.02)
