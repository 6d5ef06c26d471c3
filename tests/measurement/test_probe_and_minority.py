"""Linear probes, the tunnel, and minority classes: what measure adds where depth or imbalance shows."""

import pytest
import torch
from torch import nn

from deepcollapse import measure
from deepcollapse.geometry import least_squares_classifier, linear_decisions, minority_angle_mean, tunnel_start


def imbalanced(seed: int, counts: tuple[int, ...] = (60, 60, 12, 12)):
    generator = torch.Generator().manual_seed(seed)
    y = torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts))
    means = torch.randn(len(counts), 6, generator=torch.Generator().manual_seed(99))
    return torch.randn(len(y), 6, generator=generator) + means[y], y


@pytest.fixture
def network():
    torch.manual_seed(3)
    return nn.Sequential(
        nn.Linear(6, 9), nn.Tanh(), nn.Linear(9, 7), nn.Tanh(), nn.Linear(7, 5), nn.Tanh(), nn.Linear(5, 4)
    )


def batches(x, y):
    return list(zip(x.split(37), y.split(37), strict=True))


def test_the_probe_is_ordinary_least_squares_fitted_on_the_training_data(network):
    (x, y), (x2, y2) = imbalanced(0), imbalanced(1)
    train = measure(network, batches(x, y))
    test = measure(network, batches(x2, y2), split="test", means_of=train)
    with torch.no_grad():
        h, h2 = network[:4](x).double(), network[:4](x2).double()
    ones = torch.ones(len(h), 1, dtype=torch.float64)
    solved = torch.linalg.lstsq(torch.cat([h, ones], dim=1), nn.functional.one_hot(y).double()).solution.T
    W, b = solved[:, :-1].contiguous(), solved[:, -1].contiguous()
    assert train["linear_probe_accuracy", "3"] == (linear_decisions(h, W, b) == y).double().mean()
    assert test["linear_probe_accuracy", "3"] == (linear_decisions(h2, W, b) == y2).double().mean()


def test_the_tunnel_starts_where_probes_are_as_good_as_the_last(network):
    measured = measure(network, batches(*imbalanced(0)))
    accuracies = [measured["linear_probe_accuracy", layer] for layer in ("1", "3", "5")]
    assert measured["tunnel_start", "all"] == tunnel_start(accuracies)


def test_no_scatter_no_probe_and_the_reason_is_told(network):
    frame = measure(network, batches(*imbalanced(0)), max_scatter_dim=4).to_frame()
    row = frame[(frame.measure == "linear_probe_accuracy") & (frame.layer == "3")].iloc[0]
    assert row.note == "dimension 7 is above max_scatter_dim=4, so no 7 x 7 scatter was kept"


def test_small_classes_are_measured_as_a_minority(network):
    measured = measure(network, batches(*imbalanced(0)))
    means = measured.moments["head.input"].centred_means()
    assert measured["minority_angle_mean_means"] == minority_angle_mean(means, (2, 3))
    assert measured["minority_angle_mean_classifier", "head"] == minority_angle_mean(network[-1].weight, (2, 3))
    frame = measured.to_frame()
    note = frame[frame.measure == "minority_norm_ratio_means"].iloc[0].note
    assert note == "of the 2 classes with less than half the samples of the largest"


def test_balanced_classes_have_no_minority(network):
    measured = measure(network, batches(*imbalanced(0, (30, 30, 30, 30))))
    assert not measured.to_frame().measure.str.startswith("minority").any()
    assert measured["feature_bits"] == 32


def test_a_probe_is_worked_out_once_for_both_splits_and_for_layers_that_are_the_same(network, monkeypatch):
    taken = []

    def counted(moments, *, weighting):
        taken.append(moments.dim)
        return least_squares_classifier(moments, weighting=weighting)

    monkeypatch.setattr("deepcollapse.measurement.conclude.least_squares_classifier", counted)
    train = measure(network, batches(*imbalanced(0)))
    assert train.layers == ("1", "3", "5", "head.input")
    assert taken == [9, 7, 5]
    test = measure(network, batches(*imbalanced(1)), split="test", means_of=train)
    assert taken == [9, 7, 5]
    for measured in (train, test):
        for measure_of_layer in ("linear_probe_accuracy", "effective_rank_features", "rankme_features"):
            assert measured[measure_of_layer, "5"] == measured[measure_of_layer, "head.input"]


def test_a_probe_is_that_of_the_data_whose_means_are_taken_and_not_of_theirs(network):
    first, second, third = (batches(*imbalanced(seed)) for seed in range(3))
    alone = measure(network, third, means_of=measure(network, second))
    chained = measure(network, third, means_of=measure(network, second, means_of=measure(network, first)))
    assert [record.value for record in chained.records] == [record.value for record in alone.records]
