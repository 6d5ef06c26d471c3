"""NRC: the worked example, the exact minimiser against a grid and the known optimum, and degenerate targets."""

import math
import re

import pytest
import torch
from examples import (
    REGRESSION_FEATURES,
    REGRESSION_TARGETS,
    REGRESSION_W,
    assert_digits,
    doubles,
    gaussian,
    rotation,
)
from hypothesis import given, settings
from hypothesis.strategies import integers

from deepcollapse.errors import NonFiniteError, OptionError, ShapeError
from deepcollapse.geometry.regression import nrc1, nrc1_centred, nrc2, nrc3, nrc3_at, nrc3_gamma, nrc3_gamma_appendix_f
from unchecked import shapes_unchecked


def covariance(targets):
    centred = targets - targets.mean(dim=0)
    return centred.T @ centred / len(targets)


def root_of(matrix):
    eigenvalues, axes = torch.linalg.eigh(matrix)
    return (axes * eigenvalues.clamp(min=0).sqrt()) @ axes.T


def test_worked_example():
    assert_digits(nrc1(REGRESSION_FEATURES, REGRESSION_TARGETS), 0.262982825066789)
    assert_digits(nrc2(REGRESSION_FEATURES, REGRESSION_W), 0.308010459289193)
    gamma = nrc3_gamma(REGRESSION_W, REGRESSION_TARGETS)
    assert_digits(gamma, 0.0477867723915248)
    assert_digits(nrc3(REGRESSION_W, REGRESSION_TARGETS), 0.0164868495307234)
    assert_digits(nrc3_at(REGRESSION_W, REGRESSION_TARGETS, gamma), 0.0164868495307234)
    published = nrc3_gamma_appendix_f(REGRESSION_W, REGRESSION_TARGETS)
    assert_digits(published, 0.250123088854995)
    assert_digits(nrc3_at(REGRESSION_W, REGRESSION_TARGETS, published), 0.0253377403068344)
    assert_digits(torch.linalg.eigvalsh(covariance(REGRESSION_TARGETS))[0], 0.964574488388631)


@given(seed=integers(0, 2**16), t=integers(2, 4))
@settings(derandomize=True, max_examples=15, deadline=None)
def test_no_point_of_a_grid_is_better_and_no_scale_matters(seed, t):
    weights, targets = gaussian(seed, t, 5), gaussian(seed + 1, 20, t) * torch.arange(1.0, t + 1)
    best, gamma = nrc3(weights, targets), nrc3_gamma(weights, targets)
    most = torch.linalg.eigvalsh(covariance(targets))[0].item()
    assert 0 <= gamma.item() <= most * (1 + 1e-12)
    grid = [nrc3_at(weights, targets, most * step / 50).item() for step in range(51)]
    assert best.item() <= min(grid) + 1e-12
    for up, down in ((1e-200, 1.0), (1e200, 1.0), (1.0, 1e-150), (1.0, 1e150)):
        assert_digits(nrc3(weights * up, targets * down), best)
        assert_digits(nrc3_gamma(weights * up, targets * down), gamma * down**2, atol=0)


@pytest.mark.parametrize(("feature_decay", "weight_decay"), [(0.2, 0.05), (0.01, 0.3)])
def test_the_optimum_of_unconstrained_features_gives_the_product_of_both_decays(feature_decay, weight_decay):
    targets = gaussian(3, 200, 3) @ torch.diag(torch.tensor([2.0, 1.5, 1.0], dtype=torch.float64))
    root, identity = root_of(covariance(targets)), torch.eye(3, dtype=torch.float64)
    shrunken = root - math.sqrt(feature_decay * weight_decay) * identity
    weights = (feature_decay / weight_decay) ** 0.25 * root_of(shrunken) @ rotation(4, 8)[:3]
    assert_digits(nrc3_gamma(weights, targets), feature_decay * weight_decay)
    assert_digits(nrc3(weights, targets), 0)
    features = (targets - targets.mean(dim=0)) @ torch.linalg.inv(root) @ weights
    assert_digits(torch.stack([nrc1(features, targets), nrc2(features, weights)]), [0, 0])
    assert nrc3_at(weights, targets, nrc3_gamma_appendix_f(weights, targets)).item() > 1e-6


