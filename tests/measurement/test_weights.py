"""Ranks of weights: every layer against numpy, kernels by their unfoldings, and weights that are none."""

import math

import numpy
import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations
from toy import blobs, mlp, numbers, raises

from deepcollapse.errors import UnknownNameError
from deepcollapse.geometry import channel_unfolding, rank_above_noise_edge, spatial_unfolding
from deepcollapse.measurement import Monitor, conclude, measure, measure_weights
from deepcollapse.measurement.weights import affordable, weight_matrices

RANKS = (
    "effective_rank", "stable_rank", "participation_ratio", "energy_effective_rank", "nuclear_rank", "energy_rank",
    "numerical_rank", "rank_at_one_percent", "rank_above_noise_edge", "rank_by_hard_threshold",
)  # fmt: skip
FACTS = ("rows", "columns", "spectral_norm", "frobenius_norm")


def gaussian(seed, *shape):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def note(measured, measure, layer):
    return next(r.note for r in measured.records if (r.measure, r.layer) == (measure, layer))


def test_every_linear_layer_against_numpy():
    net = mlp()
    measured = measure_weights(net)
    assert measured.layers == ("0", "2", "4")
    for layer in measured.layers:
        weight = net.get_parameter(f"{layer}.weight").detach()
        s = numpy.linalg.svd(weight.double().numpy(), compute_uv=False)
        p, q = s / s.sum(), s**2 / (s**2).sum()
        expected = {
            "rows": weight.shape[0],
            "columns": weight.shape[1],
            "spectral_norm": s[0],
            "frobenius_norm": numpy.linalg.norm(weight.double().numpy()),
            "stable_rank": 1 / q[0],
            "nuclear_rank": 1 / p[0],
            "effective_rank": math.exp(-(p * numpy.log(p)).sum()),
            "energy_effective_rank": math.exp(-(q * numpy.log(q)).sum()),
            "participation_ratio": 1 / (q**2).sum(),
            "energy_rank": 1 + (q.cumsum() < 0.99).sum(),
            "numerical_rank": len(s),
            "rank_at_one_percent": (s > 0.01 * s[0]).sum(),
            "rank_above_noise_edge": float(rank_above_noise_edge(weight.double())),
        }
        for name, value in expected.items():
            assert measured[f"{name}_weight", layer] == pytest.approx(value, rel=1e-12), name
        torch.testing.assert_close(measured.arrays[f"{layer}/singular_values_weight"].numpy(), s)
    found = [r for r in measured.records if r.layer == "0"]
    assert {r.measure for r in found} == {f"{name}_weight" for name in (*RANKS, *FACTS, "singular_values")}
    assert {(r.reduction, r.split, r.weighting, r.centre) for r in found} == {("none", None, None, None)}
    assert note(measured, "numerical_rank_weight", "0") == "above 9.5e-07 of the largest: the rounding of float32"


def test_kernels_by_both_unfoldings():
    net = nn.Sequential(nn.Conv2d(2, 4, 3), nn.Conv2d(4, 3, 1), nn.Conv1d(2, 5, 3), nn.Conv3d(1, 2, 2))
    measured = measure_weights(net)
    rows = {(r.layer, r.reduction): r.measure for r in measured.records if r.measure.startswith("stable_rank")}
    assert rows == {
        ("0", "spatial unfolding"): "stable_rank_weight_spatial",
        ("0", "channel unfolding"): "stable_rank_weight",
        ("1", "channel unfolding"): "stable_rank_weight",
        ("2", "channel unfolding"): "stable_rank_weight",
        ("3", "channel unfolding"): "stable_rank_weight",
    }
    kernel = net.get_parameter("0.weight").detach().double()
    for suffix, unfolding in (("_weight", channel_unfolding), ("_weight_spatial", spatial_unfolding)):
        expected = torch.linalg.svdvals(unfolding(kernel))
        torch.testing.assert_close(measured.arrays[f"0/singular_values{suffix}"], expected)
        assert (measured[f"rows{suffix}", "0"], measured[f"columns{suffix}", "0"]) == unfolding(kernel).shape


def test_the_spatial_unfolding_is_taken_up_to_a_quarter_of_the_side():
    net = nn.Conv2d(2, 4, 3)
    reason = "the shorter side of 12 x 6 is above 5 (see max_weight_dim), so no singular values were taken"
    for limit, expected in ((24, None), (23, reason)):
        measured = measure_weights(net, max_weight_dim=limit)
        assert note(measured, "stable_rank_weight_spatial", "head") == expected
        assert math.isfinite(measured["stable_rank_weight", "head"])


