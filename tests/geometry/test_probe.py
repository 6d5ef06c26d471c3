"""The least-squares classifier against torch.linalg.lstsq, the theorems about it, and what is degenerate."""

import re

import pytest
import torch
from examples import D1, D1_CENTRED_MEANS, D1_LABELS, D2, D2_LABELS, assert_digits, gaussian, rotation
from hypothesis import given, settings
from hypothesis.strategies import integers, sampled_from

from deepcollapse import errors
from deepcollapse.geometry import collect, linear_decisions, nearest_class_means, simplex_etf
from deepcollapse.geometry.probe import least_squares_classifier


def blobs(seed: int, samples: int, dim: int, classes: int, offset: float = 0.0):
    labels = torch.randint(classes, (samples,), generator=torch.Generator().manual_seed(seed))
    return gaussian(seed, samples, dim) + gaussian(seed + 1, classes, dim)[labels] + offset, labels


def least_squares(features, labels, classes: int, weighting: str):
    """One-hot labels on [h; 1] by lstsq, each sample times the root of its weight; features centred beforehand."""
    count = torch.bincount(labels, minlength=classes).double()
    weight = (1 / count[labels] if weighting == "class" else torch.ones(len(labels)).double()).sqrt()[:, None]
    targets = torch.nn.functional.one_hot(labels, classes).double()
    shift = (weight.square() * features).sum(dim=0) / weight.square().sum()
    design = torch.cat([features - shift, torch.ones(len(features), 1).double()], dim=1)
    solution = torch.linalg.lstsq(weight * design, weight * targets, driver="gelsd", rcond=1e-7).solution
    return solution[:-1].T, solution[-1] - solution[:-1].T @ shift


def test_worked_example_in_the_paper_s_form():
    W, b = least_squares_classifier(collect(D1, D1_LABELS, 3))
    total = torch.cov(D1.T, correction=0)
    assert_digits(W, D1_CENTRED_MEANS @ torch.linalg.pinv(total) / 3)
    assert_digits(b, 1 / 3 - W @ D1.mean(dim=0), atol=1e-13)


@settings(max_examples=40, derandomize=True, deadline=None)
@given(
    seed=integers(0, 2**16),
    # Also d = 1, C > d + 1, fewer samples than dimensions.
    shape=sampled_from([(60, 6, 3), (40, 1, 2), (80, 3, 8), (12, 20, 4)]),
    weighting=sampled_from(["class", "sample"]),
    offset=sampled_from([0.0, 1e3]),
)
def test_equals_least_squares(seed, shape, weighting, offset):
    samples, dim, classes = shape
    h, y = blobs(seed, samples, dim, classes, offset)
    if len(y.unique()) < 2:
        return
    expected_W, expected_b = least_squares(h, torch.unique(y, return_inverse=True)[1], len(y.unique()), weighting)
    W, b = least_squares_classifier(collect(h, y, classes), weighting=weighting)
    present = y.unique()
    scale = float(expected_W.abs().max())
    assert_digits(W[present], expected_W, rtol=1e-9, atol=1e-9 * scale)
    assert_digits(b[present], expected_b, rtol=1e-9, atol=1e-9 * scale * (1 + abs(offset)))


@pytest.mark.parametrize("weighting", ["class", "sample"])
def test_imbalance_an_absent_class_and_single_samples(weighting):
    W, b = least_squares_classifier(collect(D2, D2_LABELS, 4), weighting=weighting)
    kept = [0, 1, 3]
    expected_W, expected_b = least_squares(D2, torch.tensor([0, 0, 0, 0, 1, 1, 2]), 3, weighting)
    assert_digits(W[kept], expected_W, rtol=1e-9, atol=1e-12)
    assert_digits(b[kept], expected_b, rtol=1e-9, atol=1e-12)
    assert not W[2].any()
    assert b[2] == 0
    assert 2 not in linear_decisions(gaussian(0, 200, 3) * 100, W, b)


