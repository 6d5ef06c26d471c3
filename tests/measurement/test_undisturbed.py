"""A measurement leaves no trace: modes, hooks, generators, statistics and gradients are as they were."""

import contextlib
import random

import numpy
import pytest
import torch
from torch import nn
from toy import CLASSES, blobs, cut, hooks_of, mlp

from deepcollapse import measure
from deepcollapse.errors import NonFiniteError
from deepcollapse.measurement.state import undisturbed


def network() -> nn.Sequential:
    """Batch norm and dropout, one of them frozen, with gradients and a hook of the user's own."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(), nn.Linear(8, CLASSES))
    net.train()
    net[1].eval()
    x, y = blobs()
    nn.functional.cross_entropy(net(x), y).backward()
    return net


def state_of(net: nn.Module) -> list:
    tensors = [*net.state_dict().values(), *(p.grad for p in net.parameters())]
    return [[t.clone() for t in tensors], [m.training for m in net.modules()], hooks_of(net), net.forward]


def randomness() -> list:
    return [random.random(), numpy.random.rand(), torch.rand(1).item()]  # noqa: NPY002


def seed() -> None:
    for start in (random.seed, numpy.random.seed, torch.manual_seed):
        start(5)


def fresh() -> list:
    seed()
    return randomness()


class Raising:
    """Batches of which the third is an error; the ones before draw random numbers."""

    def __init__(self, error: BaseException | None) -> None:
        self.error = error

    def __iter__(self):
        for number, batch in enumerate(cut(*blobs(), 16, 16)):
            randomness()
            if number == 2 and self.error is not None:
                raise self.error
            yield batch


class NaNAtLast(Raising):
    def __iter__(self):
        for x, y in super().__iter__():
            yield (x if len(x) == 16 else x * torch.nan), y


@pytest.mark.parametrize(
    ("batches", "error"),
    [
        (Raising(None), None),
        (Raising(KeyboardInterrupt()), KeyboardInterrupt),
        (Raising(OSError("disk")), OSError),
        (NaNAtLast(None), NonFiniteError),
    ],
)
@pytest.mark.parametrize("budget", ["1GiB", 0])
def test_everything_is_as_it_was_whatever_happens(batches, error, budget):
    net = network()
    fired = []
    net[0].register_forward_hook(lambda *_: fired.append(1))
    before, grad = state_of(net), torch.is_grad_enabled()
    expected = fresh()
    seed()
    how = {"memory_budget": budget, "baselines": ["untrained", "shuffled labels"]}
    if error is None:
        measure(net, batches, **how)
    else:
        with pytest.raises(error):
            measure(net, batches, **how)
    assert randomness()[1:] == expected[1:]  # the type checks of these tests draw from Python's own
    after = state_of(net)
    assert all(torch.equal(a, b) for a, b in zip(after[0], before[0], strict=True))
    assert after[1:] == before[1:]
    assert torch.is_grad_enabled() == grad
    assert fired  # the user's own hook ran all along


@pytest.mark.parametrize("error", [None, KeyboardInterrupt])
def test_all_three_generators_are_put_back(error):
    net, expected = network(), fresh()
    seed()
    with pytest.raises(error) if error else contextlib.nullcontext(), undisturbed(net):
        randomness()
        if error:
            raise error
    assert randomness() == expected


def test_the_network_runs_in_eval_mode_without_gradients():
    seen = []
    net = network()
    net[4].register_forward_pre_hook(lambda module, args: seen.append((module.training, args[0].requires_grad)))
    measure(net, [blobs()])
    assert seen == [(False, False)]


def test_the_order_of_the_user_s_loader_goes_on_as_if_nothing_had_been_measured():
    data = torch.utils.data.TensorDataset(*blobs())

    def order(measured: bool) -> torch.Tensor:
        loader = torch.utils.data.DataLoader(
            data, batch_size=60, shuffle=True, generator=torch.Generator().manual_seed(0)
        )
        if measured:
            measure(mlp(), loader, measures=["cdnv"])
        return next(iter(loader))[1]

    assert torch.equal(order(True), order(False))


def test_measuring_inside_inference_mode_gives_what_can_be_used_outside():
    net, data = mlp(), [blobs()]
    with torch.inference_mode():
        measured = measure(net, data)
    assert not measured.moments["head.input"].mean.is_inference()
    assert measured["within_class_variability"] == measure(net, data)["within_class_variability"]


def test_autocast_reaches_the_network_and_not_the_measures():
    net, (x, y) = mlp(), blobs()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        kept, again = measure(net, [(x, y)]), measure(net, [(x, y)], memory_budget=0)
        h = net[:4](x).detach()
    assert kept.moments["head.input"].dtype == torch.bfloat16
    expected = torch.stack([h[y == c].double().mean(dim=0) for c in range(CLASSES)])
    assert torch.allclose(kept.moments["head.input"].mean, expected, rtol=1e-12)
    assert again["within_class_variability"] == kept["within_class_variability"]
