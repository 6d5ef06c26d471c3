"""NC3 and its relatives: the worked example, exact duality, classes without a direction, every magnitude."""

import math
import re

import pytest
import torch
from examples import B1, D1_CENTRE, D1_CENTRED_MEANS, W1, assert_digits, doubles, gaussian, rotation
from hypothesis import given, settings
from hypothesis.strategies import integers

from deepcollapse.errors import NonFiniteError, ShapeError, TooFewClassesError
from deepcollapse.geometry.duality import (
    centre_logit_norm,
    gram_self_duality,
    self_duality,
    self_duality_cosine_mean,
    self_duality_cosine_min,
    self_duality_cosines,
    uniform_duality,
    uniform_duality_dot,
    uniform_duality_variation,
)
from deepcollapse.geometry.simplex import simplex_etf
from unchecked import shapes_unchecked

ZERO_AT_DUALITY = [
    self_duality,
    gram_self_duality,
    uniform_duality,
    uniform_duality_variation,
]
SCALE_FREE = [*ZERO_AT_DUALITY, self_duality_cosine_mean, self_duality_cosine_min]


def test_worked_example():
    assert_digits(self_duality(W1, D1_CENTRED_MEANS), 0.181435446982202)
    assert_digits(gram_self_duality(W1, D1_CENTRED_MEANS), 0.124274883112658)
    assert_digits(self_duality_cosine_mean(W1, D1_CENTRED_MEANS), 0.931967551603373)
    assert_digits(uniform_duality(W1, D1_CENTRED_MEANS), 0.0309335802415333)
    assert_digits(uniform_duality_dot(W1, D1_CENTRED_MEANS), 0.117851130197758)
    assert_digits(uniform_duality_variation(W1, D1_CENTRED_MEANS), 0.0309335802415333 / 0.931967551603373)
    assert_digits(centre_logit_norm(W1, B1, D1_CENTRE), 0.752218939759784)


@pytest.mark.parametrize("num_classes", [2, 3, 10])
def test_exact_duality(num_classes):
    means = 3 * simplex_etf(num_classes, 16) @ rotation(0, 16)
    values = torch.stack([measure(0.1 * means, means) for measure in ZERO_AT_DUALITY])
    assert_digits(values, torch.zeros(len(ZERO_AT_DUALITY)), atol=1e-14)
    assert_digits(uniform_duality_dot(0.1 * means, means), 0, atol=1e-14)
    assert_digits(self_duality_cosines(0.1 * means, means), torch.ones(num_classes))
    assert_digits(self_duality(-means, means), 4)
    assert_digits(gram_self_duality(-means, means), 2)
    assert_digits(self_duality_cosine_mean(-means, means), -1)


@given(seed=integers(0, 2**16), num_classes=integers(2, 6), dim=integers(1, 6))
@settings(derandomize=True, max_examples=20, deadline=None)
def test_against_definitions(seed, num_classes, dim):
    w, z = gaussian(seed, num_classes, dim), gaussian(seed + 1, num_classes, dim)
    pairs = list(zip(w.tolist(), z.tolist(), strict=True))
    dots = [sum(a * b for a, b in zip(u, v, strict=True)) for u, v in pairs]
    cosines = [dot / math.hypot(*u) / math.hypot(*v) for dot, (u, v) in zip(dots, pairs, strict=True)]
    mean = sum(cosines) / num_classes
    spread = math.sqrt(sum((c - mean) ** 2 for c in cosines) / num_classes)
    middle = sum(dots) / num_classes
    assert_digits(self_duality(w, z), 2 - 2 * sum(dots) / (w.norm() * z.norm()))
    assert_digits(self_duality_cosines(w, z), cosines)
    assert_digits(self_duality_cosine_mean(w, z), mean)
    assert_digits(self_duality_cosine_min(w, z), min(cosines))
    assert_digits(uniform_duality(w, z), spread)
    variation = spread / abs(mean) if abs(mean) > 1e-14 else math.nan
    assert_digits(uniform_duality_variation(w, z), variation, rtol=1e-8)
    assert_digits(uniform_duality_dot(w, z), math.sqrt(sum((d - middle) ** 2 for d in dots) / num_classes))
    target, product = (torch.eye(num_classes) - 1 / num_classes).double(), w @ z.T
    assert_digits(gram_self_duality(w, z), torch.dist(product / product.norm(), target / target.norm()), rtol=1e-7)


@pytest.mark.parametrize("measure", SCALE_FREE)
@pytest.mark.parametrize(("up", "down"), [(1e-200, 1e200), (1e200, 1e-200), (1e200, 1e200), (1e-200, 1e-200)])
def test_scale_of_either_changes_nothing(measure, up, down):
    assert_digits(measure(W1 * up, D1_CENTRED_MEANS * down), measure(W1, D1_CENTRED_MEANS))


@pytest.mark.parametrize("measure", [*SCALE_FREE, uniform_duality_dot])
def test_rotation_of_both_changes_nothing(measure):
    turn = rotation(0, 4)
    assert_digits(measure(W1 @ turn, D1_CENTRED_MEANS @ turn), measure(W1, D1_CENTRED_MEANS))


def test_classes_without_a_direction_are_left_out():
    w, z = doubles((1, 0), (0, 0), (0, 2)), doubles((1, 0), (1, 1), (0, -1e-14))
    assert_digits(self_duality_cosines(w, z), [1, math.nan, math.nan])
    assert_digits(self_duality_cosine_mean(w, z), 1)
    assert_digits(self_duality_cosine_min(w, z), 1)
    assert_digits(uniform_duality(w, z), 0)
    assert_digits(uniform_duality_dot(w, torch.zeros(3, 2)), 0)
    for measure in SCALE_FREE:
        assert_digits(measure(torch.zeros(3, 2), z), math.nan)
        assert_digits(measure(w, torch.zeros(3, 2)), math.nan)


def test_variation_about_a_mean_of_zero_is_undefined():
    assert_digits(uniform_duality_variation(torch.eye(2), doubles((1, 0), (0, -1))), math.nan)


def test_a_missing_bias_is_zero():
    assert_digits(centre_logit_norm(W1, None, D1_CENTRE), (W1 @ D1_CENTRE).norm())
    assert_digits(centre_logit_norm(W1, -(W1 @ D1_CENTRE), D1_CENTRE), 0)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: self_duality(torch.ones(4, 3), torch.ones(3, 3)), ShapeError,
         "classifier has shape (4, 3) and means (3, 3); both need one row a class, in one order and dimension. "
         "Where classes are absent, pass the classifier's rows of the present ones."),
        (lambda: self_duality_cosines(torch.ones(3), torch.ones(3, 3)), ShapeError,
         "classifier has shape (3,); expected (classes, dim). Flatten or pool other axes first."),
        (lambda: uniform_duality(torch.ones(1, 3), torch.ones(1, 3)), TooFewClassesError,
         "classifier has 1 row; the geometry of classes needs at least two."),
        (lambda: gram_self_duality(torch.ones(2, 1), doubles((math.nan,), (math.inf,))), NonFiniteError,
         "means holds 2 NaN or infinite entries; leave out what they belong to."),
        (lambda: centre_logit_norm(torch.ones(3, 2), torch.ones(2), torch.ones(2)), ShapeError,
         "classifier has shape (3, 2), bias (2,) and centre (2,); "
         "expected a bias of shape (3,) and a centre of shape (2,)."),
    ],
)  # fmt: skip
def test_errors(call, error, message):
    with shapes_unchecked(), pytest.raises(error, match=f"^{re.escape(message)}$"):
        call()
