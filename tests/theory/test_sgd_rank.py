"""Mini-batch descent's bound on rank: the identity is exact step by step, and the inequality holds in every run."""

import math
from decimal import Decimal, localcontext

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis.strategies import floats, integers, just, one_of
from torch import nn
from torch.nn import functional

from deepcollapse.errors import OptionError
from deepcollapse.theory.bounds.rank_memory import RankMemory
from deepcollapse.theory.bounds.sgd_rank import fading, sgd_rank_bound, state_matrix


def network(width=12, seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(8, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 4))


def descend(net, optimiser, steps, batch, seed=0):
    """On 32 samples with random labels: no structure in the data could make the rank low."""
    g = torch.Generator().manual_seed(seed)
    dtype = next(net.parameters()).dtype
    x, y = torch.randn(32, 8, generator=g).to(dtype), torch.randint(4, (32,), generator=g)
    for _ in range(steps):
        chosen = torch.randint(32, (batch,), generator=g)
        optimiser.zero_grad()
        functional.cross_entropy(net(x[chosen]), y[chosen]).backward()
        optimiser.step()


@given(
    seed=integers(0, 2**16),
    momentum=floats(0, 0.95),
    decay=floats(0, 0.2),
    rate=floats(0.01, 0.3),
    steps=integers(1, 6),
    batch=integers(1, 3),
    taken=integers(1, 9),
)
@settings(max_examples=25, deadline=None)
def test_identity_and_inequality_hold_at_every_step(seed, momentum, decay, rate, steps, batch, taken):
    net = network(seed=seed).double()
    optimiser = torch.optim.SGD(net.parameters(), lr=rate, momentum=momentum, weight_decay=decay)
    with RankMemory(net[2], optimiser, steps) as memory:
        descend(net, optimiser, taken, batch, seed)
    found = memory.now()
    assert (found.steps, found.rank) == (min(steps, taken), min(steps, taken) * batch)
    assert found.identity_error < 1e-13
    assert found.tail_share <= found.tail_bound + 1e-14
    assert found.frobenius_share <= found.frobenius_bound + 1e-14
    assert found.rank_of_recent <= found.rank


def test_a_rate_that_drops_and_batches_of_other_sizes_are_followed():
    net = network().double()
    optimiser = torch.optim.SGD(net.parameters(), lr=0.2, momentum=0.9, weight_decay=0.05)
    with RankMemory(net[0], optimiser, 5) as memory:
        descend(net, optimiser, 3, 2)
        optimiser.param_groups[0]["lr"] = 0.02
        descend(net, optimiser, 3, 3)
    found = memory.now()
    assert found.identity_error < 1e-14
    assert found.rank == 2 + 2 + 3 * 3
    assert found.vacuous == (found.tail_bound >= 1)


def test_a_convolution_counts_its_positions():
    torch.manual_seed(0)
    conv = nn.Conv2d(2, 12, 2, padding=1)
    net = nn.Sequential(nn.Unflatten(1, (2, 2, 2)), conv, nn.ReLU(), nn.Flatten(), nn.Linear(108, 4))
    optimiser = torch.optim.SGD(net.parameters(), lr=0.1, weight_decay=0.1)
    with RankMemory(conv, optimiser, 2) as memory:
        descend(net, optimiser, 4, 1)
    found = memory.now()
    assert found.rank == 2 * 9
    assert found.identity_error < 1e-6
    assert (found.tail_share, found.frobenius_share) == (0.0, 0.0)  # 12 x 8 has no rank above 18


