"""Scans over ranks: where they stop, what they keep, and the smallest rank that is good enough."""

import re

import pytest
import torch
from matrices import draw
from torch import nn

from deepcollapse.compression.low_rank.decomposition import LowRank
from deepcollapse.compression.low_rank.rank_choice import rank_for_energy, useful_rank
from deepcollapse.compression.low_rank.scan import ScanPoint, rank_scan, scan
from deepcollapse.errors import OptionError


def looked_at(accuracies, **how):
    asked = []
    found = scan(list(range(len(accuracies))), lambda i: asked.append(i) or accuracies[i], 0.9, **how)
    assert [point.candidate for point in found.points] == asked
    return found


def test_a_scan_stops_after_two_failures_in_a_row_and_keeps_every_point():
    found = looked_at([0.99, 0.8, 0.95, 0.9, 0.7, 0.89, 0.99])
    assert found.best == 3  # exactly what is needed is enough
    assert len(found.points) == 6
    assert found.points[1] == ScanPoint(1, 0.8, False)
    assert looked_at([0.99, 0.8, 0.95], failures=1).best == 0
    assert looked_at([0.8, 0.7, 0.99]).best is None
    assert looked_at([float("nan"), 0.95]).best == 1
    assert looked_at([]).points == ()


def rank_of(network) -> float:
    return float(torch.linalg.matrix_rank(network(torch.eye(20).double()) - network(torch.zeros(20).double())))


def test_ranks_of_a_layer_are_scanned_down_to_the_smallest_that_keeps_accuracy():
    net = nn.Sequential(nn.Linear(20, 30), nn.Linear(30, 20)).double()
    with torch.no_grad():
        net[0].weight.copy_(draw(30, 5) @ draw(5, 20, seed=1))
    found = rank_scan(net, [11, 8, 5, 4, 3, 2], rank_of, drop=0.0, layers="0")
    assert found.needed == 5.0
    assert found.best == 5
    assert [point.accuracy for point in found.points] == [5, 5, 5, 4, 3]  # two failures, and no more
    assert rank_scan(net, [11, 8, 5, 4, 3, 2], rank_of, drop=1.0, layers="0").best == 4


def test_thresholds_are_scanned_as_mappings_of_ranks_on_one_decomposition():
    net = nn.Sequential(nn.Linear(20, 30), nn.Linear(30, 20)).double()
    with torch.no_grad():
        net[0].weight.copy_(draw(30, 5) @ draw(5, 20, seed=1))
    whole = LowRank(net)
    ranks = [
        {one.name: useful_rank(rank_for_energy(one.singular_values, energy), one.shape) for one in whole.spectra()}
        for energy in (1 - 1e-12, 0.6)
    ]
    found = rank_scan(whole, ranks, rank_of)
    assert found.best == ranks[0]
    assert [point.accepted for point in found.points] == [True, False]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: rank_scan(nn.Linear(4, 4), [1, 2], lambda _: 1.0),
            "ranks are scanned from the largest to the smallest; got [1, 2].",
        ),
        (lambda: scan([1], float, 0.5, failures=0), "failures in a row that end a scan are at least 1; got 0."),
    ],
)
def test_errors(call, message):
    with pytest.raises(OptionError, match=f"^{re.escape(message)}$"):
        call()
