"""GNC2: the worked example, the exact simplex, the pentagon, coincident directions, and HUG's within-class part."""

import math
import re

import pytest
import torch
from examples import D1_CENTRED_MEANS, assert_digits, doubles, gaussian, regular_polygon, rotation
from hypothesis import given, settings
from hypothesis.strategies import floats, integers

from deepcollapse.errors import NonFiniteError, OptionError, ShapeError, TooFewClassesError
from deepcollapse.geometry.simplex import simplex_etf
from deepcollapse.geometry.uniformity import (
    coincident_pairs,
    hyperspherical_energy,
    log_inverse_distance_mean,
    log_inverse_distance_std,
    log_inverse_distance_variation,
    within_class_uniformity_energy,
)
from unchecked import shapes_unchecked

MEASURES = [
    log_inverse_distance_mean,
    log_inverse_distance_std,
    log_inverse_distance_variation,
    hyperspherical_energy,
    coincident_pairs,
]


def test_worked_example():
    assert_digits(log_inverse_distance_mean(D1_CENTRED_MEANS), -0.540595068707795)
    assert_digits(log_inverse_distance_std(D1_CENTRED_MEANS), 0.0713442889004641)
    assert_digits(log_inverse_distance_variation(D1_CENTRED_MEANS), 0.0713442889004641 / 0.540595068707795)
    assert_digits(hyperspherical_energy(D1_CENTRED_MEANS), 0.583909678650061)


@pytest.mark.parametrize("num_classes", [2, 3, 4, 10])
def test_exact_simplex(num_classes):
    rows = 5 * simplex_etf(num_classes, 12) @ rotation(0, 12)
    distance = math.sqrt(2 * num_classes / (num_classes - 1))
    assert_digits(log_inverse_distance_mean(rows), -math.log(distance))
    assert_digits(log_inverse_distance_std(rows), 0)
    assert_digits(log_inverse_distance_variation(rows), 0)
    assert_digits(hyperspherical_energy(rows), 1 / distance)
    assert_digits(hyperspherical_energy(rows, s=2.0), 1 / distance**2)
    assert_digits(coincident_pairs(rows), 0)
    assert_digits(log_inverse_distance_mean(simplex_etf(4, 3)), -0.490414626505863)


def test_the_best_pentagon_has_unequal_distances():
    assert_digits(log_inverse_distance_std(regular_polygon(5)), 0.24060591252980)


@given(seed=integers(0, 2**16), num_classes=integers(2, 7), dim=integers(2, 5), s=floats(0.2, 3))
@settings(derandomize=True, max_examples=20, deadline=None)
def test_against_definitions_at_every_magnitude(seed, num_classes, dim, s):
    rows = gaussian(seed, num_classes, dim)
    unit = (rows / rows.norm(dim=1, keepdim=True)).tolist()
    distances = [math.dist(unit[i], unit[j]) for i in range(num_classes) for j in range(i)]
    logs = [math.log(1 / distance) for distance in distances]
    mean = sum(logs) / len(logs)
    std = math.sqrt(sum((log - mean) ** 2 for log in logs) / len(logs))
    for scale in (1.0, 1e-200, 1e200):
        assert_digits(log_inverse_distance_mean(rows * scale), mean)
        assert_digits(log_inverse_distance_std(rows * scale), std)
        assert_digits(log_inverse_distance_variation(rows * scale), std / abs(mean), rtol=1e-8)
        assert_digits(hyperspherical_energy(rows * scale, s), sum(d**-s for d in distances) / len(distances))


def test_close_directions_keep_their_digits():
    rows = doubles((1, 0), (math.cos(1e-9), math.sin(1e-9)), (-1, 0))
    assert_digits(log_inverse_distance_mean(rows), -(math.log(1e-9) + 2 * math.log(2)) / 3)


def test_coincident_pairs_are_counted_and_left_out():
    rows = torch.cat([doubles((1, 2, 3), (-2, 1, 0)), 0.1 * doubles((3, 6, 9), (0.7, 1.4, 2.1))])
    assert_digits(coincident_pairs(rows), 3)
    assert_digits(log_inverse_distance_mean(rows), -math.log(2) / 2)
    assert_digits(hyperspherical_energy(rows), math.sqrt(0.5))
    for measure in MEASURES[:4]:
        assert_digits(measure(torch.ones(3, 2)), math.nan)
        assert_digits(measure(torch.zeros(3, 2)), math.nan)
    assert_digits(coincident_pairs(torch.zeros(3, 2)), 0)


def test_zero_rows_are_left_out():
    rows = doubles((1, 0), (0, 0), (0, 3))
    assert_digits(log_inverse_distance_mean(rows), -math.log(2) / 2)


def test_variation_about_a_mean_of_zero_is_undefined():
    sixty_degrees = doubles((1, 0), (0.5, math.sqrt(0.75)))
    assert_digits(log_inverse_distance_variation(sixty_degrees), math.nan)


def test_many_classes_are_taken_tile_by_tile():
    rows = gaussian(0, 2500, 3)
    distances = torch.pdist(rows / rows.norm(dim=1, keepdim=True))
    assert_digits(log_inverse_distance_std(rows), distances.log().std(correction=0))


def test_within_class_energy_against_its_definition():
    features, labels = gaussian(0, 12, 3), torch.tensor([0, 0, 0, 0, 2, 2, 2, 2, 2, 1, -100, -100])
    energies = [hyperspherical_energy(features[:4], s=1.5), hyperspherical_energy(features[4:9], s=1.5)]
    assert_digits(within_class_uniformity_energy(features, labels, s=1.5), sum(energies) / 2)


def test_within_class_energy_at_and_beside_collapse():
    features, labels = doubles((1, 0), (2, 0), (0, 1), (0, 3)), torch.tensor([0, 0, 1, 1])
    assert_digits(within_class_uniformity_energy(features, labels), math.inf)
    duplicated, three = doubles((1, 0), (1, 0), (-1, 0)), torch.zeros(3, dtype=torch.int64)
    assert_digits(within_class_uniformity_energy(duplicated, three), 0.5)
    assert_digits(within_class_uniformity_energy(torch.eye(3), torch.arange(3)), math.nan)
    assert_digits(within_class_uniformity_energy(torch.zeros(3, 2), three), math.nan)
    assert_digits(within_class_uniformity_energy(torch.zeros(0, 2), three[:0]), math.nan)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: hyperspherical_energy(torch.eye(2), s=0.0), OptionError,
         "s must be above 0 and finite; got 0.0. The energy for s = 0 is log_inverse_distance_mean."),
        (lambda: within_class_uniformity_energy(torch.eye(2), torch.zeros(3, dtype=torch.int64)), ShapeError,
         "labels has shape (3,); expected one label for each of 2 rows."),
        (lambda: within_class_uniformity_energy(torch.ones(2), torch.zeros(2, dtype=torch.int64)), ShapeError,
         "features has shape (2,); expected (samples, dim). Flatten or pool other axes first."),
        (lambda: coincident_pairs(torch.eye(1)), TooFewClassesError,
         "rows has 1 row; the geometry of classes needs at least two."),
        (lambda: log_inverse_distance_std(torch.tensor([[1.0], [math.nan]])), NonFiniteError,
         "rows holds 1 NaN or infinite entries; leave out what they belong to."),
    ],
)  # fmt: skip
def test_errors(call, error, message):
    with shapes_unchecked(), pytest.raises(error, match=f"^{re.escape(message)}$"):
        call()
