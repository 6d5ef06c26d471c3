"""Bounds as records: shares of the weight's norm, the partition named, and reasons where there is nothing to tell."""

import pytest
import torch
from torch import nn
from torch.nn import functional

from deepcollapse.measurement import Measurement
from deepcollapse.theory.bounds.of_network import rank_collapse_bounds
from deepcollapse.theory.bounds.records import MEASURES, bound_records, with_bounds

NOTHING = Measurement(records=(), arrays={}, moments={}, layers=(), runs=1)


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(5, 8), nn.Tanh(), nn.Linear(8, 6), nn.Tanh(), nn.Linear(6, 3))


def data():
    g = torch.Generator().manual_seed(0)
    return [(torch.randn(12, 5, generator=g), torch.arange(12) % 3)]


def test_lengths_are_shares_of_the_norm_and_the_rest_is_as_it_is():
    found = rank_collapse_bounds(network(), data(), functional.cross_entropy, 0.1)
    rows = {(r.layer, r.measure): r for r in bound_records(found)}
    bounds = found.layers["2"]
    expected = {
        "relative_distance_to_rank_k_weight": bounds.distance / bounds.norm,
        "rank_collapse_bound_weight": bounds.bound_cross / bounds.norm,
        "rank_collapse_bound_alignment_weight": bounds.bound_alignment / bounds.norm,
        "rank_collapse_bound_without_decay_weight": bounds.relative_bound,
        "stationarity_residual_weight": bounds.stationarity_residual,
        "rank_collapse_groups_weight": 3.0,
    }
    assert {name: rows["2", name].value for name in expected} == pytest.approx(expected, rel=1e-12)
    assert rows["2", "input_cluster_variation_weight"].unit == "squared input"
    assert len(rows) == 3 * len(MEASURES)
    assert all(r.split == "train" for r in rows.values())


def test_positions_stand_in_the_note():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv1d(4, 12, 2, stride=2), nn.Flatten(), nn.Tanh(), nn.Linear(24, 3))
    batches = [(torch.randn(9, 4, 4), torch.arange(9) % 3)]
    rows = bound_records(rank_collapse_bounds(net, batches, functional.cross_entropy, 0.1))
    [note] = {r.note for r in rows if r.layer == "0"}
    assert note.startswith("k = 6, classes times 2 positions: not stationary: ")


def test_what_is_left_out_has_one_row_with_the_reason():
    net = network()
    net[2].weight.requires_grad_(False)
    measured = with_bounds(NOTHING, net, data(), functional.cross_entropy, 0.1)
    [row] = [r for r in measured.records if r.layer == "2"]
    assert (row.measure, row.value, row.note) == ("relative_distance_to_rank_k_weight", None, "its weight is frozen")


def test_where_the_loss_cannot_be_taken_the_network_has_a_row_with_the_reason():
    def loss(logits, labels):
        raise RuntimeError("no such\nloss")

    [row] = with_bounds(NOTHING, network(), data(), loss, 0.1).records
    assert (row.layer, row.measure, row.value) == ("network", "relative_distance_to_rank_k_weight", None)
    assert row.note == "no layer's bound on rank could be worked out: no such"


def test_data_of_ones_own_code_may_have_been_augmented():
    measured = with_bounds(NOTHING, network(), data(), functional.cross_entropy, 0.1, augmented=True)
    notes = {r.layer: r.note for r in measured.records}
    end = "inputs come from code of your own: if it changes them at random, the bounds are for one such draw"
    assert str(notes["2"]).endswith(end)
    assert not str(notes["head"]).endswith(end)  # trivially true of any data