def test_against_the_recursion_written_out():
    g = torch.Generator().manual_seed(0)
    w = nn.Linear(5, 6, bias=False).double()
    rate, decay, rho, n = 0.02, 0.01, 0.9, 4
    optimiser = torch.optim.SGD(w.parameters(), lr=rate, momentum=rho, weight_decay=decay)
    weights, velocities, gradients = [], [], []
    with RankMemory(w, optimiser, n) as memory:
        for _ in range(9):
            weights.append(w.weight.detach().clone())
            velocities.append(optimiser.state[w.weight].get("momentum_buffer", torch.zeros(6, 5).double()).clone())
            optimiser.zero_grad()
            w(torch.randn(1, 5, generator=g).double()).square().sum().backward()
            assert w.weight.grad is not None
            gradients.append(w.weight.grad.clone())
            optimiser.step()
    a, u = state_matrix(rate, decay, rho), np.array([-rate, 1.0])
    power = np.linalg.matrix_power(a, n)
    faded = power[0, 0] * weights[-n] + power[0, 1] * velocities[-n]
    recent = sum(float((np.linalg.matrix_power(a, j) @ u)[0]) * gradients[-1 - j] for j in range(n))
    torch.testing.assert_close(faded + recent, w.weight.detach(), rtol=1e-13, atol=1e-15)
    spectral = float(torch.linalg.svdvals(faded)[0] / torch.linalg.svdvals(w.weight.detach())[0])
    assert memory.now().tail_bound == pytest.approx(spectral, rel=1e-12)


def test_strong_decay_leaves_few_directions_far_fewer_than_the_bound_allows():
    """As in the paper, in a small: labels are random, and yet the weight ends with two directions."""
    shares = {}
    for decay in (0.02, 0.1):
        net = network(20)
        optimiser = torch.optim.SGD(net.parameters(), lr=0.1, weight_decay=decay)
        with RankMemory(net[2], optimiser, 3) as memory:
            descend(net, optimiser, 1000, 4)
        found = memory.now()
        assert (found.rank, found.rank_of_recent <= 12) == (12, True)
        assert found.tail_share <= found.tail_bound
        assert found.frobenius_share <= found.frobenius_bound
        assert found.identity_error < 1e-6
        values = torch.linalg.svdvals(net[2].weight.detach())
        shares[decay] = values / values[0]
    assert int((shares[0.1] > 1e-2).sum()) == 2
    assert int((shares[0.02] > 1e-2).sum()) > 8


@pytest.mark.parametrize(
    ("settings", "steps", "rank"),
    [
        ({"rate": 0.1, "decay": 0.1, "batch": 1}, 300, 300),
        ({"rate": 0.1, "decay": 0.1, "batch": 4, "patches": 9}, 300, 10800),
        ({"rate": 0.5, "decay": 0.5, "batch": 2, "eps": 0.01}, 22, 44),
    ],
)
def test_steps_and_rank_are_those_of_the_theorem(settings, steps, rank):
    found = sgd_rank_bound(**settings)
    assert (found.steps, found.rank, found.vacuous) == (steps, rank, None)
    # The old weights have indeed faded to less than eps / 2 by then, and the count is not off by much.
    left = (1 - settings["rate"] * settings["decay"]) ** steps
    assert left <= settings.get("eps", 0.1) / 2 <= left * 3


def test_momentum_multiplies_what_a_step_forgets():
    assert fading(0.02, 0.01, 0.9) == pytest.approx(0.997963, abs=5e-7)
    assert pytest.approx(0.998) == 1 - 0.02 * 0.01 / (1 - 0.9)
    assert fading(0.5, 0.9, 0.5) == pytest.approx(math.sqrt(0.5))  # oscillating: a pair of complex eigenvalues
    with_momentum, without = sgd_rank_bound(0.02, 0.01, 1, momentum=0.9), sgd_rank_bound(0.02, 0.01, 1)
    assert without.steps / with_momentum.steps == pytest.approx(10, rel=0.03)