@given(seed=integers(0, 2**16), t=integers(1, 3))
@settings(derandomize=True, max_examples=15, deadline=None)
def test_projections_against_definitions(seed, t):
    features, targets, weights = gaussian(seed, 9, 5) + 1, gaussian(seed + 1, 9, t), gaussian(seed + 2, t, 5)
    axes = torch.linalg.eigh(covariance(features)).eigenvectors[:, -t:]
    row_space = torch.linalg.qr(weights.T).Q
    unit = features / features.norm(dim=1, keepdim=True)
    about_mean = features - features.mean(dim=0)
    about_mean = about_mean / about_mean.norm(dim=1, keepdim=True)

    def expected(rows, basis):
        return sum((row - basis @ (basis.T @ row)).square().sum() for row in rows) / len(rows)

    for scale in (1.0, 1e-200, 1e200):
        assert_digits(nrc1(features * scale, targets), expected(unit, axes))
        assert_digits(nrc1_centred(features * scale, targets), expected(about_mean, axes))
        assert_digits(nrc2(features * scale, weights / scale), expected(unit, row_space))
    turn = rotation(seed, 5)
    assert_digits(nrc1(features @ turn, targets), expected(unit, axes))
    assert_digits(nrc2(features @ turn, weights @ turn), expected(unit, row_space))
    assert_digits(nrc1_centred(features @ turn + 100, targets), expected(about_mean, axes))


def test_rank_deficient_weights_and_features():
    features, targets = doubles((1, 0, 0), (0, 1, 0), (0, 0, 1)), torch.ones(3, 2)
    assert_digits(nrc2(features, doubles((1, 0, 0), (2, 0, 0))), 2 / 3)
    assert_digits(nrc2(features, torch.zeros(2, 3)), 1)
    line = doubles((1, 1), (2, 2), (-3, -3))
    assert_digits(nrc1(line, torch.ones(3, 2)), 0)
    assert_digits(nrc1(features, targets), 1 / 3)  # the plane about the mean misses (1, 1, 1) / 3 of each


def test_zero_features_are_left_out():
    features = doubles((0, 0), (3, 0), (0, 0), (1, 1))
    assert_digits(nrc2(features, doubles((1, 0))), 0.25)
    assert_digits(nrc2(torch.zeros(3, 2), torch.eye(2)), math.nan)
    assert_digits(nrc1(torch.zeros(3, 2), torch.ones(3, 1)), math.nan)
    assert_digits(nrc1_centred(torch.ones(3, 2), torch.ones(3, 1)), math.nan)


def test_a_single_target_says_nothing():
    weights, targets = torch.ones(1, 3), torch.arange(4.0)[:, None]
    for value in (
        nrc3(weights, targets),
        nrc3_gamma(weights, targets),
        nrc3_gamma_appendix_f(weights, targets),
        nrc3_at(weights, targets, 0.1),
    ):
        assert_digits(value, math.nan)


def test_degenerate_targets_and_weights():
    white = doubles((1, 0), (-1, 0), (0, 1), (0, -1)) @ rotation(1, 2)
    assert_digits(nrc3_gamma(REGRESSION_W, white), 0)
    assert_digits(nrc3(torch.eye(2), white), 0)
    assert_digits(nrc3(torch.zeros(2, 3), white), math.nan)
    assert_digits(nrc3(torch.eye(2), torch.ones(4, 2)), math.nan)
    opposed = doubles((1, 0), (0, 5))  # strong where the targets vary least
    assert_digits(nrc3_gamma(opposed, doubles((3, 0), (-3, 0), (0, 1), (0, -1))), 0)
    assert nrc3(torch.eye(3), gaussian(0, 2, 3)).isfinite()  # fewer samples than targets


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: nrc1(torch.ones(4, 2), torch.ones(3, 2)), ShapeError,
         "features has 4 rows and targets 3; expected as many, at least one."),
        (lambda: nrc1_centred(torch.ones(4, 2), torch.ones(4)), ShapeError,
         "targets has shape (4,); expected (samples, targets). Flatten or pool other axes first."),
        (lambda: nrc2(torch.ones(4, 2), torch.ones(2, 3)), ShapeError,
         "features has shape (4, 2) and classifier (2, 3); expected rows of one dimension, at least one sample."),
        (lambda: nrc3(torch.ones(3, 2), torch.ones(5, 2)), ShapeError,
         "classifier has 3 rows and targets has shape (5, 2); expected one row for each target, at least one sample."),
        (lambda: nrc3_at(torch.eye(2), torch.ones(5, 2), -1.0), OptionError, "gamma must be at least 0; got -1.0."),
        (lambda: nrc2(torch.tensor([[math.inf, 1.0]]), torch.ones(2, 2)), NonFiniteError,
         "features holds 1 NaN or infinite entries; leave out what they belong to."),
    ],
)  # fmt: skip
def test_errors(call, error, message):
    with shapes_unchecked(), pytest.raises(error, match=f"^{re.escape(message)}$"):
        call()
