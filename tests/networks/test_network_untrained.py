"""The untrained twin: drawn anew, by seed, without touching the original or anyone's generator."""

import pytest
import torch
from torch import nn

from deepcollapse.networks import build, untrained_copy


def trained(name: str = "resnet", **parameters) -> nn.Module:
    torch.manual_seed(0)
    network = build(name, num_classes=3, image_shape=(1, 8, 8), **parameters)
    with torch.no_grad():
        for tensor in network.state_dict().values():
            if tensor.is_floating_point():
                tensor.add_(5)
    return network


@pytest.mark.parametrize(
    ("name", "parameters"),
    [("mlp", {"width": 8}), ("vgg11", {"width": 2}), ("resnet", {}), ("densenet40", {"growth": 2, "blocks": (2, 2)})],
)
def test_a_twin_of_our_networks_is_what_build_gives(name, parameters):
    twin, kept = untrained_copy(trained(name, **parameters), seed=1)
    fresh = build(name, num_classes=3, image_shape=(1, 8, 8), **parameters)
    assert kept == []
    for key, tensor in fresh.state_dict().items():
        drawn = twin.state_dict()[key]
        if key.endswith("num_batches_tracked") or tensor.std() == 0:
            assert torch.equal(drawn, tensor), key
        elif tensor.numel() > 100:
            assert drawn.std().item() == pytest.approx(tensor.std().item(), rel=0.3), key


def test_the_seed_alone_decides_and_the_original_and_the_generator_stay():
    network = trained()
    before = {key: value.clone() for key, value in network.state_dict().items()}
    state = torch.get_rng_state()
    one, two, other = (untrained_copy(network, seed)[0].head.weight for seed in (1, 1, 2))
    assert torch.equal(one, two)
    assert not torch.equal(one, other)
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(before[key], value) for key, value in network.state_dict().items())


def test_mode_dtype_and_gradients_are_kept():
    network = trained().half().eval()
    network.stem.requires_grad_(False)
    twin, _ = untrained_copy(network, seed=0)
    assert not twin.training
    assert {parameter.dtype for parameter in twin.parameters()} == {torch.float16}
    assert [p.requires_grad for p in twin.parameters()] == [p.requires_grad for p in network.parameters()]


class Mixed(nn.Module):
    def __init__(self):
        super().__init__()
        self.token = nn.Parameter(torch.ones(2))
        self.attention = nn.MultiheadAttention(4, 2)
        self.normed = nn.utils.parametrizations.weight_norm(nn.Linear(2, 2))
        self.awkward = Awkward()
        self.table = nn.Parameter(torch.arange(3), requires_grad=False)


class Awkward(nn.Module):
    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.full((3,), 7.0))

    def reset_parameters(self, value: float) -> None:
        raise AssertionError("needs an argument, so it is not called")


def test_parameters_that_nothing_fills_keep_their_values_and_are_named():
    network = Mixed()
    twin, kept = untrained_copy(network, seed=0)
    weight = "normed.parametrizations.weight.original"
    assert kept == ["token", "table", f"{weight}0", f"{weight}1", "awkward.scale"]
    for name in kept:
        assert torch.equal(twin.get_parameter(name), network.get_parameter(name))
    assert not torch.equal(twin.attention.in_proj_weight, network.attention.in_proj_weight)


def test_tied_parameters_stay_tied():
    network = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    network[1].weight = network[0].weight
    twin, kept = untrained_copy(network, seed=0)
    assert kept == []
    assert twin[1].weight is twin[0].weight


@pytest.mark.parametrize("wrap", [nn.DataParallel, lambda network: torch.compile(network, backend="eager")])
def test_wrappers_are_taken_off(wrap):
    assert type(untrained_copy(wrap(nn.Linear(2, 2)), seed=0)[0]) is nn.Linear


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_the_same_seed_gives_the_same_twin_on_a_gpu():
    state = torch.cuda.get_rng_state()
    twin, _ = untrained_copy(trained().cuda(), seed=1)
    assert twin.head.weight.is_cuda
    assert torch.equal(twin.head.weight.cpu(), untrained_copy(trained(), seed=1)[0].head.weight)
    assert torch.equal(torch.cuda.get_rng_state(), state)