@given(
    rate=floats(-12, 0.5).map(lambda x: 10**x),
    decay=floats(-12, 0.3).map(lambda x: 10**x),
    momentum=one_of(just(0.0), floats(0, 0.999)),
)
@settings(max_examples=60, deadline=None, derandomize=True)
def test_steps_count_what_fifty_digits_count(rate, decay, momentum):
    with localcontext() as context:
        context.prec = 50
        x, rho = Decimal(rate) * Decimal(decay), Decimal(momentum)
        trace = 1 + rho - x
        inside = trace**2 - 4 * rho
        radius = (abs(trace) + inside.sqrt()) / 2 if inside > 0 else rho.sqrt()
        assume(abs(1 - radius) > Decimal("1e-30"))
        assert fading(rate, decay, momentum) == pytest.approx(float(radius), rel=1e-14)
        if radius < 1:
            steps = Decimal(20).ln() / (1 - radius)
            found = sgd_rank_bound(rate, decay, 1, momentum=momentum).steps
            assert abs(found - steps) <= 1 + steps * Decimal("1e-12")


def test_what_hardly_fades_is_counted_all_the_same():
    assert sgd_rank_bound(1e-9, 1e-9, 1).steps == pytest.approx(math.log(20) * 1e18, rel=1e-14)
    found = sgd_rank_bound(0.1, 1e-12, 1, momentum=0.9)
    assert found.steps == pytest.approx(math.log(20) * 1e12, rel=1e-11)
    assert sgd_rank_bound(0.1, 0.1, 1, eps=1e-310).steps == math.ceil((math.log(2) + 310 * math.log(10)) / 0.01)


def test_a_bound_that_every_matrix_meets_says_so():
    assert sgd_rank_bound(0.1, 0.1, 1, shape=(512, 300)).vacuous
    assert not sgd_rank_bound(0.1, 0.1, 1, shape=(512, 301)).vacuous


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"decay": 0}, "without weight decay old steps never fade, so no rank is bounded; give a decay above 0."),
        ({"decay": -1}, "decay must be 0 or more; got -1."),
        ({"rate": 0}, "rate must be a positive number; got 0."),
        ({"batch": 0}, "batch must be 1 or more; got 0."),
        ({"patches": 0}, "patches must be 1 or more; got 0."),
        ({"momentum": 1}, "momentum must be at least 0 and below 1; got 1."),
        ({"eps": 1.0}, "eps is a share of the weight's norm, above 0 and below 1; got 1.0."),
        ({"rate": 1e-200, "decay": 1e-200},
         "at rate 1e-200, decay 1e-200 and momentum 0 a step forgets less than a float can hold; raise the rate or the "
         "decay."),
        ({"rate": 1e200, "decay": 1e200, "momentum": 0.5},
         "at rate 1e+200, decay 1e+200 and momentum 0.5 a step enlarges old weights; lower the rate."),
        ({"rate": 30}, "at rate 30, decay 0.1 and momentum 0 a step enlarges old weights; lower the rate."),
    ],
)  # fmt: skip
def test_settings_out_of_range_are_refused(change, message):
    with pytest.raises(OptionError) as caught:
        sgd_rank_bound(**{"rate": 0.1, "decay": 0.1, "batch": 1, **change})
    assert str(caught.value) == message


def test_optimisers_and_layers_that_do_not_fit_are_refused():
    net = network()
    cases = [
        (torch.optim.Adam(net.parameters()), 3,
         "the bound is for steps of torch.optim.SGD; got Adam, whose steps are no gradients."),
        (torch.optim.SGD(net[0].parameters(), lr=0.1), 3,
         "the optimiser does not hold the layer's weight; pass the layer that it trains."),
        (torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9, nesterov=True), 3,
         "the bound is for plain heavy-ball momentum; this one has nesterov on."),
        (torch.optim.SGD(net.parameters(), lr=0.1), 0, "steps must be 1 or more; got 0."),
    ]  # fmt: skip
    for optimiser, steps, message in cases:
        with pytest.raises(OptionError) as caught:
            RankMemory(net[2], optimiser, steps)
        assert str(caught.value) == message
    with pytest.raises(OptionError) as caught:
        RankMemory(net[2], torch.optim.SGD(net.parameters(), lr=0.1), 1).now()
    assert str(caught.value) == "no step was taken yet; call now() after optimiser.step()."