def test_levels_of_scatter_agree_where_they_serve():
    h, y = blobs(3, 60, 5, 3)
    per_class = collect(h, y, 3, scatter="per_class")
    by_class = collect(h, y, 3, class_counts=torch.bincount(y, minlength=3))
    pooled = collect(h, y, 3, scatter="pooled")
    pairs = [
        (least_squares_classifier(per_class), least_squares_classifier(by_class)),
        (least_squares_classifier(per_class, weighting="sample"), least_squares_classifier(pooled, weighting="sample")),
    ]
    for (W, b), (other_W, other_b) in pairs:
        assert_digits(W, other_W, rtol=1e-9, atol=1e-12)
        assert_digits(b, other_b, rtol=1e-9, atol=1e-12)


def test_directions_without_variation_get_no_weight():
    h, y = blobs(5, 60, 4, 3)
    wide = torch.cat([h, h[:, :2], torch.full((60, 3), 7.0).double()], dim=1) @ rotation(2, 9).T
    W, b = least_squares_classifier(collect(wide, y, 3))
    expected_W, expected_b = least_squares(wide, y, 3, "class")
    assert_digits(W, expected_W, rtol=1e-9, atol=1e-9)
    assert_digits(b, expected_b, rtol=1e-9, atol=1e-9)
    narrow = least_squares_classifier(collect(h, y, 3))
    assert_digits(wide @ W.T + b, h @ narrow[0].T + narrow[1], rtol=1e-9, atol=1e-9)


@settings(max_examples=20, derandomize=True, deadline=None)
@given(seed=integers(0, 2**16), classes=integers(2, 8), extra=integers(0, 5))
def test_at_collapse_the_classifier_is_the_means_and_decides_as_the_nearest(seed, classes, extra):
    dim = classes - 1 + extra
    means = 3 * simplex_etf(classes, classes) @ rotation(seed, classes)
    basis = torch.linalg.svd(means).Vh[: classes - 1]
    means = torch.cat([means @ basis.T, torch.zeros(classes, extra).double()], dim=1) @ rotation(seed + 1, dim)
    labels = torch.arange(classes).repeat_interleave(4)
    moments = collect((means + 5)[labels], labels, classes)
    W, b = least_squares_classifier(moments)
    centred = moments.centred_means()
    alpha = (1 - 1 / classes) / centred.square().sum(dim=1)
    assert_digits(W, alpha[:, None] * centred, rtol=1e-9, atol=1e-10)
    # Off the boundaries, where the two differ by rounding alone.
    h = 5 + 4 * gaussian(seed + 2, 50, dim)
    ordered = torch.cdist(h, moments.class_means()).sort(dim=1).values
    clear = ordered[:, 1] - ordered[:, 0] > 1e-6
    assert torch.equal(linear_decisions(h, W, b)[clear], nearest_class_means(h, moments)[clear])


def test_nothing_to_tell_apart():
    W, b = least_squares_classifier(collect(torch.ones(4, 3), [0, 0, 0, 1], 2), weighting="sample")
    assert not W.any()
    assert b.tolist() == [0.75, 0.25]


@pytest.mark.parametrize(
    ("moments", "error", "message"),
    [
        (
            lambda: collect(D1, D1_LABELS, 3, scatter="none"),
            errors.ScatterLevelError,
            "the class-weighted within-class scatter needs more than these moments hold (scatter='none', classes "
            "balanced). Collect with scatter='per_class', or 'class_weighted' with class_counts; "
            "for NC1 alone a second look in the span of the class means is enough: look_again(moments, batches).",
        ),
        (
            lambda: collect(D1[:3], D1_LABELS[:3], 3),
            errors.TooFewClassesError,
            "1 of 3 classes have samples; the geometry of classes needs at least two. "
            "Check the labels, or measure more data.",
        ),
    ],
)
def test_errors(moments, error, message):
    with pytest.raises(error, match=f"^{re.escape(message)}$"):
        least_squares_classifier(moments())
