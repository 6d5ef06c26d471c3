"""NC2: the worked examples, the exact simplex, zero rows, every magnitude, and the picture's coordinates."""

import math
import re

import pytest
import torch
from examples import (
    D1_CENTRED_MEANS,
    D2_CENTRED_MEANS,
    D2_SAMPLE_CENTRED_MEANS,
    W1,
    assert_digits,
    doubles,
    gaussian,
    rotation,
)
from hypothesis import given, settings
from hypothesis.strategies import integers

from deepcollapse.errors import NonFiniteError, ShapeError, TooFewClassesError
from deepcollapse.geometry.simplex import (
    cosines,
    equiangularity,
    equinorm,
    equinorm_unbiased,
    gram_etf_error,
    maximal_angle,
    mean_norm,
    simplex_coordinates,
    simplex_etf,
)
from unchecked import shapes_unchecked

MEASURES = [equinorm, equinorm_unbiased, equiangularity, maximal_angle, gram_etf_error]


@pytest.mark.parametrize(
    ("measure", "means", "classifier"),
    [
        (equinorm, 0.113257169807622, 0.108194609256798),
        (equinorm_unbiased, 0.138711137870211, 0.132510792799481),
        (equiangularity, 0.200752739577017, 0.262403132397086),
        (maximal_angle, 0.185482050142978, 0.21889240974532),
        (gram_etf_error, 0.316462351800724, 0.383758100625923),
    ],
)
def test_worked_example(measure, means, classifier):
    assert_digits(measure(D1_CENTRED_MEANS), means)
    assert_digits(measure(W1), classifier)


def test_imbalanced_worked_example_in_both_centres():
    values = torch.stack([f(D2_CENTRED_MEANS) for f in (equinorm, equiangularity, maximal_angle)])
    assert_digits(values, [0.248760075120806, 0.514412219759844, 0.462886127993952])
    values = torch.stack([f(D2_SAMPLE_CENTRED_MEANS) for f in (equinorm, equiangularity, maximal_angle)])
    assert_digits(values, [0.569827641288647, 0.0674766744769262, 0.0589652872667144])


@pytest.mark.parametrize(("num_classes", "dim"), [(2, 1), (2, 5), (3, 2), (4, 3), (10, 9), (10, 64), (100, 128)])
def test_exact_simplex(num_classes, dim):
    rows = simplex_etf(num_classes, dim)
    assert_digits(rows.norm(dim=1), torch.ones(num_classes))
    assert_digits(rows.sum(dim=0), torch.zeros(dim), atol=1e-13)
    off_diagonal = cosines(rows)[~torch.eye(num_classes, dtype=torch.bool)]
    assert_digits(off_diagonal, torch.full_like(off_diagonal, -1 / (num_classes - 1)))
    turned = 7 * rows @ rotation(0, dim)
    assert max(measure(turned).item() for measure in MEASURES) < 1e-13


@given(seed=integers(0, 2**16), num_classes=integers(2, 7), dim=integers(1, 6))
@settings(derandomize=True, max_examples=20, deadline=None)
def test_against_definitions(seed, num_classes, dim):
    rows = gaussian(seed, num_classes, dim) + 1
    norms = [math.sqrt(sum(x * x for x in row)) for row in rows.tolist()]
    average = sum(norms) / num_classes
    spread = math.sqrt(sum((n - average) ** 2 for n in norms) / num_classes)
    pairs = [
        sum(a * b for a, b in zip(rows[i].tolist(), rows[j].tolist(), strict=True)) / (norms[i] * norms[j])
        for i in range(num_classes)
        for j in range(num_classes)
        if i != j
    ]
    middle = sum(pairs) / len(pairs)
    assert_digits(equinorm(rows), spread / average)
    assert_digits(equinorm_unbiased(rows), spread / average * math.sqrt(num_classes / (num_classes - 1)))
    assert_digits(equiangularity(rows), math.sqrt(sum((c - middle) ** 2 for c in pairs) / len(pairs)))
    assert_digits(maximal_angle(rows), sum(abs(c + 1 / (num_classes - 1)) for c in pairs) / len(pairs))
    assert_digits(mean_norm(rows), average)
    target = (torch.eye(num_classes) - 1 / num_classes).double()
    gram = rows @ rows.T
    assert_digits(gram_etf_error(rows), torch.dist(gram / gram.norm(), target / target.norm()), rtol=1e-7)


def test_many_classes_are_taken_tile_by_tile():
    rows = gaussian(0, 3000, 4)  # nine million pairs, more than one tile holds
    pairs = cosines(rows)[torch.ones(3000, 3000).triu(1).bool()]
    assert_digits(equiangularity(rows), pairs.std(correction=0))
    assert_digits(maximal_angle(rows), (pairs + 1 / 2999).abs().mean())


@pytest.mark.parametrize("measure", MEASURES)
@pytest.mark.parametrize("scale", [1e-200, 1e200])
def test_no_magnitude_overflows_or_vanishes(measure, scale):
    assert_digits(measure(W1 * scale), measure(W1))


def test_mean_norm_keeps_its_unit():
    assert_digits(mean_norm(doubles((3e200, 4e200), (0, 1e200))), 3e200)
    assert_digits(mean_norm(torch.zeros(3, 2)), 0)


