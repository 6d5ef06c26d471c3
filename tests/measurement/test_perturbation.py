"""Perturbed dimensions against features that are kept whole, for every budget; what the published rule counts."""

import re

import pytest
import torch
from function_networks import conv_net, gaussian, worked_inputs, worked_network
from torch import nn
from toy import hooks_of

from deepcollapse import errors
from deepcollapse.measurement import perturbed_dimensions, principal_count


def wide_network() -> nn.Sequential:
    """Layers with fewer and with more features than 40 copies."""
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(5, 30), nn.Tanh(), nn.Linear(30, 90), nn.Tanh(), nn.Linear(90, 2)).double()


def directly(network, x, *, copies, sigma, seed):
    """Variances of every module's output over all copies at once, by the singular values of the centred features."""
    own = int(torch.randint(1 << 62, (), generator=torch.Generator().manual_seed(seed)))
    draw = torch.Generator().manual_seed(own)
    noise = torch.stack([torch.randn(x.shape, generator=draw) for _ in range(copies)])
    h, found = x + sigma * noise.to(x.dtype), {}
    for name, module in network.named_children():
        h = module(h)
        flat = h.detach().flatten(1)
        found[name] = torch.linalg.svdvals(flat - flat.mean(dim=0)).square() / copies
    return found


@pytest.mark.parametrize(("budget", "at_once"), [("1GiB", 1 << 24), (8 * 40 * 25, 700), (0, 5000)])
def test_every_budget_gives_the_variances_of_whole_features(budget, at_once, monkeypatch):
    monkeypatch.setattr("deepcollapse.measurement.perturbation.AT_ONCE", at_once)
    network, x = wide_network(), gaussian(1, 1, 5)
    how = {"copies": 40, "sigma": 0.05, "seed": 3}
    found = perturbed_dimensions(network, x, layers=["0", "2", "3"], memory_budget=budget, **how)
    expected = directly(network, x[0], **how)
    assert found.outputs == {"0": 30, "2": 90, "3": 90, "head.input": 90}
    for layer in ("0", "2", "3"):
        values = found.variances[layer][0]
        assert values.shape == (min(40, found.outputs[layer]),)
        torch.testing.assert_close(values, expected[layer], rtol=1e-9, atol=1e-15)
        assert found.dimensions[layer].item() == principal_count(expected[layer])
    assert found.dimensions["0"].item() == 5
    assert found.dimensions["3"].item() > 5, "it curves within 0.05"


def test_small_noise_counts_what_the_jacobian_does():
    found = perturbed_dimensions(worked_network(), worked_inputs(), layers=["1", "3", "4"], copies=300)
    assert {layer: found.dimensions[layer].tolist() for layer in ("1", "3", "4")} == {
        "1": [3, 3],
        "3": [3, 2],
        "4": [3, 2],
    }


def test_features_far_from_zero_lose_no_digits():
    network, x = wide_network().float(), gaussian(1, 1, 5).float()
    near = perturbed_dimensions(network, x, layers=["2"], copies=60)
    network[2].bias.data += 1e3
    far = perturbed_dimensions(network, x, layers=["2"], copies=60)
    # float32 features of size 1e3 are rounded to 6e-5, against perturbations of 1e-3.
    torch.testing.assert_close(far.variances["2"][0, :5], near.variances["2"][0, :5], rtol=0.2, atol=0)


def test_the_published_cut():
    cut = 5000 * torch.finfo(torch.float32).eps
    assert cut == pytest.approx(5.96e-4, abs=5e-7)
    variances = torch.ones(5000, dtype=torch.float64)
    variances[-2:] = torch.tensor([1.01 * cut, 0.99 * cut])
    assert principal_count(variances).item() == 4999
    assert principal_count(1e200 * variances).item() == 4999
    assert principal_count(variances, tolerance=0.9).item() == 5000
    assert principal_count(torch.zeros(3)).item() == 0
    assert principal_count(torch.zeros(0)).item() == 0


