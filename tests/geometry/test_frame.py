"""Deep neural collapse in a layer: orthogonal class means, and weights along them."""

import math

import pytest
import torch
from examples import assert_digits, doubles, gaussian, rotation

from deepcollapse import measure_features
from deepcollapse.errors import NonFiniteError, ShapeError, TooFewClassesError
from deepcollapse.geometry import orthogonal_conditioning, orthogonal_frame_error, row_alignment, simplex_etf
from unchecked import shapes_unchecked


def test_an_orthogonal_frame_has_no_error_wherever_it_points_and_whatever_its_size():
    frame = 7 * rotation(0, 6)[:4]
    assert orthogonal_frame_error(frame) < 1e-15
    assert orthogonal_conditioning(frame) < 1e-14
    assert row_alignment(frame[[2, 0]], frame) < 1e-15


def test_values_of_the_definitions_written_out():
    means = doubles((2, 0, 0), (1, 1, 0))
    gram = doubles((4, 2), (2, 2)) / math.sqrt(16 + 4 + 4 + 4)
    assert_digits(orthogonal_frame_error(means), (gram - torch.eye(2).double() / math.sqrt(2)).norm())
    s = [math.sqrt(3 + math.sqrt(5)), math.sqrt(3 - math.sqrt(5))]
    assert_digits(orthogonal_conditioning(means), s[0] / s[1] - 1)
    # (3, 0, 0) lies along the first mean; (0, 2, 0) is nearest to the second, at 45 degrees; the third counts nothing.
    assert_digits(row_alignment(doubles((3, 0, 0), (0, 2, 0), (0, 0, 0)), means), 4 / 13 * (1 - math.sqrt(0.5)))


def test_the_worst_frame_is_all_means_in_one_place():
    assert_digits(orthogonal_frame_error(torch.ones(5, 3)), math.sqrt(2 - 2 / math.sqrt(5)))
    assert orthogonal_conditioning(torch.ones(5, 3)) == math.inf


def test_a_simplex_is_no_orthogonal_frame_until_its_centre_is_put_back():
    vertices = simplex_etf(4, 6)
    assert_digits(orthogonal_frame_error(vertices), math.sqrt(2 - 2 * math.sqrt(3 / 4)))
    assert orthogonal_conditioning(vertices) == math.inf
    centre = torch.zeros(6, dtype=torch.float64)
    centre[5] = 1 / math.sqrt(3)  # the vertices have no part along this axis
    assert orthogonal_frame_error(vertices + centre) < 1e-15


def test_more_classes_than_dimensions_have_no_orthogonal_frame():
    assert orthogonal_frame_error(gaussian(0, 5, 3)) > 0.3
    assert orthogonal_conditioning(gaussian(0, 5, 3)) == math.inf


def test_nothing_gives_nan_and_a_mean_of_zero_is_left_out():
    zeros = torch.zeros(3, 4)
    assert orthogonal_frame_error(zeros).isnan()
    assert orthogonal_conditioning(zeros).isnan()
    assert row_alignment(torch.eye(4), zeros).isnan()
    assert row_alignment(torch.zeros(2, 4), torch.eye(4)).isnan()
    assert row_alignment(torch.eye(2), doubles((1, 0), (0, 0))) == 0.5
    # A tiny row is a row: only its size beside the others says how much it counts.
    assert row_alignment(doubles((1, 0), (0, 1e-200)), doubles((1, 0), (2, 0))) == 0


def test_the_sign_of_a_row_does_not_matter():
    assert row_alignment(doubles((-1, 0)), doubles((1, 0), (0, 1))) == 0


def test_what_is_no_set_of_class_means_is_refused():
    with shapes_unchecked(), pytest.raises(ShapeError) as raised:
        row_alignment(torch.ones(2, 3), torch.ones(2, 4))
    assert str(raised.value) == (
        "weights have 3 columns and class means dimension 4; pass the class means of the features that the weights "
        "act on."
    )
    with pytest.raises(TooFewClassesError, match=r"^class_means has 1 row; the geometry of classes needs at least two"):
        orthogonal_frame_error(torch.ones(1, 3))
    with pytest.raises(NonFiniteError, match=r"^class_means holds 1 NaN or infinite entries"):
        orthogonal_conditioning(torch.tensor([[1.0, 0.0], [0.0, math.nan]]))


def test_a_layer_is_measured_by_request_about_zero_and_not_about_its_mean():
    features, labels = 3 * torch.eye(3).repeat(2, 1), torch.arange(3).repeat(2)
    names = ["orthogonal_frame_error", "row_alignment"]
    found = {
        record.measure: record.value
        for record in measure_features(features, labels, num_classes=3, classifier=torch.eye(3), measures=names).records
    }
    assert found["orthogonal_frame_error"] == pytest.approx(0, abs=1e-15)
    assert found["row_alignment"] == pytest.approx(0, abs=1e-15)
    usual = measure_features(features, labels, num_classes=3, classifier=torch.eye(3)).records
    assert not {record.measure for record in usual} & set(names)
