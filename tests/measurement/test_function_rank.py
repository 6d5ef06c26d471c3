"""`function_rank`: records of every layer, which inputs are taken, what is left out and why."""

import re
from itertools import pairwise

import pytest
import torch
from function_networks import conv_net, gaussian
from torch import nn
from toy import blobs, cut, mlp

from deepcollapse import errors
from deepcollapse.geometry import centred_classification_dimension, classification_dimension
from deepcollapse.measurement import function_rank, partial_jacobians, perturbed_dimensions
from deepcollapse.records import Run

RANKS = ("partial_jacobian_rank", "partial_jacobian_rank_svd", "perturbed_dimension", "flattened_dimension")


def test_records_are_means_of_what_the_parts_say():
    network, (x, y) = mlp(), blobs(30)
    found = function_rank(network, cut(x, y, 7, 13), samples=3, copies=50, seed=4, split="test")
    inputs = x[:3]  # classes come in turn
    jacobians, perturbed = partial_jacobians(network, inputs), perturbed_dimensions(network, inputs, copies=50, seed=4)
    assert found.layers == ("1", "3", "head.input")
    for layer in found.layers:
        assert found["partial_jacobian_rank", layer] == jacobians.gram_ranks[layer].mean()
        assert found["partial_jacobian_rank_svd", layer] == jacobians.svd_ranks[layer].mean()
        assert found["perturbed_dimension", layer] == perturbed.dimensions[layer].mean()
        assert found["flattened_dimension", layer] == 8
        assert torch.equal(found.arrays[f"{layer}/singular_values_jacobian"], jacobians.singular_values[layer])
        assert torch.equal(found.arrays[f"{layer}/variances_perturbed"], perturbed.variances[layer])
    features, head = network[:4](x).detach(), network[4]
    for measure in (classification_dimension, centred_classification_dimension):
        assert found[measure.__name__] == measure(features, y, head.weight.detach(), head.bias.detach())
    record = next(r for r in found.records if (r.measure, r.layer) == (RANKS[0], "1"))
    low, high = (int(f(jacobians.gram_ranks["1"])) for f in (min, max))
    assert record.note == f"mean of 3 inputs, from {low} to {high}, by 4 of 4 input coordinates"
    assert (record.split, record.reduction, record.weighting) == ("test", "flatten", "sample")
    assert found.notes == ()


def test_inputs_are_of_all_classes_where_there_are_labels():
    network, x = mlp(), torch.arange(12.0)[:, None].expand(12, 4)
    y = torch.tensor([0] * 8 + [1, 1, 2, 2])
    found = function_rank(network, cut(x, y, 5), samples=3, copies=9, layers=["input"])
    expected = partial_jacobians(network, x[[0, 8, 10]], layers=["1"]).singular_values["head.input"]
    assert torch.equal(found.arrays["head.input/singular_values_jacobian"], expected)
    alone = function_rank(network, [(x[:4], y[:4])], samples=3, copies=9)
    assert len(alone.arrays["1/singular_values_jacobian"]) == 3, "one class alone still fills the number"


def test_inputs_without_labels_or_head():
    network, x = mlp(), gaussian(0, 5, 4).float()
    found = function_rank(network, x, samples=2, copies=9)
    assert found.notes == ("classification dimensions are left out: the inputs came without labels",)
    assert {r.measure for r in found.records if r.array is None} == set(RANKS)
    assert len(found.arrays["1/singular_values_jacobian"]) == 2
    bare = function_rank(network, [(x, torch.zeros(5).long())], samples=2, copies=9, head=None, layers=["3"])
    assert bare.layers == ("3",)
    assert bare.notes == ("classification dimensions are left out: head=None",)