def test_zero_rows_have_norms_but_no_angles():
    rows = torch.cat([doubles((2, 0), (-1, 1)), doubles((1e-13, 0))])
    assert_digits(cosines(rows)[2], [math.nan] * 3)
    assert_digits(cosines(rows)[0], [1, -math.sqrt(0.5), math.nan])
    assert_digits(equiangularity(rows), 0)
    assert_digits(maximal_angle(rows), math.sqrt(0.5) - 0.5)
    assert_digits(equinorm(doubles((2, 0), (0, 0))), 1)
    for measure in MEASURES:
        assert_digits(measure(torch.zeros(3, 2)), math.nan)
    for measure in (equiangularity, maximal_angle):
        assert_digits(measure(doubles((1, 0), (0, 0))), math.nan)


def test_means_of_two_classes_say_nothing():
    means = doubles((1, 2, 3), (-1, -2, -3))
    assert_digits(torch.stack([measure(means) for measure in MEASURES]), torch.zeros(5), atol=1e-15)


def test_low_precision_is_measured_in_float64():
    rows = torch.tensor([[1.0, 0.5], [-0.25, 2.0]])
    for dtype in (torch.float16, torch.bfloat16, torch.float32):
        for measure in [*MEASURES, mean_norm]:
            assert_digits(measure(rows.to(dtype)), measure(rows.double()))


@pytest.mark.parametrize("k", [2, 3, 4, 6])
def test_collapse_puts_points_on_the_vertices(k):
    vertices = simplex_etf(k, k - 1)
    means = 5 * simplex_etf(k, 8) @ rotation(1, 8)
    assert_digits(simplex_coordinates(means, means), vertices, atol=1e-12)
    beside = means + gaussian(0, k, 8) @ (torch.eye(8) - torch.linalg.pinv(means) @ means)
    assert_digits(simplex_coordinates(beside, means), vertices, atol=1e-12)


@given(seed=integers(0, 2**16), k=integers(2, 5))
@settings(derandomize=True, max_examples=15, deadline=None)
def test_the_picture_keeps_distances_in_the_span_and_ignores_rotation_and_scale(seed, k):
    means, points = gaussian(seed, k, 7), gaussian(seed + 1, 20, 7)
    means = means - means.mean(dim=0)
    coordinates = simplex_coordinates(points, means)
    inside = points @ torch.linalg.pinv(means) @ means
    expected = torch.pdist(inside) / means.norm(dim=1).mean()
    assert_digits(torch.pdist(coordinates), expected, rtol=1e-8, atol=1e-10)
    turn = 1e100 * rotation(seed, 7)
    assert_digits(simplex_coordinates(points @ turn, means @ turn), coordinates, rtol=1e-8, atol=1e-8)


def test_missing_directions_are_held_at_zero():
    means = doubles((1, 0, 0), (-1, 0, 0), (0, 0, 0))
    flat = simplex_coordinates(gaussian(0, 10, 3), means)
    assert torch.linalg.matrix_rank(flat).item() == 1
    plane = doubles((1, 0), (-1, 0), (0, 1), (0, -1))  # four classes in two dimensions
    assert torch.linalg.matrix_rank(simplex_coordinates(gaussian(0, 10, 2), plane)).item() == 2
    assert simplex_coordinates(torch.ones(1, 2), torch.zeros(3, 2)).isnan().all()
    assert simplex_coordinates(torch.ones(0, 3), means).shape == (0, 2)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: simplex_etf(1, 3), TooFewClassesError, "a simplex ETF needs at least two classes; got num_classes=1."),
        (lambda: simplex_etf(5, 3), ShapeError,
         "5 classes have no simplex ETF in 3 dimensions; it needs dim >= 4. "
         "Where classes are that many, see the measures of deepcollapse.geometry.uniformity."),
        (lambda: equinorm(torch.zeros(3)), ShapeError,
         "rows has shape (3,); expected (classes, dim). Flatten or pool other axes first."),
        (lambda: equiangularity(torch.zeros(3, 0)), ShapeError,
         "rows has shape (3, 0); expected (classes, dim). Flatten or pool other axes first."),
        (lambda: equinorm(torch.zeros(1, 2)), TooFewClassesError,
         "rows has 1 row; the geometry of classes needs at least two."),
        (lambda: maximal_angle(torch.zeros(0, 2)), TooFewClassesError,
         "rows has 0 rows; the geometry of classes needs at least two."),
        (lambda: gram_etf_error(torch.tensor([[1.0, math.nan], [0.0, 1.0]])), NonFiniteError,
         "rows holds 1 NaN or infinite entries; leave out what they belong to."),
        (lambda: simplex_coordinates(torch.zeros(4, 3), torch.zeros(2, 2)), ShapeError,
         "points have dimension 3 and means 2; pass both from one layer's features."),
        (lambda: simplex_coordinates(torch.zeros(4), torch.zeros(2, 2)), ShapeError,
         "points has shape (4,); expected (samples, dim). Flatten or pool other axes first."),
    ],
)  # fmt: skip
def test_errors(call, error, message):
    with shapes_unchecked(), pytest.raises(error, match=f"^{re.escape(message)}$"):
        call()