def test_degenerate_functions():
    constant = nn.Sequential(nn.Linear(3, 4), nn.Hardtanh(5.0, 6.0), nn.Linear(4, 2))
    found = perturbed_dimensions(constant, torch.zeros(2, 3), layers=["0", "1"], copies=20)
    assert [found.dimensions[n].tolist() for n in ("0", "1", "head.input")] == [[3, 3], [0, 0], [0, 0]]
    alone = perturbed_dimensions(nn.Linear(3, 2), torch.ones(1, 3), layers=["head", "input"], copies=20)
    assert {layer: count.item() for layer, count in alone.dimensions.items()} == {
        "input": 3,
        "head.input": 3,
        "head": 2,
    }
    half = perturbed_dimensions(conv_net().half(), gaussian(0, 1, 1, 8, 8).half(), layers=["6"], copies=90)
    assert half.dimensions["6"].item() == 5


def test_the_seed_decides_and_nothing_is_moved():
    network, x = conv_net().train(), gaussian(4, 2, 1, 8, 8).float()
    hooks, random, mean, seen = hooks_of(network), torch.get_rng_state(), network[1].running_mean.clone(), []
    one = perturbed_dimensions(network, x, layers=["6"], copies=30, seed=1, progress=seen.append)
    again = perturbed_dimensions(network, x, layers=["6", "0"], copies=30, seed=1)
    other = perturbed_dimensions(network, x, layers=["6"], copies=30, seed=2)
    torch.testing.assert_close(one.variances["6"], again.variances["6"], rtol=1e-5, atol=0)
    assert not torch.allclose(one.variances["6"], other.variances["6"], rtol=1e-2)
    assert (seen, hooks_of(network), network.training) == ([1, 2], hooks, True)
    assert torch.equal(network[1].running_mean, mean)
    assert torch.equal(torch.get_rng_state(), random)


X = torch.ones(1, 5, dtype=torch.float64)
ERRORS = {
    "copies": (
        lambda: perturbed_dimensions(worked_network(), X, copies=1),
        errors.OptionError,
        "copies must be at least 2, to have a variance; got 1.",
    ),
    "sigma": (
        lambda: perturbed_dimensions(worked_network(), X, sigma=0),
        errors.OptionError,
        "sigma must be above 0 and finite; got 0.",
    ),
    "no inputs": (
        lambda: perturbed_dimensions(worked_network(), X[:0]),
        errors.ShapeError,
        "inputs have shape (0, 5); expected (samples, ...) with at least one sample.",
    ),
    "overflow": (
        lambda: perturbed_dimensions(worked_network(), X, layers=["0"], sigma=1e308, copies=9),
        errors.NonFiniteError,
        "layer '0': features of perturbed copies hold NaN or infinity. "
        "Look for a diverged network or an overflow in it.",
    ),
    "tolerance": (
        lambda: principal_count(torch.ones(2), tolerance=-1.0),
        errors.OptionError,
        "tolerance must be at least 0; got -1.0.",
    ),
    "negative budget": (
        lambda: perturbed_dimensions(worked_network(), X, memory_budget="much"),
        errors.OptionError,
        "memory budget 'much' is no size; write a number of bytes, or for example '512MiB'.",
    ),
}


@pytest.mark.parametrize(("call", "error", "message"), ERRORS.values(), ids=ERRORS.keys())
def test_errors(call, error, message):
    with pytest.raises(error, match=f"^{re.escape(message)}$"):
        call()


def test_gram_matrices_beyond_memory_are_refused_beforehand(monkeypatch):
    monkeypatch.setattr("deepcollapse.measurement.perturbation.memory_of", lambda device: 1000)
    message = (
        "layer '1': principal axes of 6 features over 5000 copies take 0.0 GB, and half of the memory is 0.0 GB. "
        "Choose fewer copies, or leave the layer out."
    )
    with pytest.raises(errors.MemoryBudgetError, match=f"^{re.escape(message)}$"):
        perturbed_dimensions(worked_network(), X, layers=["1"])