def test_low_rank_is_seen_through_the_rounding_of_its_own_type():
    layers = [nn.Linear(12, 9), nn.Linear(9, 12).double(), nn.Linear(12, 9).bfloat16()]
    for seed, layer in enumerate(layers):
        left, right = gaussian(seed, layer.out_features, 2), gaussian(9 + seed, 2, layer.in_features)
        layer.weight.data = (left @ right).to(layer.weight.dtype)
    measured = measure_weights(nn.Sequential(*layers))
    assert [measured["numerical_rank_weight", name] for name in "01"] == [2, 2]
    assert [measured["rank_above_noise_edge_weight", name] for name in "01"] == [2, 2]
    assert measured["rank_at_one_percent_weight", "2"] >= 2
    assert note(measured, "numerical_rank_weight", "1") == "above 2.7e-15 of the largest: the rounding of float64"
    assert note(measured, "numerical_rank_weight", "2") == (
        "above 1.4e-06 of the largest: the rounding of float32, for bfloat16's own would hide too much"
    )


def test_what_is_shared_is_measured_once_under_its_first_name():
    first, second = nn.Linear(3, 3), nn.Linear(3, 3)
    second.weight = first.weight
    net = nn.ModuleDict(
        {"a": first, "again": first, "tied": second, "table": nn.Embedding(5, 3), "norm": nn.LayerNorm(3)}
    )
    assert measure_weights(net).layers == ("a",)


@pytest.mark.filterwarnings("ignore:enable_nested_tensor")
def test_no_layer_goes_for_a_temporary_of_the_same_address():
    encoder = nn.TransformerEncoder(nn.TransformerEncoderLayer(8, 2, 16), 3)
    parts = ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.out_proj", "linear1", "linear2")
    assert measure_weights(encoder).layers == tuple(f"layers.{i}.{part}" for i in range(3) for part in parts)
    normed = nn.Sequential(*(parametrizations.weight_norm(nn.Linear(6, 6)) for _ in range(8)))
    assert measure_weights(normed).layers == tuple("01234567")


def test_attentions_that_share_a_projection_are_measured_once():
    first, second = nn.MultiheadAttention(6, 2), nn.MultiheadAttention(6, 2)
    second.in_proj_weight = first.in_proj_weight
    assert measure_weights(nn.Sequential(first, second)).layers == (
        "0.q_proj", "0.k_proj", "0.v_proj", "0.out_proj", "1.out_proj",
    )  # fmt: skip


def test_attention_s_joint_projection_is_three_maps():
    joint, parted = nn.MultiheadAttention(6, 2), nn.MultiheadAttention(6, 2, kdim=4, vdim=5)
    measured = measure_weights(nn.ModuleDict({"joint": joint, "parted": parted}))
    names = ("q_proj", "k_proj", "v_proj", "out_proj")
    assert measured.layers == tuple(f"{which}.{name}" for which in ("joint", "parted") for name in names)
    keys = torch.linalg.svdvals(joint.in_proj_weight[6:12].detach().double())
    torch.testing.assert_close(measured.arrays["joint.k_proj/singular_values_weight"], keys)
    assert measured["columns_weight", "parted.v_proj"] == 5


def test_grouped_and_transposed_kernels():
    net = nn.Sequential(nn.Conv2d(4, 8, 3, groups=4), nn.ConvTranspose2d(4, 7, 2))
    measured = measure_weights(net)
    assert (measured["rows_weight", "0"], measured["columns_weight", "0"]) == (8, 9)
    assert note(measured, "stable_rank_weight", "0") == "4 groups: the kernel as it is stored, groups stacked"
    assert (measured["rows_weight", "1"], measured["columns_weight", "1"]) == (7, 16)
    assert note(measured, "stable_rank_weight", "1") is None


@pytest.mark.filterwarnings("ignore:Initializing zero-element tensors")
def test_weights_that_have_no_ranks_say_why():
    net = nn.Sequential(nn.Linear(3, 4), nn.Linear(0, 4), nn.Linear(5, 4), nn.Linear(3, 3, bias=False))
    net.get_parameter("0.weight").data[1, 2] = math.nan
    net.get_parameter("3.weight").data.zero_()
    measured = measure_weights(net, max_weight_dim=3)
    found = numbers(measured)
    reasons = {
        "0": "the weight holds 1 NaN or infinite entries",
        "1": "the weight has no entries",
        "2": "the shorter side of 4 x 5 is above 3 (see max_weight_dim), so no singular values were taken",
        "3": "all weights are 0",
    }
    for layer, reason in reasons.items():
        for name in RANKS:
            value = found[f"{name}_weight", layer, None]
            counts = ("numerical_rank", "rank_at_one_percent", "rank_above_noise_edge", "rank_by_hard_threshold")
            assert value == 0 if layer == "3" and name in counts else math.isnan(value), (name, layer)
            assert note(measured, f"{name}_weight", layer) == reason
    assert found["columns_weight", "1", None] == 0
    assert found["frobenius_norm_weight", "3", None] == 0
    assert list(measured.arrays) == ["3/singular_values_weight"]


