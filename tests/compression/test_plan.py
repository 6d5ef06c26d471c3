import math

import pytest
import torch
from torch import nn

from deepcollapse.compression.plan import plan_of
from deepcollapse.geometry import effective_rank


def batches(width, classes=3, samples=64):
    generator = torch.Generator().manual_seed(0)
    return [(torch.randn(samples, width, generator=generator), torch.arange(samples) % classes)]


def layer(*values, width=40):
    """A linear layer between `width` and `width` units with these singular values, without bias."""
    generator = torch.Generator().manual_seed(1)
    left, right = (torch.linalg.qr(torch.randn(width, width, generator=generator).double()).Q for _ in range(2))
    made = nn.Linear(width, width, bias=False)
    weight = left[:, : len(values)] @ torch.diag(torch.tensor(values).double()) @ right[: len(values)]
    with torch.no_grad():
        made.weight.copy_(weight.float())
    return made


def test_a_layer_of_low_rank_is_cut_to_it():
    network = nn.Sequential(layer(5.0, 4.0, 3.0, 1e-4))
    (plan,) = plan_of(network, batches(40))
    assert (plan.shape, plan.rank_at_one_percent, plan.energy_rank, plan.proposed_rank) == ((40, 40), 3, 3, 3)
    assert plan.effective_rank == pytest.approx(float(effective_rank(network[0].weight.detach())), rel=1e-6)
    assert plan.distance_to_rank_c == pytest.approx(1e-4 / math.sqrt(50), rel=1e-2)


def test_outputs_that_vary_little_let_more_go_than_the_weight():
    network = nn.Sequential(layer(10.0, 0.2, 0.2, 0.2, 0.2))
    (plan,) = plan_of(network, batches(40))
    assert plan.rank_at_one_percent == 5
    assert plan.proposed_rank == plan.energy_rank < 5
    assert plan.reason.endswith("no more than the C - 1 = 2 that collapsed classes need")


def test_a_layer_of_full_rank_is_kept():
    network = nn.Sequential(layer(*[1.0] * 40))
    (plan,) = plan_of(network, batches(40, samples=400))
    assert plan.proposed_rank == 40
    assert plan.reason.endswith("factors of rank 40 would take as much as the layer's 40 x 40 weights: keep it")


def test_a_bound_is_told_where_it_says_anything():
    network = nn.Sequential(layer(5.0, 4.0, 3.0, 2.0))
    for bound, told in ((0.4, " (at most 40 % by its bound)"), (1.5, ""), (None, "")):
        (plan,) = plan_of(network, batches(40), bounds=None if bound is None else {"0": bound})
        share = 100 * 2 / math.sqrt(54)
        assert plan.bound == bound
        assert plan.reason.startswith(f"{share:.3g} % of its norm lies beyond rank C = 3{told}; ")


def test_a_layer_of_zeros_and_one_without_a_rank_beyond_the_classes():
    network = nn.Sequential(nn.Linear(40, 40), nn.Linear(40, 3))
    nn.init.zeros_(network[0].weight)
    zero, head = plan_of(network, batches(40))
    assert (zero.rank_at_one_percent, zero.distance_to_rank_c, zero.proposed_rank) == (0, 0.0, 1)
    assert "beyond rank C" not in head.reason