def test_features_beyond_the_budget_and_labels_of_positions():
    network, (x, y) = mlp(), blobs(30)
    small = function_rank(network, [(x, y)], samples=1, copies=9, memory_budget=900)
    assert small.notes == (
        "classification dimensions are left out: the features at the head's input pass the memory budget of 900 bytes",
    )
    maps = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 3, 1))
    dense = function_rank(maps, [(gaussian(0, 2, 1, 4, 4).float(), torch.zeros(2, 4, 4).long())], samples=1, copies=9,
                          head="2")  # fmt: skip
    assert dense.notes == ("classification dimensions are left out: every position has a label of its own",)
    assert dense["flattened_dimension"] == 64
    single = function_rank(maps, [(gaussian(0, 2, 1, 4, 4).float(), torch.zeros(2).long())], samples=1, copies=9,
                           head="2")  # fmt: skip
    assert single.notes == ("classification dimensions are left out: the head reads every position by itself",)


def test_samples_to_ignore_do_not_count():
    network, (x, y) = mlp(), blobs(30)
    padded = function_rank(network, [(torch.cat([x, 9 * x]), torch.cat([y, 0 * y - 100]))], samples=1, copies=9)
    plain = function_rank(network, [(x, y)], samples=1, copies=9)
    assert padded["classification_dimension"] == plain["classification_dimension"]


def test_a_zero_jacobian_is_told():
    network = nn.Sequential(nn.Linear(4, 4), nn.Hardtanh(5.0, 6.0), nn.Linear(4, 3))
    found = function_rank(network, torch.zeros(1, 4), copies=9)
    note = next(r.note for r in found.records if r.measure == RANKS[0])
    assert note == (
        "mean of 1 inputs, from 0 to 0, by 4 of 4 input coordinates; nothing leads from these to the features, or a "
        "detach cuts it off"
    )


def test_it_prints_and_is_written(tmp_path):
    network = conv_net()
    data = [(gaussian(1, 20, 1, 8, 8).float(), torch.arange(20) % 5)]
    seen = []
    found = function_rank(network, data, samples=2, copies=70, layers=["1", "4"], progress=seen.append)
    lines = str(found).splitlines()
    assert lines[0] == "rank as a function, layer           features    Jacobian      by SVD   perturbed"
    assert [line.split()[:2] for line in lines[1:4]] == [["1", "256"], ["4", "64"], ["head.input", "64"]]
    assert [line[:32].rstrip() for line in lines[4:]] == ["classification dimension", "the same, centred"]
    assert seen == [1, 2, 3, 4]
    run = Run.create(tmp_path / "run", recipe={}, class_names=["a"], data_digest={}, device="cpu", seed=0)
    found.write(run)
    rows = run.records()
    assert set(RANKS) <= set(rows.measure)
    reference = rows.query("measure == 'variances_perturbed' and layer == '4'").array.item()
    assert torch.equal(torch.as_tensor(run.read_array(reference)), found.arrays["4/variances_perturbed"])


def test_rank_falls_in_a_network_with_a_waist():
    torch.manual_seed(0)
    widths = (10, 24, 3, 24, 4)
    layers = [m for a, b in pairwise(widths) for m in (nn.Linear(a, b), nn.Tanh())]
    found = function_rank(nn.Sequential(*layers[:-1]), gaussian(2, 3, 10).float(), copies=200)
    ranks = [[found[measure, layer] for layer in ("1", "3", "5")] for measure in RANKS[1:3]]
    assert ranks == [[10, 3, 3], [10, 3, 3]]


ERRORS = {
    "samples": (
        lambda: function_rank(mlp(), torch.ones(1, 4), samples=0),
        errors.OptionError,
        "samples must be at least 1; got 0.",
    ),
    "empty": (
        lambda: function_rank(mlp(), []),
        errors.BatchError,
        "the batches held no input, so there is no rank to measure. Is the data loader empty?",
    ),
    "two inputs": (
        lambda: function_rank(mlp(), [((torch.ones(2, 4), torch.ones(2, 4).long()), torch.zeros(2).long())]),
        errors.BatchError,
        "a batch came with the inputs torch.float32, torch.int64; ranks are those of a function of one floating-point "
        "tensor. Pass read_batch=lambda batch: (inputs, {}, labels), and a network that takes the inputs alone.",
    ),
}


@pytest.mark.parametrize(("call", "error", "message"), ERRORS.values(), ids=ERRORS.keys())
def test_errors(call, error, message):
    with pytest.raises(error, match=f"^{re.escape(message)}$"):
        call()