def test_a_weight_made_anew_is_measured_and_left_as_it_was():
    net = nn.Sequential(parametrizations.spectral_norm(nn.Linear(5, 4)))
    before = {name: value.clone() for name, value in net.state_dict().items()}
    first, second = measure_weights(net), measure_weights(net)
    assert first["spectral_norm_weight", "0"] == second["spectral_norm_weight", "0"] == pytest.approx(1, abs=0.2)
    assert net.get_submodule("0.parametrizations.weight").training
    assert all(torch.equal(before[name], value) for name, value in net.state_dict().items())


def test_measuring_tells_all_weights_but_the_head_s_which_the_head_has():
    net, data = mlp(), [blobs()]
    measured, alone = measure(net, data), numbers(measure_weights(net))
    found = numbers(measured)
    assert {key: value for key, value in found.items() if key[1] in ("0", "2")} == {
        key: value for key, value in alone.items() if key[1] != "4"
    }
    for name in RANKS:
        assert found[f"{name}_classifier", "head", None] == pytest.approx(alone[f"{name}_weight", "4", None], rel=1e-12)
    for name in ("spectral_norm", "frobenius_norm"):
        assert found[f"{name}_classifier", "head", None] == pytest.approx(alone[f"{name}_weight", "4", None], rel=1e-12)
    assert "0/singular_values_weight" in measured.arrays
    again = measure(net, data, split="test", means_of=measured)
    assert not any("_weight" in r.measure and r.measure != "weight_budget" for r in again.records)
    assert (
        measure(net, data, means_of=measured, weights=True)["stable_rank_weight", "0"]
        == alone["stable_rank_weight", "0", None]
    )


def test_measures_asked_for_are_those_told_of_weights():
    measured = measure(mlp(), [blobs()], measures=["stable_rank_weight"])
    assert {r.measure for r in measured.records if r.layer == "2"} == {
        *(f"{name}_weight" for name in FACTS), "stable_rank_weight", "singular_values_weight",
    }  # fmt: skip
    assert not measure(mlp(), [blobs()], measures=["cdnv"]).arrays.keys() & {"0/singular_values_weight"}
    assert not [r for r in measure(mlp(), [blobs()], weights=False).records if r.layer == "0"]
    with raises(
        UnknownNameError,
        "there is no measure 'stable_rnk'. Close names: stable_rank, nuclear_rank, effective_rank, covariance_rank. "
        "`deepcollapse list measures` shows all of them.",
    ):
        measure_weights(mlp(), measures=["stable_rnk"])


def test_of_large_networks_some_layers_are_taken_evenly_spread(monkeypatch):
    net = nn.Sequential(*(nn.Linear(4, 4) for _ in range(9)), nn.Linear(4, 3))
    matrices = list(weight_matrices(net, without=net[-1]))
    assert [weight.work(4) for weight in matrices] == [64] * 9
    assert [weight.work(3) for weight in matrices] == [0] * 9
    assert affordable(matrices, 4, 576) == (matrices, None)
    note = "the weights of 5 of 9 layers are measured, evenly spread from 0 to 8; measure_weights(network) takes all"
    chosen, told = affordable(matrices, 4, 330)
    assert ([weight.layer for weight in chosen], told) == (["0", "2", "4", "6", "8"], note)
    assert [weight.layer for weight in affordable(matrices, 4, 1)[0]] == ["0", "8"]
    monkeypatch.setattr(conclude, "affordable", lambda matrices, limit: affordable(matrices, limit, 330))
    measured = measure(net, [blobs()], baselines=["untrained"])
    assert {r.layer for r in measured.records if r.measure == "rows_weight"} == {"0", "2", "4", "6", "8"}
    assert measured.notes.count(note) == 1


def test_a_monitor_tells_weights_too():
    net, (x, y) = mlp(), blobs()
    with Monitor(net) as monitor, torch.no_grad():
        monitor.labels(y)
        net.eval()(x)
    assert monitor.compute()["stable_rank_weight", "2"] == measure_weights(net)["stable_rank_weight", "2"]


def test_ranks_of_features_count_rounding_in_the_features_type():
    net, (x, y) = mlp(), blobs(20)
    weight, bias = net.get_parameter("0.weight"), net.get_parameter("0.bias")
    with torch.no_grad():
        weight[2:], bias[2:] = weight[:1], bias[:1]
        bias += 100  # past the bend of every unit, so that the layer is linear
    measured = measure(net, [(x, y)])
    assert measured["numerical_rank_features", "1"] == 2
    told = note(measured, "numerical_rank_features", "1")
    assert told == "above 2.4e-06 of the largest: beyond what rounding leaves"
    assert measured["rank_above_noise_edge_features", "1"] == 2
    assert measured["total_cluster_variation", "1"] > 0
    assert note(measured, "total_cluster_variation", "1") is None
