"""Squared distances by one product, where close pairs and far offsets would cost digits."""

import torch
from examples import assert_digits, gaussian

from deepcollapse.linalg import squared_distances


def test_close_pairs_among_far_points_keep_their_digits():
    points = 1e3 * gaussian(0, 40, 16)
    points[1], points[3] = points[0] + 1e-3 * gaussian(1, 16), points[2]
    expected = (points[:, None] - points).square().sum(dim=2)
    gram = points @ points.T
    naive = gram.diagonal()[:, None] + gram.diagonal() - 2 * gram
    assert abs(naive[0, 1] / expected[0, 1] - 1) > 1e-7  # the trap
    assert_digits(squared_distances(points, points), expected, 1e-12)
    assert squared_distances(points, points)[2, 3] == 0


def test_points_all_in_one_place_are_at_distance_zero():
    assert torch.equal(squared_distances(*2 * [torch.ones(5, 3).double()]), torch.zeros(5, 5).double())
